"""A phase that keeps what its frozen encoder makes: the same curve, and resumed bit for bit."""

import pytest
from programs import assert_same_run, losses

from configs.smoke import get_config

pytestmark = [pytest.mark.end_to_end, pytest.mark.promises]
HEAD = get_config().phases[0].steps
CACHED = "--config.phases[0].cache_features=True"
ALWAYS = ("--config.objective.mask_share=0", "--config.log_every_steps=5")


def test_a_cut_phase_goes_on_as_the_uncut(smoke, launch, tmp_path):
    plain, whole, cut = (tmp_path / name for name in ("plain", "whole", "cut"))
    end = f"--config.max_steps={HEAD}"
    for workdir, flags in (
        (plain, [end]),
        (whole, [CACHED, end]),
        (cut, [CACHED, f"--config.max_steps={HEAD // 2 + 1}"]),
        (cut, [CACHED, end]),
    ):
        ended = launch(*smoke, *flags, *ALWAYS, f"--workdir={workdir}")
        assert ended.status == 0, ended.stderr
    assert f"Resuming at step {HEAD // 2 + 1}" in ended.stderr
    assert " examples/s" in ended.stderr  # of the head: no tokens are read
    assert "tokens/s" not in ended.stderr
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
