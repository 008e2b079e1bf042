"""Checkpoints: whole or not at all, checked before they are trusted, equal for equal runs."""

import contextlib
import io
import json
import os
import resource
import shutil
import subprocess

import numpy as np
import pytest
import tensorflow as tf
from sealing import reseal

from trainer.errors import UserError
from trainer.storage.checkpoint import DamagedCheckpoint, Store, newest_whole
from trainer.storage.disk import sha256_of

META = {"phase": 1, "best": {"step": 3, "value": 0.1 + 0.2}}


def _variables(value=1.0, **shapes):
    shapes = shapes or {"model/head/kernel": (3, 2), "optimizer/updates/a.b": ()}
    return {
        name: tf.Variable(np.full(shape, value, np.float32), name="v")
        for name, shape in shapes.items()
    }


def _value(store, step):
    fresh = _variables(-1.0)
    store.restore(step, fresh)
    values = {float(value) for v in fresh.values() for value in np.ravel(v.numpy())}
    assert len(values) == 1
    return values.pop()


def _no_message(line):
    raise AssertionError(line)


def test_what_was_saved_comes_back(tmp_path):
    store = Store(tmp_path / "checkpoints")
    assert store.steps() == []
    assert newest_whole(store, _no_message) is None
    store.save(3, _variables(3.5), META)
    store.save(120_000_000, _variables(7.5), META)
    assert store.steps() == [3, 120_000_000]
    assert _value(store, 3) == 3.5
    assert newest_whole(store, _no_message) == (120_000_000, META)
    assert store.metas() == [META, META]
    assert store.shapes(3) == {"model/head/kernel": (3, 2), "optimizer/updates/a.b": ()}
    values = store.values(3, ["model/head/kernel"])
    np.testing.assert_array_equal(values["model/head/kernel"], np.full((3, 2), 3.5))


@pytest.mark.parametrize(("saved_on", "restored_on"), [(1, 2), (2, 1)])
def test_a_checkpoint_fits_any_number_of_devices(tmp_path, strategy_over, saved_on, restored_on):
    store = Store(tmp_path)
    with strategy_over(saved_on).scope():
        store.save(1, _variables(2.5), META)
    with strategy_over(restored_on).scope():
        fresh = _variables(-1.0)
    store.restore(1, fresh)
    for variable in fresh.values():
        for copy in strategy_over(restored_on).experimental_local_results(variable):
            np.testing.assert_array_equal(copy.numpy(), np.full(copy.shape, 2.5))


def test_equal_runs_give_equal_bytes(tmp_path):
    shapes = {f"model/layer_{i}/kernel": (4, i + 1) for i in range(20)}
    for folder in ("one", "two"):
        Store(tmp_path / folder).save(5, _variables(0.5, **shapes), META)
    one, two = ({p.name: p.read_bytes() for p in (tmp_path / f / "step-00000005").iterdir()}
                for f in ("one", "two"))  # fmt: skip
    assert one == two
    assert set(one) == {"manifest.json", "state.index", "state.data-00000-of-00001"}


def test_a_whole_checkpoint_of_that_step_is_kept(tmp_path):
    store = Store(tmp_path)
    store.save(1, _variables(1.0), META)
    store.save(1, _variables(2.0), META)
    assert _value(store, 1) == 1.0


# Killed while saving


class Killed(BaseException):
    """Stands for SIGKILL: nothing in the library may catch it."""


CALLS = [(os, name) for name in ("mkdir", "open", "fsync", "rename", "rmdir", "unlink")]
CALLS += [(io, "open"), (tf.train.Checkpoint, "write")]


@contextlib.contextmanager
def _failing(at, error, counted):
    """The `at`-th call to the system raises, before or after it did its work."""
    before, call = at % 2 == 0, at // 2

    def wrap(original):
        def wrapped(*args, **kwargs):
            counted.append(original)
            hit = len(counted) - 1 == call
            if hit and before:
                raise error
            result = original(*args, **kwargs)
            if hit:
                if original is original_open:
                    os.close(result)
                elif hasattr(result, "close"):
                    result.close()
                raise error
            return result

        return wrapped

    original_open = os.open
    with pytest.MonkeyPatch.context() as patch:
        for module, name in CALLS:
            patch.setattr(module, name, wrap(getattr(module, name)))
        yield


@pytest.mark.long
@pytest.mark.parametrize("error", [Killed(), OSError(5, "Input/output error")])
def test_whenever_a_save_is_cut_short_the_one_before_survives(tmp_path, error):
    """Cut at every call to the system, before and after it; then the run goes on."""
    at = 0
    outcomes = set()
    while True:
        store = Store(tmp_path / f"{at}")
        store.save(1, _variables(1.0), META)
        counted = []
        said = None
        try:
            with _failing(at, error, counted):
                store.save(2, _variables(2.0), META)
        except (Killed, UserError) as raised:
            said = raised
        if at // 2 >= len(counted):
            break
        if isinstance(said, UserError):
            assert str(said).startswith("cannot save the checkpoint of step 2 in")
            assert "Input/output error" in str(said)
            assert "\n" not in str(said)
            assert not any(p.name.startswith(".") for p in store.folder.iterdir())
        whole = newest_whole(store, _no_message)  # nothing that is visible is damaged
        outcomes.add(whole[0])
        assert _value(store, whole[0]) == whole[0]

        store.save(2, _variables(2.0), META)
        store.save(3, _variables(3.0), META)
        store.keep_only([2, 3])
        assert sorted(p.name for p in store.folder.iterdir()) == ["step-00000002", "step-00000003"]
        assert [_value(store, step) for step in store.steps()] == [2.0, 3.0]
        at += 1
    assert at >= 14
    assert outcomes == {1, 2}


