"""The folder of a run: what is refused, and what is there when it has begun."""

import concurrent.futures
import contextlib
import json
import os
import re
import shutil
import threading
import time

import numpy as np
import pytest
import tensorflow as tf
import tiny
from sealing import DERIVED, reseal, result
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import PreTrainedTokenizerFast

from trainer.config import Experiment, Runtime
from trainer.errors import UserError
from trainer.storage import sealed
from trainer.storage.workdir import NotYet, Workdir

FILES = "tokenizer_files"
FOLLOWED = {name: value for name, value in DERIVED.items() if name != FILES}


@pytest.fixture(scope="module")
def tokenizer():
    backend = Tokenizer(WordLevel({"[UNK]": 0, "good": 1}, unk_token="[UNK]"))
    return PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="[UNK]")


@pytest.fixture
def begun(tmp_path, tokenizer):
    workdir = Workdir(tmp_path / "run")
    workdir.check(tiny.experiment())
    workdir.begin(tiny.experiment(), FOLLOWED, tokenizer)
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
    workdir.begin(tiny.experiment(), FOLLOWED, tokenizer)
    assert workdir.started
    config, derived = workdir.read()
    assert config == tiny.experiment()
    assert sorted(derived[FILES]) == ["tokenizer.json", "tokenizer_config.json"]
    assert {**derived, FILES: {}} == DERIVED
    assert sorted(p.name for p in workdir.path.iterdir()) == [".lock", "config.json", "tokenizer"]
    assert PreTrainedTokenizerFast.from_pretrained(workdir.tokenizer).get_vocab()["good"] == 1


def test_an_empty_folder_is_as_good_as_a_new_one(tmp_path):
    Workdir(tmp_path).check(tiny.experiment())


def test_a_run_that_was_begun_may_change_how_it_is_executed(begun, tokenizer):
    config = tiny.experiment(max_steps=3, runtime=Runtime(cpu_devices=2))
    begun.check(config)
    sealed.write(begun.result_file, result())
    begun.begin(config, FOLLOWED, tokenizer)
    assert begun.read()[0] == config
    assert begun.result() is None  # it goes on: what it said at its end no longer holds


def test_another_run_is_refused_with_the_fields_that_differ(begun):
    said = _refused(begun, tiny.experiment(seed=5, global_batch_size=8))
    assert "config.seed: 0 -> 5" in said
    assert "config.global_batch_size: 64 -> 8" in said
    assert "another --workdir" in said


def test_other_data_is_refused(begun):
    begun.check_derived(FOLLOWED)
    with pytest.raises(UserError, match=r"other data \(data_fingerprint, facts differ\)"):
        begun.check_derived({"data_fingerprint": {"train": "2"}, "facts": {"labels": ["a"]}})


def test_a_folder_of_something_else_is_refused(tmp_path):
    (tmp_path / "thesis.tex").write_text("")
    assert "is not empty and holds no run" in _refused(Workdir(tmp_path))
    assert "thesis.tex is a file: choose" in _refused(Workdir(tmp_path / "thesis.tex"))
    assert "thesis.tex is a file: choose" in _refused(Workdir(tmp_path / "thesis.tex" / "run"))


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


def test_a_config_that_may_not_be_read_is_not_called_damaged(begun):
    begun.config_file.chmod(0o000)
    begun.path.chmod(0o755)
    with _not_root(), pytest.raises(UserError, match=r"config\.json: Permission denied$"):
        begun.read()


@pytest.mark.parametrize("leads_to", ["nowhere", "link"])
def test_a_link_that_leads_to_no_folder_is_refused(tmp_path, leads_to):
    (tmp_path / "link").symlink_to(leads_to)
    for path in (tmp_path / "link", tmp_path / "link" / "run"):
        assert "is not writable: choose another folder" in _refused(Workdir(path))


def test_what_stands_in_the_way_of_the_last_files_is_told_at_the_start(tokenizer, tmp_path):
    (tmp_path / "scores").write_text("")
    with pytest.raises(UserError, match="scores is no folder: remove it"):
        Workdir(tmp_path).begin(Experiment(), {}, tokenizer)
    (tmp_path / "scores").unlink()
    (tmp_path / "tensorboard").mkdir()
    os.mkfifo(tmp_path / "tensorboard" / "projector_config.pbtxt")
    with pytest.raises(
        UserError, match=r"projector_config\.pbtxt: it is there, and no file: remove"
    ):
        Workdir(tmp_path).begin(Experiment(), {}, tokenizer)
    assert [path.name for path in tmp_path.iterdir()] == ["tensorboard"]


