"""The typed tree of settings: what it refuses, and what two runs may differ in."""

import contextlib
import dataclasses
import itertools
import json
import math
import re
import typing

import pytest

from trainer.config import (
    FROM_ROWS,
    Data,
    Evaluation,
    Experiment,
    Model,
    Optimizer,
    Phase,
    Runtime,
    Tokenizer,
    defining,
    differences,
    expand_paths,
    from_dict,
    set_names,
    shared_fields,
    to_dict,
    validate,
    without_effect,
)
from trainer.data.columns import Row
from trainer.errors import UserError
from trainer.storage import fields
from trainer.tasks.classification import Classification
from trainer.tasks.labels import Distinct


def _changed(path, value):
    """A valid experiment with one field changed."""
    config = Experiment(phases=[Phase(name="one", steps=5), Phase(name="two", epochs=1)])
    *parents, name = path.split(".")
    node = config
    for parent in parents:
        node = config.phases[int(parent[-2])] if "[" in parent else getattr(node, parent)
    assert hasattr(node, name)
    setattr(node, name, value)
    return config


def test_the_defaults_are_valid():
    validate(Experiment())
    validate(_changed("seed", 1))


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        # types
        ("seed", "3", "config.seed must be of type int, is '3'"),
        ("seed", 1.0, "config.seed must be of type int, is 1.0"),
        ("seed", True, "config.seed must be of type int, is True"),
        ("model.dropout", "0.1", "config.model.dropout must be of type float"),
        ("model.causal", 1, "config.model.causal must be of type bool, is 1"),
        ("data.name", None, "config.data.name must be of type str, is None"),
        ("phases[1].train", "head/.*", r"config.phases\[1\].train must be a tuple of str"),
        ("phases[0].train", ("a", 3), r"config.phases\[0\].train must be a tuple of str"),
        ("runtime.gpus", (0, "1"), "config.runtime.gpus must be a tuple of int"),
        ("model", {"width": 8}, "config.model must be a Model"),
        ("phases", [{"steps": 3}], r"config.phases\[0\] must be a trainer.config.Phase"),
        # bounds
        ("global_batch_size", 0, "config.global_batch_size=0 must be between 1 and 1048576"),
        ("seed", -1, "config.seed=-1 must be between 0 and"),
        ("model.dropout", 1.0, r"config.model.dropout=1.0 must be between 0.0 and 0.95"),
        ("optimizer.beta2", 1.0, "config.optimizer.beta2=1.0 must be between"),
        ("phases[1].layer_decay", 1.5, r"config.phases\[1\].layer_decay=1.5 must be between"),
        ("phases[0].learning_rate", math.nan, r"learning_rate=nan must be a finite number"),
        ("phases[0].learning_rate", -1e-3, r"config.phases\[0\].learning_rate=-0.001 must be"),
        ("phases[0].learning_rate", math.inf, r"learning_rate=inf must be a finite number"),
        ("data.max_length", 4, "config.data.max_length=4 must be between 8 and 65536"),
        # choices
        ("data.cut", "middle", "config.data.cut='middle' is not one of: head.tail, head, tail"),
        ("phases[0].schedule", "step", "is not one of: constant, linear, cosine, inverse_sqrt"),
        ("runtime.precision", "float16", "is not one of: float32, mixed_bfloat16, mixed_float16"),
        # one against another
        ("phases", [], "config.phases is empty"),
        ("phases[0].epochs", 1.0, "needs either steps or epochs, and not both: steps=5, epochs=1"),
        ("phases[0].steps", 0, "needs either steps or epochs, and not both: steps=0, epochs=0"),
        ("phases[1].name", "one", r"config.phases\[0\].name='one' is used twice"),
        ("phases[1].train", (), r"config.phases\[1\].train is empty"),
        ("phases[1].train", ("head/(",), r"config.phases\[1\].train: 'head/\(' is not a regular"),
        ("model.initial_patterns", ("*",), "config.model.initial_patterns: .* not a regular"),
        ("model.heads", 3, "width=128 is not a multiple of config.model.heads=3"),
        ("model.kv_heads", 3, "kv_heads=3 does not divide config.model.heads=4: choose a divisor"),
        ("model.kv_heads", 8, "kv_heads=8 does not divide config.model.heads=4"),
        ("model", Model(width=12, positions="rotary"), "heads of width 3 .* must be even"),
        ("model", Model(positions="relative", relative_buckets=9), "buckets=9 must be even: half"),
        ("model", Model(positions="relative", relative_distance=16), "distance=16 must be more th"),
        ("evaluation", Evaluation(every_steps=3, every_epochs=2), "every_steps or every_epochs"),
        ("data", Data(mixture=("",)), "config.data.mixture holds an empty name"),
        ("data", Data(weights=(1.0,)), "config.data.weights has 1 numbers: give one for train and"),
        ("data", Data(mixture=("a",), weights=(1.0,)), "each of config.data.mixture, which has 1"),
        ("data", Data(mixture=("a",), weights=(1.0, 0.0)), "weights=0.0 must be between 1e-06"),
        ("data.exclude", ("test",), "config.data.exclude: 'test' must be a split or file, a colon"),
        ("data.exclude", ("test[:5]",), r"config.data.exclude: 'test\[:5\]' must be a split or f"),
        ("data.exclude", ("test:",), "config.data.exclude: 'test:' must be a split or file, a col"),
        ("data.documents", "words", "documents='words' is not one of: lines, paragraphs, file"),
        ("task.label", "", "config.task.label is empty: name the feature of TFDS"),
        ("task.text", "", "config.task.text is empty: name the feature of TFDS"),
        ("task", {"text": "a"}, "config.task must be a Task"),
        ("task.text_pair", "text", "task.text_pair='text' is config.task.text too: name another"),
        ("task.label", "text", "task.label='text' is config.task.text too: name another column"),
        ("task.labels", ("a", "b", "a"), r"config.task.labels=\('a', .* each class once, at least"),
        (
            "data.format",
            "xml",
            "config.data.format='xml' is not one of: suffix, csv, tsv, jsonl, parquet, col",
        ),
        ("data.header", 1, "config.data.header must be of type bool, is 1"),
        ("phases", Phase(steps=3), "must be a list of trainer.config.Phase"),
        ("model", Model(head="cls", causal=True), "sees little or nothing of the text"),
        ("task.mask_share", 0.001, "config.task.mask_share=0.001 is too small to act"),
        ("model.dropout", -0.5, r"config.model.dropout=-0.5 must be between 0.0 and 0.95"),
        (
            "phases",
            [Phase(steps=9, warmup_steps=1, warmup_share=0.1)],
            "warmup_steps or warmup_share, and not both",
        ),
        ("model.head", "native", "is the head of a pretrained model"),
        ("model", Model(pretrained="a", initial_run="b"), "model.initial_run, not both"),
        ("model", Model(pretrained="a", factory="b:c"), "needs the encoder of this library"),
    ],
)
def test_refuses(path, value, said):
    with pytest.raises(UserError, match=said) as caught:
        validate(_changed(path, value))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("model.dropout", 0),  # an int where a float is meant
        ("model.dropout", 0.95),
        ("model.dropout", -1.0),
        ("model", Model(pretrained="a", head="native", width=7, heads=2)),
        ("phases[0].train", ("head/.*", "encoder/.*")),
        ("evaluation", Evaluation(every_steps=3)),
        ("evaluation", Evaluation(every_epochs=0.5)),
        ("data", Data(validation="validation", validation_share=0.0)),
        ("data", Data(validation_share=0.0, test="")),
        ("data.exclude", ("test[:50%]:text", "train:text")),
        ("model", Model(width=7, heads=7, positions="learned")),
    ],
)
def test_accepts(path, value):
    validate(_changed(path, value))