@pytest.mark.long
def test_a_damaged_one_is_replaced_whenever_that_is_cut_short(tmp_path):
    at = 0
    while True:
        store = Store(tmp_path / f"{at}")
        store.save(1, _variables(1.0), META)
        store.save(2, _variables(2.0), META)
        (store.path(2) / "state.index").write_bytes(b"")
        counted = []
        with contextlib.suppress(Killed), _failing(at, Killed(), counted):
            store.save(2, _variables(2.0), META)
        step, _ = newest_whole(store, lambda _: None)
        assert _value(store, step) == step
        store.save(2, _variables(2.0), META)
        assert _value(store, 2) == 2.0
        if at // 2 >= len(counted):
            break
        at += 1


def test_keep_only_deletes_the_others_and_what_was_left_over(tmp_path):
    store = Store(tmp_path)
    for step in (1, 2, 3):
        store.save(step, _variables(), META)
    (tmp_path / ".step-00000009.partial").mkdir()
    (tmp_path / ".step-00000009.partial" / "state.index").write_text("x")
    (tmp_path / "notes").mkdir()
    store.keep_only([2, 7])
    assert sorted(p.name for p in tmp_path.iterdir()) == ["notes", "step-00000002"]
    Store(tmp_path / "none").keep_only([])


def test_a_deletion_that_is_cut_short_leaves_nothing_that_looks_whole(tmp_path):
    at = 0
    while True:
        store = Store(tmp_path / f"{at}")
        for step in (1, 2):
            store.save(step, _variables(float(step)), META)
        counted = []
        with contextlib.suppress(Killed), _failing(at, Killed(), counted):
            store.keep_only([2])
        assert newest_whole(store, _no_message)[0] == 2
        for step in store.steps():
            assert _value(store, step) == step
        if at // 2 >= len(counted):
            break
        at += 1
        store.keep_only([2])
        assert [p.name for p in store.folder.iterdir()] == ["step-00000002"]


# Damage


def _flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def _cut(path):
    path.write_bytes(path.read_bytes()[:-2])  # of a manifest more than its last line end


DAMAGES = {
    "flipped": _flip,
    "cut": _cut,
    "empty": lambda path: path.write_bytes(b""),
    "gone": lambda path: path.unlink(),
    "a folder": lambda path: (path.unlink(), path.mkdir()),
}


@pytest.mark.parametrize("name", ["state.index", "state.data-00000-of-00001", "manifest.json"])
@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_seen_and_the_one_before_is_taken(tmp_path, name, damage):
    store = Store(tmp_path)
    store.save(1, _variables(1.0), META)
    store.save(2, _variables(2.0), META)
    DAMAGES[damage](store.path(2) / name)
    with pytest.raises(DamagedCheckpoint, match="step-00000002"):
        store.verify(2)
    said = []
    assert newest_whole(store, said.append) == (1, META)
    assert len(said) == 1
    assert "step 2 is damaged" in said[0]

    DAMAGES[damage](store.path(1) / name)
    with pytest.raises(UserError, match=r"all checkpoints in .* are damaged") as caught:
        newest_whole(store, said.append)
    assert "\n" not in str(caught.value)
    store.save(2, _variables(4.0), META)  # is made anew
    assert _value(store, 2) == 4.0


@pytest.mark.parametrize("content", ["null", "[]", "3", '{"meta": {}, "sha256": []}', "{}"])
def test_a_manifest_that_is_something_else(tmp_path, content):
    store = Store(tmp_path)
    store.save(1, _variables(), META)
    (store.path(1) / "manifest.json").write_text(content)
    with pytest.raises(DamagedCheckpoint):
        store.verify(1)
    assert store.metas() in ([], [{}])


def test_every_number_of_the_meta_is_guarded(tmp_path):
    store = Store(tmp_path)
    store.save(1, _variables(), META)
    path = store.path(1) / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["meta"]["phase"] = 0
    path.write_text(json.dumps(manifest, indent=1, sort_keys=True))
    with pytest.raises(DamagedCheckpoint):
        store.verify(1)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"sha256": {"../../secret": "0"}}, "does not name the files of a checkpoint"),
        ({"sha256": {"state.index": "0", "/dev/zero": "0"}}, "does not name the files"),
        ({"sha256": {"state.data-00000-of-00001": "0"}}, "does not name the files"),
        ({"sha256": {}}, "does not name the files"),
        ({"sha256": ["state.index"]}, "sha256 must be an object"),
        ({"sha256": {"state.index": 5}}, "is not what was written"),
        ({"meta": 5}, "meta must be an object"),
        ({"step": 2}, "it is of step 2"),
        ({"step": "1"}, "step must be a whole number"),
    ],
)
def test_a_manifest_that_a_stranger_sealed(tmp_path, change, said):
    store = Store(tmp_path)
    store.save(1, _variables(), META)
    reseal(store.path(1) / "manifest.json", lambda values: values.update(change))
    with pytest.raises(DamagedCheckpoint, match=said):
        store.verify(1)


