"""Workers that are killed, stopped, hang or are asked to end; what the others do, and the run."""

import random
import signal
import time

import pytest
from groups import Group, Worker, alive, errors, kill, local, processes_of
from programs import assert_same_run
from test_kills import last_step

from trainer.runtime.workers import LOST

pytestmark = [pytest.mark.end_to_end, pytest.mark.cluster]
SILENCE = 20.0  # seconds, that of trainer.runtime.workers
FLAGS = (
    "--config.log_every_steps=1",
    "--config.save_every_steps=4",
    "--config.phases[0].steps=40",
    "--config.phases[0].patience=9",  # the second phase starts from the best of the first
    "--config.evaluation.every_steps=16",
    "--config.evaluation.batch_size=64",
    "--config.runtime.steps_per_call=4",
)


def killed_again_and_again(tmp_path, smoke, capsys, kills: int, steps: int) -> set[str]:
    """Kills one worker after the other over one run, which ends as the undisturbed one; where."""
    flags = (*smoke, *FLAGS, f"--config.phases[1].steps={steps - 40}")
    calm, killed = tmp_path / "calm", tmp_path / "killed"
    ended = Worker(local(2, *flags, f"--workdir={calm}"), tmp_path / "calm.txt").end(600)
    assert ended.status == 0, ended.stderr
    command = local(2, *flags, f"--workdir={killed}", max_restarts=kills)
    run = Worker(command, tmp_path / "killed.txt")
    draw, hits, lived, seen = random.Random(kills), [], 0, set()
    places = ("saving", "evaluating", "any")
    try:
        for number in range(kills):
            victim, place = number % 2, places[(number // 2) % 3]
            after = last_step(killed) + draw.randint(2, 5)
            run.wait_until(lambda after=after: last_step(killed) >= after)
            if place == "saving":
                run.wait_until(lambda: any((killed / "checkpoints").glob(".*.partial/*")))
            elif place == "evaluating":
                run.wait_until(lambda: evaluating(killed))
                time.sleep(0.05)
            group = processes_of(killed)
            seen |= set(group.values())
            partial = any((killed / "checkpoints").glob(".*.partial/*"))
            where = "saving" if partial else "evaluating" if evaluating(killed) else "between"
            lived += kill(group[victim])
            hits.append((where, f"worker {victim} at step {last_step(killed)} (meant: {place})"))
            run.wait_until(lambda group=group: not any(map(alive, group.values())))
        ended = run.end(600)
    finally:
        run.kill()
    assert ended.status == 0, ended.stderr
    with capsys.disabled():
        told = [f"{where}: {who}" for where, who in hits]
        print(f"\nkilled {kills} times, {lived} while it lived:", *told, sep="\n  ")
    assert lived >= 0.8 * kills
    assert ended.stderr.count("Resuming at step") >= kills - 1
    assert not processes_of(killed)
    assert not any(map(alive, seen))
    assert_same_run(calm, killed)
    return {where for where, _ in hits}


def evaluating(workdir) -> bool:
    """True if the run saved at the step of an evaluation whose result is not there yet."""
    saved = max((int(p.name[5:]) for p in (workdir / "checkpoints").glob("step-*")), default=0)
    if not saved or saved % 16 or last_step(workdir) > saved:
        return False
    return f'"step": {saved}, "validation/' not in (workdir / "metrics.jsonl").read_text()


@pytest.mark.timeout(900)
def test_a_worker_killed_three_times(tmp_path, smoke, capsys):
    killed_again_and_again(tmp_path, smoke, capsys, kills=3, steps=80)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_worker_killed_20_times(tmp_path, smoke, capsys):
    places = killed_again_and_again(tmp_path, smoke, capsys, kills=20, steps=400)
    assert places == {"saving", "evaluating", "between"}


@pytest.mark.parametrize("victim", [pytest.param(0, marks=pytest.mark.slow), 1])
def test_a_stopped_worker_is_named_in_bounded_time(tmp_path, smoke, victim):
    with Group(tmp_path, 2) as group:
        workers = group.start_all(*smoke, f"--workdir={tmp_path / 'run'}")
        workers[0].wait_for("step 20/")
        workers[victim].send(signal.SIGSTOP)
        began = time.monotonic()
        ended = workers[1 - victim].end()
        seconds = time.monotonic() - began
        assert ended.status == LOST
        assert seconds < SILENCE + 10
        last = errors(ended.stderr)[-1]
        assert last.startswith(f"worker {victim} ({group.addresses[victim]}) is lost: not heard of")
        assert "Traceback" not in ended.stderr
        woken = workers[victim].send(signal.SIGCONT).end(30)
        assert woken.status == LOST
        assert f"worker {1 - victim} ({group.addresses[1 - victim]}) is lost" in woken.stderr


@pytest.mark.parametrize("victim", [0, 1])
def test_sigterm_to_one_saves_once_and_ends_all(tmp_path, smoke, victim, capsys):
    workdir = tmp_path / "run"
    with Group(tmp_path, 2) as group:
        workers = group.start_all(*smoke, f"--workdir={workdir}", "--config.save_every_steps=1000")
        workers[0].wait_for("step 20/")
        began = time.monotonic()
        workers[victim].send(signal.SIGTERM)
        ended = [worker.end(30) for worker in workers]
        seconds = time.monotonic() - began
    assert [each.status for each in ended] == [75, 75], ended
    assert "SIGTERM: saving" in ended[victim].stderr
    saved = [path.name for path in (workdir / "checkpoints").iterdir()]
    assert len(saved) == 1
    step = int(saved[0].removeprefix("step-"))
    assert f"Saved at step {step}: " in ended[0].stderr
    with capsys.disabled():
        print(f"\nSIGTERM to worker {victim}: both ended at step {step} after {seconds:.1f} s")
    assert seconds <= 15


def test_sigterm_while_evaluating(tmp_path, smoke):
    """Both end in the same evaluation; the relaunched run makes it again."""
    flags = (*smoke, f"--workdir={tmp_path / 'run'}", "--config.phases[0].steps=20")
    flags += ("--config.evaluation.batch_size=8", "--config.max_steps=20")
    with Group(tmp_path, 2) as group:
        workers = group.start_all(*flags)
        workers[0].wait_until((tmp_path / "run/checkpoints/step-00000020").exists)
        workers[1].send(signal.SIGTERM)
        ended = [worker.end(30) for worker in workers]
        assert [each.status for each in ended] == [75, 75], ended
        assert " validation: loss" not in ended[0].stderr, "it ended before the signal"
    with Group(tmp_path, 2) as group:
        ended = [worker.end() for worker in group.start_all(*flags)]
    assert [each.status for each in ended] == [0, 0], ended
    assert ended[0].stderr.count(" validation: loss") == 1


def test_a_worker_that_hangs_shows_its_stacks(tmp_path, smoke):
    """Its thread for beats lives on, so only the missing progress tells."""
    flags = (*smoke, f"--workdir={tmp_path / 'run'}", "--config.runtime.hang_seconds=8")
    script = ("tests/end_to_end/kill_at.py", "hanging:24")
    with Group(tmp_path, 2) as group:
        group.start(0, *flags)
        group.start(1, *flags, command=script)
        group.workers[0].wait_for("step 20/")
        began = time.monotonic()
        ended = [group.workers[index].end() for index in range(2)]
        seconds = time.monotonic() - began
    assert [each.status for each in ended] == [1, 1], ended
    assert seconds < 8 + SILENCE
    assert "no progress for 8 s" in "".join(each.stderr for each in ended)
    assert any("most recent call first" in each.stderr for each in ended)
    # Whichever of the two noticed it first.
    name = f"worker 1 ({group.addresses[1]})"
    said = f"{name} ended: no progress for 8 s ", f"; {name} at step 2"
    assert any(text in errors(ended[0].stderr)[-1] for text in said), ended[0].stderr
    assert "no progress for 8 s " in errors(ended[1].stderr)[-1], ended[1].stderr
