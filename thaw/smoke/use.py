"""Uses of a trained model: evaluated again, predicted with, and exported, with equal answers."""

import subprocess
import sys
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from thaw import trained
from thaw.smoke import Disagreement, compare
from thaw.trained import Trained
from trainer.batch import INPUTS
from trainer.config import Model
from trainer.data.columns import Row
from trainer.errors import one_line
from trainer.evaluation.scores import Kept
from trainer.prediction.predictor import Answered
from trainer.storage.contents import SCORES
from trainer.storage.workdir import Workdir
from trainer.tasks.task import Piece

ALLOWED = 1e-4  # difference of an answer, such as a logit; of one over 1, relative to it
METRICS = 1e-5  # relative difference of a metric that is worked out again
HALF = 0.1  # likewise, from answers in half precision
ALONE = 6  # rows that are predicted one by one too


def evaluated(workdir: Path, cache_dir: Path, trust: Collection[str]) -> str:
    """A line on an evaluation that gives what the run gave.

    Raises:
      Disagreement: a metric differs. UserError: it cannot be evaluated.
    """
    result = Workdir(workdir).result() or {}
    name = "test" if "test" in result else "validation"
    found = trained.evaluate(
        workdir, name, cache_dir=cache_dir, say=lambda _: None, trust=trust, cpu_devices=1
    )
    apart = {
        metric: compare.difference(value, found[metric])
        for metric, value in result[name].items()
        if value is not None and np.isfinite(value)
    }
    worst = max(apart, key=lambda metric: apart[metric])
    if apart[worst] > METRICS:
        raise Disagreement(
            f"{name}/{worst} was {result[name][worst]:.6g}, and is {found[worst]:.6g}"
        )
    return f"{len(apart)} metrics of {name} as at the end of training, within {apart[worst]:.0e}"


def predicted(model: Trained, rows: Sequence[Mapping[str, Any]], split: str) -> str:
    """A line on predictions that are those of the run, whatever else is predicted.

    Args:
      model: a trained one.
      rows: all of a set, by the names of their columns.
      split: the name of the set, which the run scored.

    Raises:
      Disagreement: a row has other answers alone than beside others, or than the run gave it.
      UserError: a row is refused.
    """
    given = [model.row(row, number) for number, row in enumerate(rows)]
    if model.inside.task.longest_target:
        return _written(model, given, split)
    model.predict(rows)
    together = model.predictor.run(given)
    largest = 0.0
    for number in range(min(ALONE, len(given))):
        alone = model.predictor.run([given[number]])[0]
        beside = together[number].answers
        name, apart = _apart(model, alone.pieces, alone.answers, beside)
        if apart > ALLOWED:
            raise Disagreement(
                f"{name} of row {number + 1} is off by {apart:.1e} where it is predicted"
                " alone: does the model see the padding, or other rows?"
            )
        largest = max(largest, apart)
    line = f"{len(rows)} rows; alone or beside others off by at most {largest:.1e}"
    return f"{line}; {_as_scored(model, together, split)}"


def _written(model: Trained, given: Sequence[Row], split: str) -> str:
    """A line on texts that are written for rows, of a set that the run scored.

    Raises:
      Disagreement: one is another alone than beside others, or than the run wrote.
    """
    from trainer.prediction.continuing import ContinuingPredictor

    of, task = model.inside, model.inside.task.continuing()
    assert task
    predictor = ContinuingPredictor(of, task, task.writing(of.config.data.max_length))
    together = [each.answers["tokens"] for each in predictor.run(given)]
    for number in range(min(ALONE, len(given))):
        if predictor.run([given[number]])[0].answers["tokens"] != together[number]:
            raise Disagreement(f"row {number + 1} is given another text where it is alone")
    path, result = SCORES[split], Workdir(model.workdir).result() or {}
    if path not in result["sha256"]:
        return f"{len(given)} rows; alone as beside others; the run kept no scores"
    answers = Kept.load(model.workdir / path, result["sha256"][path], of.task).scores.answers
    for number, tokens in enumerate(together):
        count = int(answers["count"][number])  # none: another row of its source has its text
        if count and answers["ids"][number, :count].tolist() != tokens:
            raise Disagreement(f"row {number + 1} of {split} is given another text than in the run")
    return f"{len(given)} rows; alone as beside others, and as the run wrote them"


def _apart(
    model: Trained,
    pieces: Sequence[Piece],
    answers: Mapping[str, np.ndarray],
    others: Mapping[str, np.ndarray],
) -> tuple[str, float]:
    """The answer to a row's pieces that differs most from another one, and by how much."""
    of_tokens = model.inside.task.kind == "tokens"
    found = [("", 0.0)]
    for name, answer in answers.items():
        for i, piece in enumerate(pieces):
            upto = slice(len(piece.tokens.ids)) if of_tokens else ...
            found.append((name, difference(answer[i][upto], others[name][i][upto])))
    return max(found, key=lambda each: each[1])


