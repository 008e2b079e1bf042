"""Runs that begin with a tiny T5, and with the weights of such a run."""

import json
import random
from pathlib import Path

import numpy as np
import pretrained_folders as folders
import pytest
from programs import ROOT, newest, weights
from task_runs import ok, refused

pytestmark = [pytest.mark.end_to_end, pytest.mark.slow]
BOTH = "--config.model.initial_patterns=('encoder/.*','decoder/.*')"


def flags(folder: Path, cache: str) -> tuple[str, ...]:
    """Those of a run of small_t5.py, but for its model and workdir; its files are made here."""
    for seed, (name, rows) in enumerate((("train", 40), ("test", 16))):
        drawn = random.Random(seed)
        texts = [drawn.choices([*folders.GOOD, *folders.BAD], k=2) for _ in range(rows)]
        lines = ["source\ttarget", *(f"{' '.join(t)}\t{t[1]}" for t in texts)]
        (folder / f"{name}.tsv").write_text("\n".join(lines) + "\n")
    files = (f"--config.data.{name}={folder / name}.tsv" for name in ("train", "test"))
    return (f"--config={ROOT / 'tests' / 'helpers' / 'small_t5.py'}", *files, cache)


def test_a_t5_is_trained_used_and_handed_on(launch, tmp_path, cache):
    """The decoder first, the encoder's weights still those that came."""
    folder = folders.copy("t5_gated_text", tmp_path / "t5")
    common, workdir = flags(tmp_path, cache), tmp_path / "run"
    begin = (*common, f"--config.model.pretrained={folder}", f"--workdir={workdir}")
    said = refused(launch, workdir, *begin)
    assert said.endswith("'lm_head.weight': set config.task.tied=False")
    begin = (*begin, "--config.task.tied=False")
    said = refused(launch, workdir, *begin, "--config.task.start_token=g")
    assert said.endswith("begins with token 0, not with 'g': set config.task.start_token='<pad>'")

    ended = ok(launch(*begin, "--config.max_steps=2"))
    assert "52 of 52 parameters loaded from 52 tensors; start afresh: none" in ended.stderr
    first, came = weights(newest(workdir / "checkpoints")), folders.tensors(folder)
    table = first["variables/model|encoder|embeddings|tokens|embeddings/.ATTRIBUTES/VARIABLE_VALUE"]
    assert table.tobytes() == came["shared.weight"].tobytes()
    ok(launch(*begin))
    last = weights(newest(workdir / "checkpoints"))
    parameters = [name for name in last if name.startswith("variables/model|")]
    encoder = [name for name in parameters if "|encoder|" in name]
    assert all((first[name] != last[name]).any() for name in encoder)
    result = json.loads((workdir / "result.json").read_text())
    assert np.isfinite(result["test"]["loss"])

    output = tmp_path / "exported"
    ok(
        launch(
            f"--workdir={workdir}",
            f"--output={output}",
            "--format=huggingface",
            program="launch.export",
        )
    )
    assert folders.tensors(output).keys() == came.keys()

    other = (*common, "--config.task.tied=False", f"--config.model.initial_run={workdir}", BOTH)
    other = (*other, f"--workdir={tmp_path / 'other'}", "--config.task.target_length=7")
    ended = ok(launch(*other, "--config.max_steps=1"))
    assert "51 parameters start from " in ended.stderr
    assert "1 start afresh: head/kernel" in ended.stderr


@pytest.mark.parametrize(
    ("layout", "config", "said"),
    [
        ("bert", "small_t5.py", "has no decoder, which the task writes texts with: choose one of"),
        ("t5_text", "thawing.py", "is an encoder and a decoder, which only tasks that write a"),
    ],
)
def test_a_model_and_a_task_of_other_kinds_are_refused(
    launch, tmp_path, cache, layout, config, said
):
    folder, common = folders.copy(layout, tmp_path / layout), flags(tmp_path, cache)
    helper = f"--config={ROOT / 'tests' / 'helpers' / config}"
    columns = ("--config.task.text=source", "--config.task.label=target") * (config == "thawing.py")
    where = (f"--config.model.pretrained={folder}", f"--workdir={tmp_path / 'run'}")
    assert said in refused(launch, tmp_path / "run", helper, *common[1:], *columns, *where)