# To JSON and back


def _full():
    return Experiment(
        model=Model(width=64, initial_patterns=("a", "b")),
        task=Classification(labels=("b", "a"), class_weights=(1.0, 2.0), metrics=("a:b",)),
        optimizer=Optimizer(ema=0.5),
        phases=[Phase(name="one", steps=3, train=("x",)), Phase(name="two", epochs=0.5)],
        runtime=Runtime(gpus=(1, 2)),
        seed=9,
    )


@pytest.mark.parametrize("config", [Experiment(), _full()])
def test_from_dict_is_the_inverse_of_to_dict(config):
    again = from_dict(json.loads(json.dumps(to_dict(config))))
    assert again == config
    assert isinstance(again.phases[0].train, tuple)
    assert isinstance(again.task.labels, tuple)
    validate(again)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"sed": 1}, "config has an unknown field: sed"),
        ({"model": {"size": 1}}, "config.model has an unknown field: size"),
        ({"phases": [vars(Phase()), {"rate": 1}]}, r"phases\[1\] has an unknown field: rate"),
        ({"model": 3}, "config.model must be an object with the fields of a Model"),
        ({"model": {}}, r"config\.model\.activation is missing"),
        ({"task": 5}, r"config\.task must be an object with the fields of a task"),
        ({"task": {}}, r"config\.task\.class must be the import path of a task"),
        ({"phases": [5]}, r"config\.phases\[0\] must be an object"),
    ],
)
def test_fields_that_are_not_those_of_a_config_are_refused(values, said):
    with pytest.raises(UserError, match=said):
        from_dict(to_dict(Experiment()) | values)
    with pytest.raises(UserError, match=r"config\.seed is missing"):
        from_dict({k: v for k, v in to_dict(Experiment()).items() if k != "seed"})


