"""The suite of GLUE: its table, and results that are not what was written."""

import pytest
from programs import run
from sealing import result

from scripts.glue import table
from trainer.errors import UserError
from trainer.storage import sealed


def test_the_mean_over_seeds(tmp_path):
    for seed, f1 in ((0, 0.8), (1, 0.9)):
        (tmp_path / f"mrpc-{seed}").mkdir()
        test = {**result()["test"], "f1": f1}
        sealed.write(tmp_path / f"mrpc-{seed}" / "result.json", result(test=test))
    lines = table(["mrpc"], 2, tmp_path).splitlines()
    assert lines[2].startswith("| MRPC | f1 | 0.8500 | 0.8000, 0.9000 | ")
    (tmp_path / "mrpc-1" / "result.json").write_text("{}")
    with pytest.raises(UserError, match=r"cannot read .*mrpc-1/result\.json: it has no seal"):
        table(["mrpc"], 2, tmp_path)


def test_a_task_that_is_none(tmp_path):
    flags = (f"--data={tmp_path}", f"--output={tmp_path}", "--tasks=mrpc,x")
    ended = run(*flags, program="scripts.glue")
    assert ended.status == 2
    assert "--tasks: 'x' is not one of sst2, cola, mrpc, stsb, rte" in ended.stderr
