"""Figures of what tasks show: that they are drawn, whatever the numbers and names are."""

import re

import numpy as np
import pytest

from trainer import drawing
from trainer.tasks.shown import Matrix, Points

PNG = b"\x89PNG"


def _points(x, y) -> Points:
    return Points("scores", "label", "prediction", np.array(x), np.array(y))


@pytest.mark.parametrize(
    ("x", "y"),
    [
        ([1.0], [1.0]),
        ([2.0, 2.0], [2.0, 2.0]),
        ([0.0, 1.0], [np.nan, 1.0]),
        ([0.0, 1.0], [np.nan, np.nan]),
        ([0.0, 1.0], [-np.inf, np.inf]),
        ([1e30, -1e30], [3.0e38, -3.0e38]),
    ],
)
def test_points_of_any_numbers_are_drawn(x, y):
    with drawing.styled():
        shown = _points(np.array(x, np.float32), np.array(y, np.float32))
        assert drawing.png(drawing.points(shown, "scores")).startswith(PNG)
        assert drawing.svg(drawing.points(shown, "scores"), "scores").startswith("<svg")


def test_a_large_cloud_is_thinned_out():
    values = np.linspace(0, 5, 100_000)
    with drawing.styled():
        made = drawing.svg(drawing.points(_points(values, values), "scores"), "scores")
    assert 1_000 < len(re.findall("<use ", made)) < 3_000


def test_a_matrix_of_odd_names_is_drawn():
    shown = Matrix("types", np.array([[2, 0], [1, 0]]), ["$x^$", "a" * 500])
    with drawing.styled():
        assert drawing.png(drawing.matrix(shown, "types")).startswith(PNG)


@pytest.mark.parametrize("names", [("良い", "悪い"), ("good 良い", "bad")])
def test_a_matrix_of_names_that_no_font_may_have_is_drawn_with_numbers(names):
    shown = Matrix("types", np.array([[2, 0], [1, 0]]), names)
    with drawing.styled():
        figure = drawing.matrix(shown, "types")
        axes = figure.axes[0]
        assert [each.get_text() for each in axes.get_yticklabels()] == [
            f"0: {names[0]}",
            f"1: {names[1]}",
        ]
        assert [each.get_text() for each in axes.get_xticklabels()] == ["0", "1"]
        assert drawing.png(figure).startswith(PNG)  # without a warning, which would be an error