@pytest.mark.parametrize("phases", [None, 3, "all", {}, []])
def test_phases_that_are_no_list_are_refused_at_last(phases):
    with pytest.raises(UserError, match=r"config\.phases (is empty|must be a list)"):
        validate(from_dict(to_dict(Experiment()) | {"phases": phases}))


# What a resume may change


def _all_fields(node=Experiment, path=""):
    """(path, dataclass field) of all leaves but those of phases and corpora."""
    for field in dataclasses.fields(node):
        if dataclasses.is_dataclass(field.default_factory):
            yield from _all_fields(field.default_factory, f"{path}{field.name}.")
        elif field.name not in ("phases", "corpora"):
            yield f"{path}{field.name}", field


HOW = {
    "data.data_dir",
    "evaluation.batch_size",
    "task.precision_target",
    "tokenizer.pretrained",
    *(
        f"runtime.{f.name}"
        for f in dataclasses.fields(Runtime)
        if f.name not in ("precision", "tf32")
    ),
    "max_steps",
    "log_every_steps",
    "histograms_every_steps",
    "save_every_steps",
    "keep_checkpoints",
}


def _other(value):
    if isinstance(value, bool):
        return not value
    if isinstance(value, str):
        return value + "x"
    return (1,) if isinstance(value, tuple) else value + 1


def test_every_field_that_defines_a_run_is_compared_and_no_other():
    fields = list(_all_fields())
    assert len(fields) > 60
    assert {path for path, _ in fields} > HOW
    for path, field in fields:
        old, new = _changed("seed", 0), _changed(path, _other(field.default))
        lines = differences(old, new)
        if path in HOW:
            assert lines == [], path
        else:
            assert lines == [f"config.{path}: {field.default!r} -> {_other(field.default)!r}"]


