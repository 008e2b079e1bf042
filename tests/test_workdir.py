"""The folder of a run: what is refused, and what is there when it has begun."""

import concurrent.futures
import contextlib
import json
import os
import threading
import time

import numpy as np
import pytest
import tensorflow as tf
import tiny
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import PreTrainedTokenizerFast

from trainer.config import Runtime
from trainer.errors import UserError
from trainer.workdir import NotYet, Workdir

DERIVED = {"id2label": ["neg", "pos"], "tokenizer": "abc", "data_fingerprint": {"train": "1"}}


@pytest.fixture(scope="module")
def tokenizer():
    backend = Tokenizer(WordLevel({"[UNK]": 0, "good": 1}, unk_token="[UNK]"))
    return PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="[UNK]")


@pytest.fixture
def begun(tmp_path, tokenizer):
    workdir = Workdir(tmp_path / "run")
    workdir.check(tiny.experiment())
    workdir.begin(tiny.experiment(), DERIVED, tokenizer)
    return workdir


def _refused(workdir, config=None):
    with pytest.raises(UserError) as caught:
        workdir.check(config or tiny.experiment())
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_new_folder_is_made_only_when_the_run_begins(tmp_path, tokenizer):
    workdir = Workdir(tmp_path / "runs" / "new")
    workdir.check(tiny.experiment())
    assert list(tmp_path.iterdir()) == []
    assert not workdir.started
    workdir.begin(tiny.experiment(), DERIVED, tokenizer)
    assert workdir.started
    assert workdir.read() == (tiny.experiment(), DERIVED)
    assert sorted(p.name for p in workdir.path.iterdir()) == [".lock", "config.json", "tokenizer"]
    assert PreTrainedTokenizerFast.from_pretrained(workdir.tokenizer).get_vocab()["good"] == 1


def test_an_empty_folder_is_as_good_as_a_new_one(tmp_path):
    Workdir(tmp_path).check(tiny.experiment())


def test_a_run_that_was_begun_may_change_how_it_is_executed(begun, tokenizer):
    config = tiny.experiment(max_steps=3, runtime=Runtime(cpu_devices=2))
    begun.check(config)
    begun.result_file.write_text('{"steps": 2}')
    begun.begin(config, DERIVED, tokenizer)
    assert begun.read()[0] == config
    assert begun.result() is None  # it goes on: what it said at its end no longer holds


def test_another_run_is_refused_with_the_fields_that_differ(begun):
    said = _refused(begun, tiny.experiment(seed=5, global_batch_size=8))
    assert "config.seed: 0 -> 5" in said
    assert "config.global_batch_size: 64 -> 8" in said
    assert "another --workdir" in said


def test_other_data_is_refused(begun):
    begun.check_derived(DERIVED)
    with pytest.raises(UserError, match=r"other data \(data_fingerprint, id2label differ\)"):
        begun.check_derived(
            {"data_fingerprint": {"train": "2"}, "id2label": ["a"], "tokenizer": "abc"}
        )


def test_a_folder_of_something_else_is_refused(tmp_path):
    (tmp_path / "thesis.tex").write_text("")
    assert "is not empty and holds no run" in _refused(Workdir(tmp_path))
    assert "is not writable" in _refused(Workdir(tmp_path / "thesis.tex"))
    assert "is not writable" in _refused(Workdir(tmp_path / "thesis.tex" / "run"))


@contextlib.contextmanager
def _not_root():
    """Root may write anywhere: another user for a while."""
    root = os.geteuid() == 0
    if root:
        os.setresuid(65534, 65534, 0)
    try:
        yield
    finally:
        if root:
            os.setresuid(0, 0, 0)


@pytest.mark.parametrize("mode", [0o500, 0o300, 0o000])
def test_a_folder_without_permission_is_refused(tmp_path, mode):
    tmp_path.chmod(mode)
    try:
        with _not_root():
            for path in (tmp_path / "run", tmp_path / "runs" / "run"):
                assert "is not writable" in _refused(Workdir(path))
    finally:
        tmp_path.chmod(0o700)


def test_a_folder_that_cannot_be_made_is_one_line(tokenizer):
    with pytest.raises(UserError, match=r"cannot write to --workdir=/proc/run") as caught:
        Workdir("/proc/run").begin(tiny.experiment(), DERIVED, tokenizer)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "null", '{"seed": 1}', '{"sed": 1, "derived": {}}', '{"model": 3}']
)
def test_a_config_that_cannot_be_read_is_refused(begun, content):
    begun.config_file.write_text(content)
    for read in (begun.read, lambda: begun.check_derived(DERIVED)):
        with pytest.raises(UserError) as caught:
            read()
        assert "\n" not in str(caught.value)
    _refused(begun)


def test_a_folder_without_a_run_has_nothing_to_read(tmp_path):
    with pytest.raises(UserError, match=r"holds no run: .*config.json is missing"):
        Workdir(tmp_path).read()


def test_a_run_killed_while_it_begins_begins_again(tmp_path, tokenizer, monkeypatch):
    workdir = Workdir(tmp_path / "run")

    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("trainer.workdir.replace", killed)
    with pytest.raises(KeyboardInterrupt):
        workdir.begin(tiny.experiment(), DERIVED, tokenizer)
    monkeypatch.undo()
    assert not workdir.started
    workdir.check(tiny.experiment())  # the same command goes on
    workdir.begin(tiny.experiment(), DERIVED, tokenizer)
    assert workdir.started


