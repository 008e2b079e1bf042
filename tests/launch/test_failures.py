"""A run that fails in the same way twice is a mistake to mend: starting it again will not help."""

from programs import newest

OVERFLOW = "--config.phases[0].learning_rate=1e38"


def test_the_same_failure_twice(launch, few):
    flags = (
        *few.flags,
        OVERFLOW,
        "--config.optimizer.clip_norm=0.0",
        "--config.save_every_steps=1",
    )
    first = launch(*flags)
    assert first.status == 1, first.stderr
    assert "became infinite or NaN" in first.stderr
    assert "same failure" not in first.stderr
    last = newest(few.workdir / "checkpoints").name
    second = launch(*flags)
    assert second.status == 2, second.stderr
    assert "It is the same failure as before" in second.stderr
    assert "Traceback" not in second.stderr
    assert newest(few.workdir / "checkpoints").name == last