def _as_scored(model: Trained, answered: Sequence[Answered], split: str) -> str:
    """A line on answers that are those which the run kept of a set's rows."""
    path, result = SCORES[split], Workdir(model.workdir).result() or {}
    if path not in result["sha256"]:
        return "the run kept no scores"
    kept = Kept.load(model.workdir / path, result["sha256"][path], model.inside.task)
    if not kept.scores.answers:
        return "the run kept no answers"
    half = model.config.runtime.precision not in ("float32", "float64")
    allowed, largest = HALF if half else ALLOWED, 0.0
    for row, one in enumerate(answered):
        places = np.flatnonzero(kept.gold["rows"] == row)
        if len(places) != len(one.pieces):
            raise Disagreement(
                f"row {row + 1} of {split} makes {len(one.pieces)} inputs; the run scored"
                f" {len(places)}"
            )
        scored = {name: values[places] for name, values in kept.scores.answers.items()}
        if half:
            scored = {name: values for name, values in scored.items() if values.dtype.kind == "f"}
        answers = {name: one.answers[name] for name in scored}
        name, apart = _apart(model, one.pieces, answers, scored)
        if apart > allowed:
            raise Disagreement(
                f"{name} of row {row + 1} of {split} is off by {apart:.1e} from what the run scored"
            )
        largest = max(largest, apart)
    return f"off by at most {largest:.1e} from what the run scored"


def exported(model: Trained, rows: Sequence[Mapping[str, Any]], folder: Path) -> str:
    """A line on a SavedModel that answers as the model does, in a process without this library.

    Args:
      model: a trained one.
      rows: of its data, by the names of their columns.
      folder: for what is written; it exists.

    Raises:
      Disagreement: it answers otherwise, or not at all. UserError: it cannot be exported.
    """
    import tensorflow as tf

    from trainer.data.table import Table
    from trainer.models.random import random_scope

    of = model.inside
    given = [model.row(row, number) for number, row in enumerate(rows)]
    pieces = of.task.alone().pieces(given, of.encoder)
    table = Table.of(pieces, {}, of.encoder.pad_id, of.task.longest_target > 0)
    rows_, longest = tf.range(len(table), dtype=tf.int64), table.longest(np.arange(len(table)))
    batch = table.gather(rows_, longest)
    if of.task.longest_target:
        with random_scope(of.config.seed, tf.zeros([], tf.int64), rows_):
            batch = of.task.prepare(batch, training=False)
    inputs = {name: batch[name] for name in (of.task.inputs if of.task.longest_target else INPUTS)}
    answers = of.task.answers(inputs, of.model(inputs, training=False))
    one_each = len(pieces) == len(given)
    said = _saved_model(model, given, one_each, inputs=inputs, answers=answers, folder=folder)
    return f"{said}; {_hugging_face(model, inputs, answers, folder)}"


def _saved_model(
    model: Trained,
    given: Sequence[Row],
    one_each: bool,
    inputs: dict[str, Any],
    answers: Mapping[str, Any],
    folder: Path,
) -> str:
    """A line on the SavedModel, where it can be written here.

    Args:
      model: a trained one.
      given: rows.
      one_each: True if each makes one of the inputs.
      inputs, answers: of the model.
      folder: for what is written.
    """
    from trainer.export.tokenizing import can_write, why_no_texts

    of = model.inside
    if not (of.task.serves or of.task.writes):
        return "it has no form as a savedmodel"
    if not can_write(of.task, of.tokenizer):
        return "savedmodel not tried: it needs tensorflow-text (pip install 'thaw[text]')"
    if of.task.writes:
        return _continuations(model, given[:ALONE], folder)
    served = of.task.serve(answers, of.fitted)
    values = {name: value.numpy() for name, value in served.items() if value.dtype != "string"}
    expected = {f"ids/{name}": value for name, value in values.items()}
    asked = {name: value.numpy() for name, value in inputs.items()}
    takes_texts = not why_no_texts(of.task, of.tokenizer)
    if takes_texts:
        asked["texts"] = np.array([of.task.texts(row)[0].encode() for row in given])
        if one_each and not of.task.word_pattern:
            expected |= {f"serving_default/{name}": value for name, value in values.items()}
    output = model.export(folder / "savedmodel", "savedmodel")
    found = _answers(output, asked, folder, ["tensorflow_text"] if takes_texts else [])
    if takes_texts and not any(name.startswith("serving_default/") for name in found):
        raise Disagreement("savedmodel takes no texts: it has no serving_default")
    return agreement(expected, found)