def test_a_folder_that_cannot_be_made_is_one_line(tokenizer):
    with pytest.raises(UserError, match=r"cannot write to --workdir=/proc/run") as caught:
        Workdir("/proc/run").begin(tiny.experiment(), FOLLOWED, tokenizer)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "null", '{"seed": 1}', '{"sed": 1, "derived": {}}', '{"model": 3}']
)
def test_a_config_that_cannot_be_read_is_refused(begun, content):
    begun.config_file.write_text(content)
    for read in (begun.read, lambda: begun.check_derived(FOLLOWED)):
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

    monkeypatch.setattr("trainer.storage.workdir.sealed.write", killed)
    with pytest.raises(KeyboardInterrupt):
        workdir.begin(tiny.experiment(), FOLLOWED, tokenizer)
    monkeypatch.undo()
    assert not workdir.started
    workdir.check(tiny.experiment())  # the same command goes on
    workdir.begin(tiny.experiment(), FOLLOWED, tokenizer)
    assert workdir.started


def test_result(begun):
    assert begun.result() is None
    sealed.write(begun.result_file, result(steps=5))
    assert begun.result() == result(steps=5)


@pytest.mark.parametrize("content", ["", '{"steps": 4', "5", "[]", '{"steps": 4}', "[" * 100_000])
def test_a_result_that_is_not_what_was_written_is_one_line(begun, content):
    begun.result_file.write_text(content)
    with pytest.raises(UserError, match=r"cannot read .*result\.json.*; delete it, and") as caught:
        begun.result()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"test": 5}, "test must be an object, is 5"),
        ({"test": {}}, "examples is missing"),
        ({"test": {**result()["test"], "accuracy": "0.9"}}, "accuracy must be a number, is '0.9'"),
        ({"groups": []}, r"groups must be an object, is \[\]"),
        ({"groups": {"test": {"a": 0.5}}}, "a must be an object, is 0.5"),
        ({"groups": {"test": {"a": {"f1": "1"}}}}, "f1 must be a number, is '1'"),
        ({"groups_left_out": 3}, "groups_left_out must be an object, is 3"),
        ({"groups_left_out": {"test": -1}}, "test must be a whole number from 0"),
        ({"steps": -1}, "steps must be a whole number from 0"),
        ({"steps": True}, "steps must be a whole number from 0"),
        ({"best_step": 9}, "best_step must be a whole number from 0 to 4, is 9"),
        ({"wall_seconds": "3"}, "wall_seconds must be a number"),
        ({"finished": 1}, "finished must be true or false"),
        ({"versions": {"python": 3}}, "python must be a text"),
        ({"test_calibration_error": {"before": 2, "after": 0}}, "before must be a number from 0"),
        ({"sha256": {}}, "metrics.jsonl is missing"),
        ({"sha256": {"metrics.jsonl": "x" * 900}}, "sha256 must hold the sha256 of files"),
        ({"sha256": []}, r"sha256 must be an object, is \[\]"),
    ],
)
def test_values_of_a_result_that_no_run_gives(begun, change, said):
    sealed.write(begun.result_file, result(**change))
    with pytest.raises(UserError, match=said) as caught:
        begun.result()
    assert len(str(caught.value)) < 400 + len(str(begun.result_file))


def test_a_result_of_outputs_that_were_not_finite(begun):
    """Neither calibrated nor with scores of its examples."""
    errors, log = {"before": None, "after": None}, {"metrics.jsonl": "0" * 64}
    values = result(temperature=None, test_calibration_error=errors, sha256=log)
    sealed.write(begun.result_file, values)
    assert begun.result() == values


@pytest.mark.parametrize("name", sorted(result()))
def test_a_result_without_a_value(begun, name):
    sealed.write(begun.result_file, {k: v for k, v in result().items() if k != name})
    with pytest.raises(UserError, match=f"{name} is missing"):
        begun.result()


# What a stranger can seal


def _config_refused(begun, change):
    reseal(begun.config_file, change)
    with pytest.raises(UserError, match=r"cannot read .*config\.json: ") as caught:
        begun.read()
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600
    return str(caught.value)


def test_a_config_that_was_edited_is_refused(begun):
    text = begun.config_file.read_text()
    begun.config_file.write_text(text.replace('"seed": 0', '"seed": 1'))
    with pytest.raises(UserError, match="not what was written: its seal does not fit"):
        begun.read()
    begun.config_file.write_text(text.replace("\n", "").replace('"seed": 0', '"seed":    0'))
    assert begun.read()[0] == tiny.experiment()  # the values are the same


