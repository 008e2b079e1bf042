"""The result of a run, as a program gets it."""

import math
from types import SimpleNamespace

from thaw.training import _cut, _weights, result_of
from trainer.state import Best


def test_what_a_set_does_not_define_is_not_a_number():
    values = {
        "validation": {"pearson": None, "examples": 2},
        "groups": {"validation": {"spam": {"f1": None, "support": 0}}},
        **{"best_step": 3, "steps": 4, "wall_seconds": 1.5},
    }
    found = result_of(SimpleNamespace(path="run", result=lambda: values))
    assert math.isnan(found.validation["pearson"])
    assert found.validation["examples"] == 2
    assert math.isnan(found.groups["validation"]["spam"]["f1"])
    assert found.groups["validation"]["spam"]["support"] == 0
    assert found.test == {}
    assert found.values is values


def test_the_end_of_a_run_says_which_weights_were_tested():
    best = Best(1200, 0.91)
    run = SimpleNamespace(metric="accuracy", scored=["validation", "test"])
    loop = SimpleNamespace(position=SimpleNamespace(best=best), step=1500, run=run)
    said = "step 1,200 of 1,500, chosen by validation accuracy 0.9100; the metrics are theirs"
    assert _weights(loop) == [("Best weights", said)]
    run.scored = ["test"]
    assert _weights(loop) == [("Weights", "those of step 1,200, the last")]
    loop.position.best = None  # of a run without a step
    assert _weights(loop) == []


def test_the_end_of_a_run_says_that_it_was_cut():
    phase = SimpleNamespace(settings=SimpleNamespace(name="head"))
    config = SimpleNamespace(max_steps=30)
    loop = SimpleNamespace(cut=True, step=30, planned_steps=500, phase=phase, config=config)
    said = "config.max_steps=30 ended it in phase 'head', of 500 steps"
    assert _cut(loop) == [("Cut", f"{said}; the same command with a larger one goes on")]
    loop.planned_steps = 30
    assert _cut(loop) == []
    loop.cut, loop.planned_steps = False, 500  # ended by patience
    assert _cut(loop) == []
