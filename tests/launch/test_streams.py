"""Texts on a terminal, while they are written."""

from types import SimpleNamespace

import pytest

from launch import writing


@pytest.mark.parametrize(("continues", "shown"), [(True, "Two dogs play.\n"), (False, " play.\n")])
def test_a_text_is_shown_if_it_is_continued(continues, shown, capsysbinary):
    writer = SimpleNamespace(continues=continues, stream=lambda text: iter([" pl", "ay."]))
    writing.stream(writer, "Two dogs")
    assert capsysbinary.readouterr().out.decode() == shown