def test_the_config_of_another_version_is_told_from_a_damaged_one(begun):
    """Restoring it from a backup gives the same file again."""
    older = r"; another version of this library may have written it: use that version, or train"
    text = begun.config_file.read_text()
    values = json.loads(text)
    del values["seal"]
    begun.config_file.write_text(json.dumps(values))
    with pytest.raises(UserError, match=f"config.json: it has no seal{older}"):
        begun.read()
    for change, said in (
        (lambda v: v["model"].update(layers=3), "config.model has an unknown field: layers"),
        (lambda v: v["model"].pop("depth"), "config.model.depth is missing"),
        (lambda v: v["derived"].pop("buckets"), "buckets is missing"),
    ):
        begun.config_file.write_text(text)
        reseal(begun.config_file, change)
        with pytest.raises(UserError, match=f"config.json: {said}{older}"):
            begun.read()
    for damaged in ("", text[:-9], text.replace('"seed": 0', '"seed": 1')):
        begun.config_file.write_text(damaged)
        with pytest.raises(UserError, match=r"it was damaged or edited: restore it from a backup$"):
            begun.read()


@pytest.mark.parametrize(
    ("part", "name", "value", "said"),
    [
        ("data", "max_length", "32", r"config\.data\.max_length must be of type int, is '32'"),
        ("data", "max_length", 1.5, "must be of type int"),
        ("data", "max_length", True, "must be of type int"),
        ("data", "max_length", -5, "must be between 8 and"),
        ("data", "max_length", None, "must be of type int"),
        ("data", "size", 1, "config.data has an unknown field: size"),
        ("model", "width", [8], "must be of type int"),
        ("model", "initial_patterns", "encoder", "must be a tuple of str"),
        ("model", "initial_patterns", ["("], "not a regular expression"),
        ("model", "initial_patterns", ["a{99999999999}"], "not a regular expression"),
        ("model", "initial_patterns", ["(" * 1900 + ")" * 1900], "not a regular expression"),
        ("optimizer", "beta1", "x" * 100_000, "must be of type float"),
        ("runtime", "gpus", [1.5], "must be a tuple of int"),
        ("runtime", "precision", "float8", "is not one of: float32"),
    ],
)
def test_a_setting_that_training_would_refuse(begun, part, name, value, said):
    refused = _config_refused(begun, lambda values: values[part].update({name: value}))
    assert re.search(said, refused), refused


@pytest.mark.parametrize("value", [None, 3, "x", [], {}, [5], [{}], {"name": "a"}])
@pytest.mark.parametrize("part", ["model", "data", "task", "phases", "runtime"])
def test_something_else_in_the_place_of_a_group(begun, part, value):
    _config_refused(begun, lambda values: values.update({part: value}))


@pytest.mark.parametrize("part", ["model", "task", "phases", "seed", "derived"])
def test_a_missing_group(begun, part):
    assert "missing" in _config_refused(begun, lambda values: values.pop(part))


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("facts", None, "facts must be an object, is None"),
        ("facts", ["a", "b"], "facts must be an object"),
        ("facts", {}, "labels is missing"),
        ("facts", {"labels": None}, "labels must be a list, is None"),
        ("facts", {"labels": {"0": "a"}}, "labels must be a list"),
        ("facts", {"labels": ["a", 1]}, "labels must hold texts"),
        ("facts", {"labels": ["a", ["b"]]}, "labels must hold texts"),
        ("facts", {"labels": ["a", "b", "a"]}, "two or more names, each once"),
        ("facts", {"labels": ["a"]}, "two or more names, each once"),
        ("facts", {"labels": [str(i) for i in range(5_001)]}, "holds 5,001 values, over 5,000"),
        ("pretrained", 5, "pretrained must be an object"),
        ("pretrained_sha256", {"a": 1}, "a must be a text"),
        ("tokenizer", 7, "tokenizer must be a text"),
        ("data_fingerprint", {"train": "1"}, "validation is missing"),
        ("buckets", [], "buckets must hold lengths"),
        ("buckets", [8, "16"], "buckets must hold lengths"),
        ("buckets", [16, 8], "buckets must ascend"),
        ("tokenizer_files", None, "tokenizer_files must be an object"),
        ("tokenizer_files", {"a": "b"}, "tokenizer_files must hold the sha256"),
    ],
)
def test_facts_that_no_run_derives(begun, name, value, said):
    assert said in _config_refused(begun, lambda v: v["derived"].update({name: value}))