def _continuations(model: Trained, given: Sequence[Row], folder: Path) -> str:
    """A line on the SavedModel of a model that writes texts."""
    from trainer.export.tokenizing import why_no_texts
    from trainer.prediction.continuing import ContinuingPredictor
    from trainer.prediction.writer import padded_left

    of, task = model.inside, model.inside.task.continuing()
    positions = of.config.data.max_length
    assert task
    writing = task.writing(positions)
    predictor = ContinuingPredictor(of, task, writing)
    writer = predictor.writer
    prompts = predictor.prompts(["".join(row[c.key] for c in task.text_columns) for row in given])
    if not task.longest_target:  # prompt and continuation share the positions
        prompts = [ids[: positions - writing.max_new_tokens] for ids in prompts]
    ids = np.zeros([len(prompts), writing.max_new_tokens], np.int32)
    for i, continuation in enumerate(writer.continue_prompts(prompts, range(len(prompts)))):
        ids[i, : len(continuation.tokens)] = continuation.tokens
    asked = zip(INPUTS, padded_left(prompts, max(map(len, prompts))), strict=False)
    modules = [] if why_no_texts(of.task, of.tokenizer) else ["tensorflow_text"]
    output = model.export(folder / "savedmodel", "savedmodel")
    return agreement({"ids/ids": ids}, _answers(output, dict(asked), folder, modules))


def agreement(expected: Mapping[str, np.ndarray], found: Mapping[str, np.ndarray]) -> str:
    """A line on the answers of a SavedModel, by signature and name: "ids/probabilities".

    Raises:
      Disagreement: one is missing, or differs.
    """
    if missing := sorted(expected.keys() - found.keys()):
        raise Disagreement(f"savedmodel gives no {missing[0]}")
    largest: dict[str, float] = {}
    for name, value in expected.items():
        signature = name.partition("/")[0]
        apart = difference(found[name], value)
        largest[signature] = max(largest.get(signature, 0.0), apart)
    if not largest:
        return "savedmodel answers, with texts alone, which are not compared"
    if any(apart > ALLOWED for apart in largest.values()):
        raise Disagreement(f"savedmodel answers otherwise than the model: {_said(largest)}")
    return f"savedmodel answers off by at most {_said(largest)}"


def _said(largest: Mapping[str, float]) -> str:
    names = {"ids": "token ids", "serving_default": "texts"}
    return ", ".join(f"{apart:.1e} ({names[name]})" for name, apart in largest.items())


def _answers(
    model: Path, inputs: Mapping[str, Any], folder: Path, modules: Sequence[str]
) -> dict[str, np.ndarray]:
    """The answers of a SavedModel that another process loads, which imports some modules first."""
    np.savez(folder / "inputs.npz", **inputs)
    script = Path(__file__).with_name("saved_answers.py")
    places = (model, folder / "inputs.npz", folder / "outputs.npz")
    done = subprocess.run(
        [sys.executable, "-P", str(script), *map(str, places), *modules],
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        kind = [line for line in lines if "Error" in line.partition(":")[0]]
        raise Disagreement(
            "savedmodel was written, but cannot be used in a process without this library:"
            f" {one_line((kind or lines or ['killed'])[-1], 300)}"
        )
    with np.load(folder / "outputs.npz") as outputs:
        return dict(outputs)


def _hugging_face(
    model: Trained, inputs: dict[str, Any], answers: Mapping[str, Any], folder: Path
) -> str:
    """A line on the folder for transformers, read back, where the model has that form."""
    import tensorflow as tf

    from trainer.export.huggingface import why_not
    from trainer.models.network import assembled
    from trainer.models.parameters import named_parameters
    from trainer.models.pretrained import open_pretrained

    of = model.inside
    if why_not(of.config, of.derived, of.task):
        return "it has no form for transformers"
    output = model.export(folder / "huggingface", "huggingface")
    pretrained = open_pretrained(str(output))
    shape = pretrained.architecture(Model(head="native"), of.task.kind, of.task.longest_target)
    network = assembled(shape, of.task.outputs, of.task.head)
    network(inputs)
    names, kind = of.task.output_names, of.task.native_kind
    pretrained.load(named_parameters(network), True, lambda _: None, names, kind)
    outputs = network(inputs, training=False)
    again, whole = of.task.answers(inputs, outputs), of.model(inputs, training=False)
    pairs = zip(tf.nest.flatten([outputs, again]), tf.nest.flatten([whole, answers]), strict=True)
    largest = max(difference(one.numpy(), other.numpy()) for one, other in pairs)
    if largest > ALLOWED:
        raise Disagreement(f"huggingface, read back, answers otherwise: off by {largest:.1e}")
    return f"huggingface, read back, by {largest:.1e}"


def difference(a: np.ndarray, b: np.ndarray) -> float:
    """The largest difference of two arrays, relative where a number is over 1.

    It is infinite where their shapes or kinds differ, a number is not finite, or numbers that are
    whole are not equal.
    """
    if a.shape != b.shape or a.dtype.kind != b.dtype.kind:
        return np.inf
    if a.dtype.kind != "f":
        return 0.0 if np.array_equal(a, b) else np.inf
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        return np.inf
    size = np.maximum(np.maximum(np.abs(a), np.abs(b)), 1.0)
    return float((np.abs(a - b) / size).max(initial=0.0))