def test_phases_are_compared_field_by_field():
    old = _changed("seed", 0)
    assert differences(old, _changed("phases[1].learning_rate", 5.0)) == [
        "config.phases[1].learning_rate: 0.001 -> 5.0"
    ]
    longer = _changed("seed", 0)
    longer.phases.append(Phase(name="three", steps=2))
    lines = differences(old, longer)
    assert "config.phases[2].name: 'absent' -> 'three'" in lines
    assert len(lines) == len(dataclasses.fields(Phase))
    assert len(differences(longer, old)) == len(lines)
    assert differences(longer, longer) == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"phases": [Phase(steps=9, patience=1)]}, r"config.phases\[0\].patience=1"),
        ({"evaluation": Evaluation(metric="loss")}, "config.evaluation.metric='loss'"),
    ],
)
def test_without_validation_nothing_hangs_on_it(changes, said):
    config = Experiment(**{"data": Data(validation_share=0.0), **changes})
    with pytest.raises(UserError, match=f"{said}, and there is no validation: name config.data"):
        validate(config)
    assert set_names(config.data) == ["train", "test"]


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (
            "tokenizer",
            Tokenizer(pretrained="x", vocab_size=99),
            "config.tokenizer.vocab_size has no effect with tokenizer.pretrained",
        ),
        (
            "data",
            Data(validation="v", validation_share=0.2),
            "config.data.validation_share has no effect with data.validation",
        ),
        (
            "data.format",
            "csv",
            "config.data.format has no effect with data.source='tfds'",
        ),
        ("data.header", False, "config.data.header has no effect with data.source='tfds'"),
        ("data.quoting", "none", "config.data.quoting has no effect with data.source='tfds'"),
        (
            "model.initial_patterns",
            ("head/.*",),
            "config.model.initial_patterns has no effect with no model.initial_run",
        ),
        (
            "model",
            Model(positions="learned", position_scale=2.0),
            "config.model.position_scale has no effect with model.positions='learned'",
        ),
        (
            "model.rotary_theta",
            1e6,
            "config.model.rotary_theta has no effect with model.positions='sinusoidal'",
        ),
        (
            "model.relative_buckets",
            16,
            "config.model.relative_buckets has no effect with model.positions='sinusoidal'",
        ),
        (
            "optimizer.initial_loss_scale",
            2.0,
            "config.optimizer.initial_loss_scale has no effect with runtime.precision='float32'",
        ),
        (
            "runtime.pack_mebibytes",
            9,
            "config.runtime.pack_mebibytes has no effect with a single worker",
        ),
    ],
)
def test_what_changes_nothing_is_said(path, value, said):
    assert without_effect(_changed(path, value)) == [said]


def test_what_workers_share():
    shared = shared_fields(_changed("seed", 3))
    assert shared["config.seed"] == 3
    assert shared["config.phases[1].epochs"] == 1
    assert "config.runtime.steps_per_call" in shared
    for path in ("data.data_dir", "runtime.gpus", "runtime.intra_op_threads", "model.initial_run"):
        assert f"config.{path}" not in shared
    assert "config.data.train" in shared
    assert "config.data.train" not in shared_fields(_changed("data.source", "files"))


def test_runs_are_told_apart_by_what_they_begin_with():
    plain = defining(_changed("seed", 0))
    for path in ("model.initial_run", "model.pretrained", "tokenizer.pretrained"):
        changed = defining(_changed(path, "runs/words"))
        assert changed == {**plain, path: "runs/words"}
    for path in ("data.data_dir", "runtime.gpus", "runtime.inter_op_threads", "max_steps"):
        assert path not in plain


def test_nothing_is_said_of_what_acts():
    assert without_effect(Experiment()) == []
    assert without_effect(_changed("tokenizer.vocab_size", 99)) == []
    left = _changed("tokenizer", Tokenizer(vocab_size=FROM_ROWS, pretrained="a"))
    left.evaluation.every_epochs, left.data.validation_share = FROM_ROWS, 0.0
    assert without_effect(left) == []
    assert without_effect(_changed("runtime.pack_mebibytes", 9), workers=2) == []


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("tokenizer.lowercase", False),
        ("model.depth", 0),
        ("model.embedding_norm", False),
        ("model.position_scale", 0.0),
        ("model.norm_kind", "rms"),
        ("model.kv_heads", 2),
        ("model.attention_scale", False),
        ("model.gated_ffn", True),
        ("model.biases", False),
    ],
)
def test_a_pretrained_model_decides_what_it_is(path, value):
    config = _changed(path, value)
    assert without_effect(config) == []
    config.model.pretrained = "somewhere"
    assert without_effect(config) == [f"config.{path} has no effect with model.pretrained"]