@pytest.mark.parametrize("name", DERIVED)
def test_a_missing_fact(begun, name):
    assert f"{name} is missing" in _config_refused(begun, lambda v: v["derived"].pop(name))


@pytest.mark.parametrize("value", [None, 3, [], "derived"])
def test_no_facts_at_all(begun, value):
    assert "derived must be an object" in _config_refused(begun, lambda v: v.update(derived=value))


def test_a_tokenizer_is_read_only_as_it_was_written(begun):
    assert begun.load_tokenizer().get_vocab()["good"] == 1
    file = begun.tokenizer / "tokenizer.json"
    before = file.read_bytes()
    file.write_bytes(before.replace(b"good", b"goof"))
    with pytest.raises(UserError, match=r"tokenizer\.json is not what was written: restore"):
        begun.load_tokenizer()
    file.unlink()
    with pytest.raises(UserError, match=r"tokenizer\.json is not what was written"):
        begun.load_tokenizer()
    os.mkfifo(file)  # reading it would wait for ever
    with pytest.raises(UserError, match=r"tokenizer\.json is not what was written"):
        begun.load_tokenizer()
    file.unlink()
    file.write_bytes(before)
    (begun.tokenizer / ".nfs0001").write_text("")
    begun.load_tokenizer()
    (begun.tokenizer / "added_tokens.json").write_text('{"bad": 2}')
    with pytest.raises(UserError, match=r"added_tokens\.json is not what was written"):
        begun.load_tokenizer()


def test_a_resumed_run_keeps_the_seals_of_its_tokenizer(begun, tokenizer):
    before = begun.read()[1][FILES]
    begun.begin(tiny.experiment(max_steps=3), FOLLOWED, tokenizer)
    assert begun.read()[1][FILES] == before


@pytest.mark.parametrize("name", ["best", "checkpoints", "scores", "tokenizer", "tensorboard"])
def test_folders_that_are_links_are_refused(tmp_path, tokenizer, name):
    """A run removes and replaces what lies in them."""
    elsewhere, path = tmp_path / "elsewhere", tmp_path / "run"
    elsewhere.mkdir()
    (elsewhere / "test.npz").write_text("precious")
    path.mkdir()
    (path / name).symlink_to(elsewhere)
    with pytest.raises(UserError, match=f"{name} is a link: move the folder itself there"):
        Workdir(path).begin(tiny.experiment(), FOLLOWED, tokenizer)
    assert (elsewhere / "test.npz").read_text() == "precious"


@pytest.mark.parametrize(
    "name",
    [
        *("tensorboard/plugins", "tensorboard/plugins/profile/2030_01_01", "tensorboard/events"),
        *("checkpoints/step-00000001", "best/.step-00000001.partial"),
    ],
)
@pytest.mark.parametrize("there", [True, False])
def test_links_below_them_are_refused(tmp_path, begun, tokenizer, name, there):
    """TensorFlow's profiler writes through one, and a save or a clean-up trips over one."""
    elsewhere, path = tmp_path / "elsewhere", begun.path / name
    if there:
        elsewhere.mkdir()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(elsewhere)
    with pytest.raises(UserError, match=f"{name} is a link: move what it leads to there"):
        begun.begin(tiny.experiment(), FOLLOWED, tokenizer)


@pytest.mark.parametrize("name", ["tensorboard/events.out.tfevents.000001", "metrics.jsonl"])
def test_a_pipe_that_a_resume_would_wait_for_is_refused(begun, tokenizer, name):
    (begun.path / "tensorboard").mkdir()
    os.mkfifo(begun.path / name)
    with pytest.raises(UserError, match=f"{name}: it is there, and no file: remove it"):
        begun.begin(tiny.experiment(), FOLLOWED, tokenizer)


def test_what_profilers_left_is_no_hindrance(begun, tokenizer):
    profile = begun.path / "tensorboard" / "plugins" / "profile" / "2026_01_01_00_00_00"
    profile.mkdir(parents=True)
    (profile / "host.xplane.pb").touch()
    begun.begin(tiny.experiment(), FOLLOWED, tokenizer)


