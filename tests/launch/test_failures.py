"""A run that fails in the same way twice is a mistake to mend: starting it again will not help."""

import pytest
from groups import Group, errors
from programs import newest

OVERFLOW = "--config.phases[0].learning_rate=1e38"


@pytest.mark.long
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


@pytest.mark.cluster
@pytest.mark.end_to_end
def test_two_workers_fail_as_one(few, tmp_path):
    """Both see that the loss is not finite, at the same step; the chief keeps it in mind."""
    for status in (1, 2):
        with Group(tmp_path / "said", 2) as group:
            group.start_all(*few.flags, OVERFLOW, "--config.optimizer.clip_norm=0.0")
            ended = [group.workers[index].end() for index in range(2)]
        assert [each.status for each in ended] == [status, status], ended
        assert "became infinite or NaN" in errors(ended[0].stderr)[-1]
        assert "Traceback" not in ended[0].stderr + ended[1].stderr
        assert ("It is the same failure as before" in ended[0].stderr) == (status == 2)


@pytest.mark.cluster
@pytest.mark.end_to_end
def test_a_chief_that_cannot_save_ends_all(few, tmp_path):
    few.workdir.mkdir()
    (few.workdir / "tokenizer").mkdir()
    with Group(tmp_path / "said", 2) as group:
        workers = group.start_all(*few.flags, "--config.phases[0].steps=100000")
        workers[0].wait_until((few.workdir / "checkpoints").is_dir)
        blocked = few.workdir / "checkpoints"
        blocked.rename(few.workdir / "gone")
        blocked.write_text("in the way")
        ended = [group.workers[index].end() for index in range(2)]
    assert [each.status for each in ended] == [2, 2], ended
    assert "cannot save the checkpoint" in errors(ended[0].stderr)[-1]
    assert "ended: cannot save the checkpoint" in errors(ended[1].stderr)[-1]
    assert "Traceback" not in ended[0].stderr + ended[1].stderr
