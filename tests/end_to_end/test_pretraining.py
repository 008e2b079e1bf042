"""From pretraining over the head to all: killed in each phase, and by two workers."""

import re
from pathlib import Path

import pytest
import small_language
from programs import ROOT, assert_same_run, losses, run
from task_runs import Job, metrics, ok
from test_kills import killed_at

pytestmark = pytest.mark.end_to_end
CONFIG = ROOT / "tests" / "helpers" / "small_language.py"
EVERY = (
    "--config.runtime.max_rows_per_device=4",
    "--config.evaluation.every_steps=10",
    "--config.evaluation.batch_size=16",
    "--config.save_every_steps=8",
    "--config.log_every_steps=3",  # so that saves fall between two lines of the log
)

# The first has two losses, and more of its own than the others, which are torture.
NAMES = pytest.mark.parametrize(
    "name",
    ["sentences", *(pytest.param(n, marks=pytest.mark.slow) for n in ("replaced", "causal"))],
)
ENCODER = {  # of a task, other than a classifier's by default
    "sentences": ("--config.model.token_types=2",),
    "causal": ("--config.model.causal=true", "--config.model.head=last"),
}


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """A folder with files of labelled texts."""
    folder = tmp_path_factory.mktemp("data")
    small_language.write_labelled(folder / "train.jsonl", 200)
    small_language.write_labelled(folder / "test.jsonl", 40, seed=1)
    return folder


def job(name: str, data: Path, cache: str) -> Job:
    files = (f"--config.data.{split}={data / split}.jsonl" for split in ("train", "test"))
    return Job((f"--config={CONFIG}:{name}", *files, cache))


@pytest.mark.promises
@NAMES
def test_killed_in_pretraining_in_the_head_and_in_all(name, data, cache, tmp_path):
    """A row has two losses, or one; the encoder goes on into phases of another task."""
    calm, killed = tmp_path / "calm", tmp_path / "killed"
    ok(run(*job(name, data, cache).at(calm, *EVERY)))
    flags = job(name, data, cache).at(killed, *EVERY)
    for place in ("accumulation:13", "evaluation:2", "saving:3"):
        killed_at(place, flags)
    ok(run(*flags))
    assert_same_run(calm, killed)

    calm, killed = (
        job("thawed", data, cache).at(
            tmp_path / f"{end.name}-thawed",
            *EVERY,
            f"--config.model.initial_run={end}",
            *ENCODER.get(name, ()),
        )
        for end in (calm, killed)
    )
    said = ok(run(*calm)).stderr
    assert re.search(r"parameters start from .* 2 start afresh: head/logits/", said)
    hits = [killed_at(place, killed) for place in ("accumulation:5", "phase:1", "accumulation:12")]
    steps = [int(step) for hit in hits for step in re.findall(r"step (\d+)", hit)[:1]]
    assert steps[0] < 14 < steps[-1]
    ok(run(*killed))
    assert_same_run(tmp_path / "calm-thawed", tmp_path / "killed-thawed")


@pytest.mark.cluster
@NAMES
def test_two_workers_pretrain_the_run_of_one(name, data, cache, tmp_path):
    """Rows of unequal numbers of words on each; the last batch is not full."""
    trained, flags = job(name, data, cache), ("--config.log_every_steps=1",)
    ok(run(*trained.at(tmp_path / "one", *flags)))
    ok(run("--workers=2", "--", *trained.at(tmp_path / "two", *flags), program="launch.local"))
    one, two = (losses(tmp_path / each) for each in ("one", "two"))
    assert len(one) == small_language.STEPS
    assert list(one) == list(two)
    assert list(one.values()) == pytest.approx(list(two.values()), rel=1e-4)
    alone, shared = (metrics(tmp_path / each) for each in ("one", "two"))
    assert shared == pytest.approx(alone, rel=1e-3, abs=1e-3)
