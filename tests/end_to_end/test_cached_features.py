"""A phase that keeps what its frozen encoder makes: the same curve, and resumed bit for bit."""

import pytest
from programs import assert_same_run, losses

from configs.smoke import get_config

pytestmark = [pytest.mark.end_to_end, pytest.mark.promises]
HEAD = get_config().phases[0].steps
CACHED = "--config.phases[0].cache_features=True"
END = HEAD + 5
# Every 9 steps: one reading has steps of both phases.
ALWAYS = ("--config.task.mask_share=0", "--config.log_every_steps=9")


def test_a_cut_phase_goes_on_as_the_uncut(smoke, launch, tmp_path):
    plain, whole, cut = (tmp_path / name for name in ("plain", "whole", "cut"))
    said = []
    for workdir, flags, steps in (
        (plain, [], END),
        (whole, [CACHED], END),
        (cut, [CACHED], HEAD // 2 + 1),
        (cut, [CACHED], HEAD),
        (cut, [CACHED], HEAD + 1),
        (cut, [CACHED], END),
    ):
        flags = (*flags, f"--config.max_steps={steps}", f"--workdir={workdir}")
        ended = launch(*smoke, *flags, *ALWAYS)
        assert ended.status == 0, ended.stderr
        said.append(ended.stderr)
    assert f"Resuming at step {HEAD // 2 + 1}" in said[3]
    assert " examples/s" in said[3]  # of the head: no tokens are read
    assert "tokens/s" not in said[3]
    assert "tokens/s" in said[5]
    note = "Note: config.phases[0].cache_features computes more than it saves"
    assert [note in each for each in said] == [False, True, True, False, False, False]
    assert_same_run(whole, cut)
    expected = losses(plain)
    assert len(expected) > 3
    assert losses(whole) == pytest.approx(expected, rel=1e-4)


def test_with_more_to_train_it_is_refused(smoke, launch, tmp_path):
    flags = ("--config.phases[1].cache_features=True", f"--workdir={tmp_path / 'run'}")
    ended = launch(*smoke, *flags)
    assert ended.status == 2
    said = "error: config.phases[1].cache_features is for phases that train the head alone"
    assert ended.stderr.splitlines()[-1].startswith(said)
    assert "Traceback" not in ended.stderr