# Bounds


def _leaves(kind):
    """(path, field, type) of every field of the dataclasses."""
    hints = typing.get_type_hints(kind)
    for spec in dataclasses.fields(kind):
        hint = {"phases": Phase, "task": Classification}.get(spec.name, hints[spec.name])
        if dataclasses.is_dataclass(hint):
            yield from ((f"{spec.name}.{path}", *rest) for path, *rest in _leaves(hint))
        else:
            yield spec.name, spec, hint


LEAVES = {path: (spec, hint) for path, spec, hint in _leaves(Experiment)}


def _number_of(hint):
    inner = typing.get_args(hint)[0] if typing.get_origin(hint) is tuple else hint
    return inner if inner in (int, float) else None


@pytest.mark.parametrize("path", [path for path, (_, hint) in LEAVES.items() if _number_of(hint)])
def test_every_number_has_bounds(path):
    spec, hint = LEAVES[path]
    high, low = spec.metadata["high"], spec.metadata["low"]
    assert math.isfinite(high)
    assert math.isfinite(low)
    where = path.replace("phases.", "phases[0].")
    for value in (10**5000, high * 2 + 1, low - 3, -(10**400)):
        value = value if _number_of(hint) is int or isinstance(value, int) else float(value)
        given = (value,) if typing.get_origin(hint) is tuple else value
        with pytest.raises(
            UserError, match=r"must be between|must be of type|must be a tuple"
        ) as e:
            validate(_changed(where, given))
        assert path.split(".")[-1] in str(e.value)
        assert len(str(e.value)) < 300


@pytest.mark.parametrize("path", [path for path, (_, hint) in LEAVES.items() if hint is str])
@pytest.mark.parametrize("value", ["a" * 4001, "a\0b", "\ud800"])
def test_every_text_has_bounds(path, value):
    where = path.replace("phases.", "phases[0].")
    with pytest.raises(UserError, match=r"characters: give at most|NUL|UTF-8|is not one of") as e:
        validate(_changed(where, value))
    assert len(str(e.value)) < 400


def test_the_entries_of_tuples_are_counted():
    with pytest.raises(UserError, match=r"initial_patterns has 1,001 entries: give at most 1,000"):
        validate(_changed("model.initial_patterns", ("a",) * 1001))
    with pytest.raises(UserError, match=r"config\.phases has 1,001 entries"):
        validate(_changed("phases", [Phase(name=str(i), steps=1) for i in range(1001)]))


def test_as_many_classes_as_the_data_may_have():
    """The number is in one place: config, data, config.json of a workdir."""
    names = tuple(str(i) for i in range(5000))
    validate(_changed("task.labels", names))
    validate(_changed("task.class_weights", (1.0,) * 5000))
    with pytest.raises(UserError, match=r"task\.labels has 5,001 entries: give at most 5,000"):
        validate(_changed("task.labels", (*names, "x")))
    with pytest.raises(
        UserError, match=r"task\.class_weights has 5,001 entries: give at most 5,000"
    ):
        validate(_changed("task.class_weights", (1.0,) * 5001))
    for count, refused in ((5000, False), (5001, True)):
        facts = {"labels": [str(i) for i in range(count)]}
        with pytest.raises(fields.Invalid) if refused else contextlib.nullcontext():
            Classification().check_facts(facts)
    found = Distinct("train", "label", ())
    for name in names:
        found.add([name], Row({}, 0, "train"))
    with pytest.raises(UserError, match="at most 5,000 classes"):
        found.add(["x"], Row({}, 0, "train"))