def test_result(begun):
    assert begun.result() is None
    begun.result_file.write_text('{"steps": 4')
    assert begun.result() is None
    begun.result_file.write_text(json.dumps({"steps": 4}))
    assert begun.result() == {"steps": 4}


# The best weights


def _save(store, step, **meta):
    store.save(step, {"model/w": tf.Variable(np.float32(step))}, meta)


def test_the_best_weights(begun):
    with pytest.raises(UserError, match="holds no weights yet: train first"):
        begun.best_weights()
    _save(begun.checkpoints, 5)
    _save(begun.checkpoints, 9)
    assert begun.best_weights() == (begun.checkpoints, 9)
    for step, value in ((2, 0.7), (4, 0.9), (6, 0.9), (8, 0.8)):
        _save(begun.best, step, metric="accuracy", value=value)
    assert begun.best_weights() == (begun.best, 4)


def test_weights_of_a_run_of_which_a_phase_has_ended(begun):
    _save(begun.checkpoints, 5, phase=0)
    with pytest.raises(UserError, match="of which no phase has ended: let it go on first"):
        begun.finished_weights()
    _save(begun.checkpoints, 9, phase=1)
    assert begun.finished_weights() == (begun.checkpoints, 9)


def test_the_only_phase_has_ended_with_the_run(begun):
    _save(begun.checkpoints, 5, phase=0)
    begun.result_file.write_text(json.dumps({"steps": 5}))
    assert begun.finished_weights() == (begun.checkpoints, 5)


def test_the_lowest_loss_is_the_best(begun):
    for step, value in ((2, 0.7), (4, 0.3), (6, 0.5)):
        _save(begun.best, step, metric="loss", value=value)
    assert begun.best_weights() == (begun.best, 4)


def test_the_latest_weights_that_are_whole(begun, caplog):
    _save(begun.best, 3, metric="loss", value=0.1)
    (begun.best.path(3) / "state.index").unlink()
    for step in (5, 9):
        _save(begun.checkpoints, step)
    (begun.checkpoints.path(9) / "state.index").write_bytes(b"")
    assert begun.best_weights() == (begun.checkpoints, 5)
    assert "best weights of step 3 are damaged" in caplog.text
    assert "checkpoint of step 9 is damaged" in caplog.text
    (begun.checkpoints.path(5) / "state.index").unlink()
    with pytest.raises(UserError, match=r"all checkpoints in .* are damaged"):
        begun.best_weights()


def test_two_processes_do_not_train_in_one_folder(tmp_path, tokenizer):
    first, second = Workdir(tmp_path / "run"), Workdir(tmp_path / "run")
    first.begin(tiny.experiment(), {}, tokenizer)
    with pytest.raises(UserError, match="another process trains in --workdir"):
        second.begin(tiny.experiment(), {}, tokenizer)


def test_a_lock_that_outlives_patience_is_no_mistake(tmp_path, tokenizer):
    """Where a host died with it, deleting the file helps."""
    first, second = Workdir(tmp_path / "run"), Workdir(tmp_path / "run")
    first.begin(tiny.experiment(), {}, tokenizer)
    with pytest.raises(NotYet, match=rf"if its host is gone, delete {tmp_path / 'run' / '.lock'}$"):
        second.begin(tiny.experiment(), {}, tokenizer, patience=0.2)
    (tmp_path / "run" / ".lock").unlink()
    second.begin(tiny.experiment(), {}, tokenizer, patience=0.2)


def test_what_another_trained_while_it_was_waited_for_is_not_overwritten(tmp_path, tokenizer):
    first, second = Workdir(tmp_path / "run"), Workdir(tmp_path / "run")
    first.begin(tiny.experiment(), {}, tokenizer)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(second.begin, tiny.experiment(), {}, tokenizer, patience=10.0)
        time.sleep(0.5)
        _save(first.checkpoints, 8)
        first._lock.release()
        with pytest.raises(NotYet, match="another process trained in --workdir"):
            waiting.result()


class Two:
    """Stands for the workers of a run of two: what both tell is given beforehand."""

    count = 2

    def __init__(self, index, *told):
        self.index, self.is_chief, self._told = index, index == 0, list(told)

    def exchange(self, value=None, ends=None):
        values = self._told.pop(0)
        values[self.index] = value
        return values

    def name(self, index):
        return f"worker {index}"


def _chief_told(folder, begun=True, checkpoints=(4, 8), best=()):
    (folder / ".token").write_text("t")
    state = {"config.json": begun, "checkpoints": list(checkpoints), "best": list(best)}
    return ["t", "", str(folder), state]


def test_a_worker_waits_until_it_sees_what_the_chief_sees(begun):
    _save(begun.checkpoints, 4)
    late = threading.Timer(0.7, lambda: _save(begun.checkpoints, 8))
    late.start()
    begun.check_shared(Two(1, [_chief_told(begun.path), None], ["", None]), patience=10.0)
    assert begun.checkpoints.steps() == [4, 8]


@pytest.mark.parametrize(
    ("chief", "sees"),
    [
        ({"begun": False, "checkpoints": [4]}, "config.json"),
        ({"checkpoints": [4, 8]}, "checkpoints"),
        ({"checkpoints": [4], "best": [4]}, "best"),
    ],
)
def test_an_old_state_of_the_folder_is_no_mistake(begun, chief, sees):
    _save(begun.checkpoints, 4)
    workers = Two(1, [_chief_told(begun.path, **chief), None], ["", None])
    with pytest.raises(NotYet, match=f"worker 1 still sees another {sees} in --workdir"):
        begun.check_shared(workers, patience=0.1)