def test_a_file_that_would_be_read_for_ever_is_damage(tmp_path):
    store = Store(tmp_path)
    store.save(1, _variables(), META)
    for name in ("state.index", "manifest.json"):
        (store.path(1) / name).unlink()
        os.mkfifo(store.path(1) / name)
        with pytest.raises(DamagedCheckpoint, match=name):
            store.verify(1)


def test_files_that_tensorflow_cannot_read_under_a_fitting_seal(tmp_path):
    store = Store(tmp_path)
    store.save(1, _variables(**{"model/a": (50,)}), META)
    random = np.random.default_rng(0)
    for name in ("state.index", "state.data-00000-of-00001"):
        path = store.path(1) / name
        before = path.read_bytes()
        damaged = []
        for at in random.choice(len(before), 20):
            content = bytearray(before)
            content[at] ^= 1 << random.integers(8)
            damaged.append(bytes(content))
        for content in (*damaged, before):
            path.write_bytes(content)
            digest = {name: sha256_of(path)}
            reseal(store.path(1) / "manifest.json", lambda v, new=digest: v["sha256"].update(new))
            assert store.verify(1) == META
            with contextlib.suppress(UserError):
                store.restore(1, _variables(**{"model/a": (50,)}))
            with contextlib.suppress(UserError):
                store.values(1, ["model/a"])
    assert store.values(1, ["model/a"])["model/a"].tolist() == [1.0] * 50


def test_weights_that_are_not_finite_are_refused(tmp_path):
    store = Store(tmp_path)
    for value in (np.nan, np.inf):
        store.save(1, _variables(value, **{"model/a": (2,), "optimizer/b": ()}), META)
        with pytest.raises(UserError, match="model/a holds numbers that are not finite"):
            store.restore_weights(1, _variables(**{"model/a": (2,)}))
        store.restore_weights(1, _variables(**{"optimizer/b": ()}))
        shutil.rmtree(store.path(1))


def test_a_variable_that_is_missing_or_has_another_shape_is_named(tmp_path):
    store = Store(tmp_path)
    store.save(1, _variables(**{"model/a": (2,), "model/b": (3,)}), META)
    with pytest.raises(UserError, match=r"step-00000001 holds no model/c: it is of another model"):
        store.restore(1, _variables(**{"model/a": (2,), "model/c": (3,)}))
    with pytest.raises(UserError, match=r"model/b with shape \(3,\), the model has \(4,\)"):
        store.restore(1, _variables(**{"model/a": (2,), "model/b": (4,)}))
    part = _variables(0.0, **{"model/a": (2,)})
    store.restore(1, part)  # may hold more
    assert part["model/a"].numpy().tolist() == [1, 1]


# A full disk


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 64 KiB; or, where none can be mounted, a limit on the size of files."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    if shutil.which("mount") and not subprocess.run(mount, capture_output=True).returncode:
        yield folder
        subprocess.run(["umount", str(folder)], check=True)
        return
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (65536, before[1]))
    try:
        yield folder
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_is_one_line_and_the_one_before_survives(small_disk):
    store = Store(small_disk)
    store.save(1, _variables(1.0), META)
    with pytest.raises(UserError, match=r"cannot save the checkpoint of step 2") as caught:
        store.save(2, _variables(2.0, large=(64, 1024)), META)
    assert "\n" not in str(caught.value)
    assert "run the same command again" in str(caught.value)
    assert [p.name for p in small_disk.iterdir()] == ["step-00000001"]
    assert newest_whole(store, _no_message) == (1, META)
    store.save(2, _variables(2.0), META)  # there is room again
    assert _value(store, 2) == 2.0


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot save the checkpoint of step 1"):
        Store(tmp_path / "file" / "checkpoints").save(1, _variables(), META)


@pytest.mark.parametrize("name", ["[1e-3,5e-4]", "a?b*", "{x}\\y"])
def test_a_folder_with_glob_characters(tmp_path, name):
    """TensorFlow takes paths as patterns: it would find nothing there, or another run's."""
    other = Store(tmp_path / "axby")
    other.save(1, {"a": tf.Variable([9.0, 9.0])}, {})
    store = Store(tmp_path / name / "checkpoints")
    store.save(1, {"a": tf.Variable([1.0, 2.0])}, {"value": 1})
    assert store.verify(1) == {"value": 1}
    assert store.shapes(1) == {"a": (2,)}
    np.testing.assert_array_equal(store.values(1, ["a"])["a"], [1.0, 2.0])
    back = tf.Variable([0.0, 0.0])
    store.restore(1, {"a": back})
    np.testing.assert_array_equal(back.numpy(), [1.0, 2.0])
