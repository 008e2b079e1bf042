"""Charts of a report, as SVG in the colour of the text around them."""

from collections.abc import Mapping, Sequence

from trainer import drawing
from trainer.reports.finished import Curve
from trainer.tasks import shown as forms


def steps(
    lines: Mapping[str, Curve], title: str, ylabel: str, phases: Sequence[int], log: bool = False
) -> str:
    """Metrics over steps, by name; a dotted line where a phase began."""
    with drawing.styled():
        figure, axes = drawing.new_figure(title)
        for (name, curve), colour in zip(lines.items(), drawing.COLOURS, strict=False):
            many = len(curve.steps) > 40
            axes.plot(
                curve.steps,
                curve.values,
                color=colour,
                label=name,
                marker="" if many else "o",
                markersize=4,
                linewidth=1.2 if many else 1.8,
            )
        for step in phases:
            axes.axvline(step, color=drawing.INK, linestyle=":", linewidth=0.8, alpha=0.5)
        axes.set(xlabel="step", ylabel=ylabel, yscale="log" if log else "linear")
        if len(lines) > 1:
            axes.legend(frameon=False)
        return drawing.svg(figure, title)


def chart(shown: Sequence[forms.Shown]) -> str:
    """A figure of one form, or of several curves; "" for a matrix that is too large."""
    first = shown[0]
    with drawing.styled():
        if isinstance(first, forms.Curve):
            title = "Precision and recall"
            curves = [each for each in shown if isinstance(each, forms.Curve)]
            return drawing.svg(drawing.curves(curves, title), title)
        title = first.name.capitalize()
        if isinstance(first, forms.Matrix):
            if len(first.names) > drawing.LARGE:
                return ""
            return drawing.svg(drawing.matrix(first, title), title)
        if isinstance(first, forms.Bars):
            title = f"{title}: {first.title}"
            return drawing.svg(drawing.bars(first, title), title)
        assert isinstance(first, forms.Points)
        return drawing.svg(drawing.points(first, title), title)