@pytest.mark.parametrize(
    "path", ["data.data_dir", "tokenizer.pretrained", "model.pretrained", "model.initial_run"]
)
def test_a_field_that_is_a_path(path, monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    with pytest.raises(UserError, match=rf"config\.{path}='gs://b/x' is a URL"):
        validate(_changed(path, "gs://b/x"))
    config = _changed(path, "~/x")
    expand_paths(config)
    part, name = path.split(".")
    assert getattr(getattr(config, part), name) == "/home/me/x"


def test_the_files_of_data_are_paths_and_splits_are_none(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    config = Experiment(data=Data(source="files", train="~/a.csv", test="b.csv"))
    expand_paths(config)
    assert (config.data.train, config.data.test) == ("/home/me/a.csv", "b.csv")
    config = Experiment(data=Data(train="~/a", test="s3://b"))
    validate(config)
    expand_paths(config)
    assert (config.data.train, config.data.test) == ("~/a", "s3://b")
    with pytest.raises(UserError, match=r"config\.data\.validation='S3://b' is a URL"):
        validate(Experiment(data=Data(source="files", validation="S3://b")))


@pytest.mark.parametrize("where", ["gs://b/t.csv", "~nobody_x/t.csv", "x" * 300, "a\0b", "\udcff"])
def test_further_sets_are_paths_as_well(where):
    sets = ("a=a.csv", f"b={where}")
    with pytest.raises(UserError, match=r"^config\.data\.more_tests='?"):
        validate(Experiment(data=Data(source="files", more_tests=sets)))


def test_the_paths_of_further_sets_are_expanded(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    config = Experiment(data=Data(source="files", more_tests=("a=a.csv", "b=~/b.csv")))
    expand_paths(config)
    assert config.data.more_tests == ("a=a.csv", "b=/home/me/b.csv")
    config = Experiment(data=Data(more_tests=("a=~/a", "b=s3://b")))
    validate(config)
    expand_paths(config)
    assert config.data.more_tests == ("a=~/a", "b=s3://b")


def test_a_run_goes_on_with_the_run_that_it_began_with():
    runs = ("a/words", "/b/words/", "", "c")
    configs = [Experiment(model=Model(initial_run=run)) for run in runs]
    assert not differences(configs[0], configs[1])
    for one, other in itertools.permutations(configs[1:], 2):
        said = f"config.model.initial_run: {one.model.initial_run!r} -> {other.model.initial_run!r}"
        assert differences(one, other) == [said]


def test_paths_of_texts_that_are_left_out(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    config = Experiment(data=Data(source="files", exclude=("a.csv:a", "~/b:c.csv:b")))
    expand_paths(config)
    assert config.data.exclude == ("a.csv:a", "/home/me/b:c.csv:b")
    moved = Experiment(data=Data(source="files", exclude=("c.csv:a", "d.csv:b")))
    assert not differences(config, moved)
    assert "config.data.exclude" not in shared_fields(config)
    of_tfds = [Experiment(data=Data(exclude=(each,))) for each in ("test:text", "train:text")]
    assert differences(*of_tfds) == ["config.data.exclude: ('test:text',) -> ('train:text',)"]


def test_a_pattern_that_python_cannot_compile():
    for pattern in ("a{99999999999}", "(" * 4000):
        with pytest.raises(UserError, match="is not a regular expression") as caught:
            validate(_changed("phases[0].train", (pattern,)))
        assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("owner", "name", "said"),
    [
        ("", "max_step", "config has no field 'max_step': is it max_steps?"),
        ("data", "trian", "config.data has no field 'trian': is it train?"),
        ("task", "clas_weights", "config.task has no field 'clas_weights': is it class_weights?"),
        ("phases", "epoch", "config.phases[0] has no field 'epoch': is it epochs?"),
        ("model", "qqq", "config.model has no field 'qqq'; its fields: pretrained, factory"),
    ],
)
def test_a_name_that_is_no_field_is_refused(owner, name, said):
    config = Experiment()
    node = getattr(config, owner) if owner else config
    setattr(node[0] if owner == "phases" else node, name, 1)
    with pytest.raises(UserError, match=re.escape(said)):
        validate(config)
