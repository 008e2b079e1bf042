"""Charts of a report, as SVG in the colour of the text around them."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

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


class Key(NamedTuple):
    """A line of a chart: its colour, its style in CSS, and its name."""

    colour: str
    style: str
    name: str


class Chart(NamedTuple):
    """A figure, and what stands below it: the names of its lines, and a remark."""

    svg: str
    keys: Sequence[Key] = ()
    remark: str = ""


def curves(shown: Sequence[forms.Curve]) -> Chart:
    """One figure of all curves of something to find, or of the first ones of many."""
    title, remark, held = "Precision and recall", "", [e for e in shown if e.relevant.any()]
    some = held[: drawing.MOST_CURVES]
    if not held:
        remark = "No row of this set is one to find."
    elif len(some) < len(held):
        remark = f"The first {len(some)} of {len(held)} curves; TensorBoard has all of them."
    with drawing.styled():
        svg = drawing.svg(drawing.curves(some, title), title)
    lines = zip(drawing.LINES, some, strict=False)
    return Chart(svg, [Key(colour, style, each.name) for (colour, style), each in lines], remark)


def chart(shown: forms.Bars | forms.Points) -> Chart:
    """A figure of one form."""
    title = shown.name.capitalize()
    with drawing.styled():
        if isinstance(shown, forms.Bars):
            title = f"{title}: {shown.title}"
            return Chart(drawing.svg(drawing.bars(shown, title), title))
        return Chart(drawing.svg(drawing.points(shown, title), title))
