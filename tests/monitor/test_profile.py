"""The profiler: which steps it is around, and what it leaves."""

import tensorflow as tf

from trainer.monitor.profile import Profile


def _run(profile: Profile, last: int, most: int) -> list[tuple[int, int]]:
    """The calls of a loop of at most so many steps a call, as the loop makes them."""
    calls, step = [], 0
    while step < last:
        stop = min([s for s in (step + most, last, profile.next_stop(step)) if s])
        with profile.steps(step):
            tf.linalg.matmul(tf.ones([64, 64]), tf.ones([64, 64]))
        calls.append((step, stop))
        step = stop
    profile.close()
    return calls


def test_profiles_the_steps_that_were_asked_for(tmp_path):
    calls = _run(Profile(tmp_path, (4, 6)), 10, 5)
    assert calls == [(0, 3), (3, 4), (4, 5), (5, 6), (6, 10)]
    (file,) = tmp_path.rglob("*.xplane.pb")
    content = file.read_bytes()
    assert b"MatMul" in content
    assert b"train" in content


def test_a_run_that_ends_early_keeps_what_there_is(tmp_path):
    _run(Profile(tmp_path, (2, 100)), 4, 5)
    assert len(list(tmp_path.rglob("*.xplane.pb"))) == 1


def test_nothing_is_profiled_unless_asked_for(tmp_path):
    profile = Profile(tmp_path, ())
    assert _run(profile, 10, 5) == [(0, 5), (5, 10)]
    assert not list(tmp_path.iterdir())
