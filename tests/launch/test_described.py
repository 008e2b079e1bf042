"""--print_config: every field with its meaning, default and place."""

import re

import pytest
from programs import ROOT
from task_runs import ok

from launch import described
from trainer.config import Experiment
from trainer.tasks.classification import Classification
from trainer.tasks.regression import Regression
from trainer.tasks.tagging import Tagging


@pytest.mark.parametrize("task", [Classification(), Regression(), Tagging()])
def test_every_field_has_a_meaning_and_the_place_where_it_stands(task):
    lines = described.lines(Experiment(task=task))
    fields = [line for line in lines if not line.startswith("    ") and ".task = " not in line]
    meanings = [line for line in lines if line.startswith("    ")]
    assert len(fields) == len(meanings) > 80
    for field, meaning in zip(fields, meanings, strict=True):
        name = re.match(r"config\.([\w.\[\]]+) = ", field)[1].rpartition(".")[2]
        said, place = re.fullmatch(r"    (.*); default .*?; ([\w/]+\.py:\d+)", meaning).groups()
        assert not said.startswith("default"), field
        file, _, line = place.partition(":")
        source = (ROOT / file).read_text(encoding="utf-8").splitlines()[int(line) - 1]
        assert source.startswith(f"    {name}: "), (field, place)


@pytest.mark.long
def test_a_config_is_shown_with_what_the_command_line_changes(launch):
    ended = ok(launch("--config=configs/files.py", "--config.seed=7", "--print_config"))
    assert "config.seed = 7\n" in ended.stdout
    assert "config.data.max_length = -1\n    tokens, special ones included; 8 to " in ended.stdout
    assert not ended.stderr