def test_links_that_a_stranger_left_are_not_followed(tmp_path, tokenizer):
    mine, path = tmp_path / "mine", tmp_path / "run"
    mine.write_text("precious")
    path.mkdir()
    (path / "config.json.tmp").symlink_to(mine)
    with pytest.raises(UserError, match="is not empty and holds no run"):
        Workdir(path).check(tiny.experiment())
    Workdir(path).begin(tiny.experiment(), FOLLOWED, tokenizer)
    (path / ".token").symlink_to(mine)
    Workdir(path).check_shared(Two(0, [None, None], [None, ""]), patience=0.1)
    assert mine.read_text() == "precious"


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
        _save(begun.best, step, lower_is_better=False, value=value)
    assert begun.best_weights() == (begun.best, 4)


def test_weights_of_a_run_of_which_a_phase_has_ended(begun):
    _save(begun.checkpoints, 5, phase=0)
    with pytest.raises(UserError, match="of which no phase has ended: let it go on first"):
        begun.finished_weights()
    _save(begun.checkpoints, 9, phase=1)
    assert begun.finished_weights() == (begun.checkpoints, 9)


def test_the_only_phase_has_ended_with_the_run(begun):
    _save(begun.checkpoints, 5, phase=0)
    sealed.write(begun.result_file, result(steps=5))
    assert begun.finished_weights() == (begun.checkpoints, 5)


def test_the_lowest_loss_is_the_best(begun):
    for step, value in ((2, 0.7), (4, 0.3), (6, 0.5)):
        _save(begun.best, step, lower_is_better=True, value=value)
    assert begun.best_weights() == (begun.best, 4)


def test_the_latest_weights_that_are_whole(begun, caplog):
    for step in (5, 9):
        _save(begun.checkpoints, step)
    (begun.checkpoints.path(9) / "state.index").write_bytes(b"")
    assert begun.best_weights() == (begun.checkpoints, 5)
    assert "checkpoint of step 9 is damaged" in caplog.text
    (begun.checkpoints.path(5) / "state.index").unlink()
    with pytest.raises(UserError, match=r"all checkpoints in .* are damaged"):
        begun.best_weights()


def test_damaged_best_weights_are_not_passed_over(begun):
    """Others would predict something else."""
    _save(begun.best, 3, lower_is_better=True, value=0.1)
    _save(begun.best, 5, lower_is_better=True, value=0.2)
    (begun.best.path(3) / "state.index").write_bytes(b"")
    with pytest.raises(UserError, match=r"state\.index is not what was written\): restore"):
        begun.best_weights()
    shutil.rmtree(begun.best.path(3))
    assert begun.best_weights() == (begun.best, 5)


@pytest.mark.parametrize(
    "meta",
    [
        {},
        {"lower_is_better": 5, "value": 1},
        {"lower_is_better": True},
        {"lower_is_better": True, "value": "1"},
    ],
)
def test_best_weights_that_say_something_else(begun, meta):
    _save(begun.best, 3, **meta)
    with pytest.raises(UserError, match="weights that validation chose are damaged"):
        begun.best_weights()


@pytest.mark.parametrize("phase", ["1", None, -1, 0, True, [1]])
def test_a_phase_that_is_no_number_has_not_ended(begun, phase):
    _save(begun.checkpoints, 5, phase=phase)
    with pytest.raises(UserError, match="of which no phase has ended"):
        begun.finished_weights()


def test_two_processes_do_not_train_in_one_folder(tmp_path, tokenizer):
    first, second = Workdir(tmp_path / "run"), Workdir(tmp_path / "run")
    first.begin(tiny.experiment(), FOLLOWED, tokenizer)
    with pytest.raises(UserError, match="another process trains in --workdir"):
        second.begin(tiny.experiment(), FOLLOWED, tokenizer)


def test_a_lock_that_outlives_patience_is_no_mistake(tmp_path, tokenizer):
    """Where a host died with it, deleting the file helps."""
    first, second = Workdir(tmp_path / "run"), Workdir(tmp_path / "run")
    first.begin(tiny.experiment(), FOLLOWED, tokenizer)
    with pytest.raises(NotYet, match=rf"if its host is gone, delete {tmp_path / 'run' / '.lock'}$"):
        second.begin(tiny.experiment(), FOLLOWED, tokenizer, patience=0.2)
    (tmp_path / "run" / ".lock").unlink()
    second.begin(tiny.experiment(), FOLLOWED, tokenizer, patience=0.2)


def test_what_another_trained_while_it_was_waited_for_is_not_overwritten(tmp_path, tokenizer):
    first, second = Workdir(tmp_path / "run"), Workdir(tmp_path / "run")
    first.begin(tiny.experiment(), FOLLOWED, tokenizer)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(second.begin, tiny.experiment(), FOLLOWED, tokenizer, patience=10.0)
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
