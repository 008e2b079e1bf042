"""Tables in memory and on disk: arrays of rows and of tokens, padded and gathered."""

from dataclasses import dataclass

import numpy as np
import pytest
import tensorflow as tf

from trainer.data import cache, sources
from trainer.data.encode import Encoded
from trainer.data.progress import quiet
from trainer.data.table import Table, mapped_tensors, piece_columns
from trainer.errors import UserError
from trainer.tasks.classification import Classification
from trainer.tasks.task import TEXTS, Array, Piece, Task, check_arrays

ARRAYS = {
    "label": Array("int32"),
    "score": Array("float32", pad=-1.0),
    "tag": Array("int8", "input", -7),
    "share": Array("float64", "input"),
}


def piece(row: int, ids: list[int], label: int, second: int | None = None) -> Piece:
    count = len(ids)
    tokens = Encoded(np.array(ids), count if second is None else second, cut=False)
    of_tokens = {"tag": [label] * count, "share": np.arange(count) / 4}
    return Piece(row, tokens, {"label": label, "score": label / 2, **of_tokens})


PIECES = [piece(4, [2, 9, 3], 1), piece(4, [2, 3], 0, 1), piece(9, [2, 8, 8, 8, 3], 5, 3)]


@pytest.fixture
def table() -> Table:
    return Table.of(PIECES, ARRAYS, pad_id=40)


def numbers(batch: dict) -> dict[str, list]:
    return {name: value.numpy().tolist() for name, value in batch.items()}


def test_what_a_table_holds(table):
    assert len(table) == 3
    assert table.lengths.tolist() == [3, 2, 5]
    assert table.rows.tolist() == [4, 4, 9]
    gold = table.gold
    assert set(gold) == {*ARRAYS, "rows", "lengths"}
    assert gold["label"].tolist() == [1, 0, 5]
    assert gold["score"].tolist() == [0.5, 0.0, 2.5]
    assert gold["tag"].tolist() == [1, 1, 1, 0, 0, 5, 5, 5, 5, 5]
    assert {name: gold[name].dtype.name for name in ARRAYS} == {
        "label": "int32", "score": "float32", "tag": "int8", "share": "float64",
    }  # fmt: skip


def test_targets_have_an_axis_of_their_own():
    arrays = {"label": Array("int32"), "text": Array(TEXTS)}
    made = [
        each._replace(values={"label": 1, "text": text})
        for each, text in zip(
            [piece(0, [2, 9, 7, 3], 0, 2), piece(1, [2, 8, 8, 5, 3], 0, 4)],
            ["ein Haus", "größer\n☃"],
            strict=True,
        )
    ]
    columns = piece_columns(made, arrays, np.dtype(np.int32))
    table = Table({**columns, "rows": np.arange(2)}, arrays, 40, targets=True)
    assert table.sizes.tolist() == [[2, 2], [4, 1]]
    assert table.lengths.tolist() == [2, 4]
    assert table.longest(np.array([0, 1])) == (4, 2)
    batch = numbers(table.gather(tf.constant([1, -1, 0], tf.int64), (5, 2)))
    assert batch["input_ids"] == [[2, 8, 8, 5, 40], [40] * 5, [2, 9, 40, 40, 40]]
    assert batch["attention_mask"] == [[1, 1, 1, 1, 0], [1, 0, 0, 0, 0], [1, 1, 0, 0, 0]]
    assert batch["target_ids"] == [[3, 40], [40, 40], [7, 3]]
    assert batch["target_mask"] == [[1, 0], [0, 0], [1, 1]]
    assert not np.any(batch["token_type_ids"])
    assert "text" not in batch
    assert [*table.gold["text"]] == ["ein Haus", "größer\n☃"]
    assert [*table.gold_of(np.array([1]))["text"]] == ["größer\n☃"]


def test_the_gold_of_some_rows(table):
    part = table.gold_of(np.array([2, 0]))
    assert part["label"].tolist() == [5, 1]
    assert part["tag"].tolist() == [5] * 5 + [1] * 3
    assert part["share"].tolist() == [0, 0.25, 0.5, 0.75, 1, 0, 0.25, 0.5]
    assert (part["rows"].tolist(), part["lengths"].tolist()) == ([9, 4], [5, 3])
    none = table.gold_of(np.zeros(0, np.int64))
    assert none.keys() == part.keys()
    assert all(len(array) == 0 for array in none.values())
    whole = table.gold_of(np.arange(3))
    for name, array in table.gold.items():
        np.testing.assert_array_equal(whole[name], array)


def test_a_batch_is_padded_as_each_array_says(table):
    batch = table.gather(tf.constant([1, -1, 2], tf.int64), 6)
    assert numbers(batch) == {
        "input_ids": [[2, 3, *[40] * 4], [40] * 6, [2, 8, 8, 8, 3, 40]],
        "attention_mask": [[1, 1, 0, 0, 0, 0], [1, 0, 0, 0, 0, 0], [1, 1, 1, 1, 1, 0]],
        "token_type_ids": [[0, 1, 0, 0, 0, 0], [0] * 6, [0, 0, 0, 1, 1, 0]],
        "tag": [[0, 0, -7, -7, -7, -7], [-7] * 6, [5, 5, 5, 5, 5, -7]],
        "share": [[0, 0.25, 0, 0, 0, 0], [0] * 6, [0, 0.25, 0.5, 0.75, 1, 0]],
        "label": [0, 0, 5],
        "score": [0.0, -1.0, 2.5],
        "weight": [1, 0, 1],
        "id": [1, -1, 2],
    }
    assert {name: tensor.dtype.name for name, tensor in batch.items()} == {
        **dict.fromkeys(("input_ids", "attention_mask", "token_type_ids"), "int32"),
        **{"tag": "int32", "share": "float64", "label": "int32", "score": "float32"},
        **{"weight": "float32", "id": "int64"},
    }
    flat = table.gather_flat(tf.constant([1, -1, 2], tf.int64))
    assert numbers(flat) == {k: numbers(batch)[k] for k in ("label", "score", "weight", "id")}


def test_a_table_to_predict_has_the_arrays_that_its_pieces_have():
    bare = [Piece(p.row, p.tokens, {"tag": p.values["tag"]}) for p in PIECES]
    table = Table.of(bare, ARRAYS, pad_id=0)
    assert set(table.gold) == {"tag", "rows", "lengths"}
    assert set(table.gather(tf.constant([0], tf.int64), 8)) == {
        *("input_ids", "attention_mask", "token_type_ids", "tag", "weight", "id")
    }


def test_columns_of_pieces():
    found = piece_columns(PIECES, ARRAYS, np.dtype(np.uint16))
    assert found["tokens"].dtype == np.uint16
    assert found["offsets"].tolist() == [0, 3, 5, 10]
    assert found["second"].tolist() == [3, 1, 3]
    assert "rows" not in found


@dataclass
class Halves(Classification):
    """Two pieces of each row but of empty ones, with a number for each token."""

    def arrays(self):
        return {**super().arrays(), "tag": Array("int32", "input", -1)}

    def pieces(self, rows, encoder):
        made = [(i, half) for i, row in enumerate(rows) for half in self.halves(row)]
        encoded = encoder.encode([half for _, half in made])
        return [Piece(i, e, {}) for (i, _), e in zip(made, encoded, strict=True)]

    def halves(self, row):
        words = row["text"].split()
        middle = len(words) // 2
        return [" ".join(words[:middle]), " ".join(words[middle:])] if words else []

    def gold(self, row, piece):
        return {**super().gold(row, piece), "tag": np.full(len(piece.tokens.ids), row.id)}


@pytest.mark.parametrize("chunk", [1000, 3])
def test_a_row_may_be_several_pieces_or_none(make_files, tokenizer, tmp_path, monkeypatch, chunk):
    monkeypatch.setattr(cache, "CHUNK", chunk)
    rows = [("good film", "x"), ("", "y"), ("bad long man", "y"), ("a story", "x")]
    data = make_files(rows, rows, max_length=8)
    task = Halves()
    source = sources.open_source(data, task)
    how = {"tokenizer": tokenizer, "data": data, "cache_dir": tmp_path / "c", "progress": quiet}
    how_again = {**how, "cache_dir": tmp_path / "d"}
    split = cache.load_or_build(source, "test", task.bound(source.facts, tokenizer), **how)
    assert split.rows.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]  # " ." stands behind each text
    assert split.gold["label"].tolist() == [0, 0, 1, 1, 1, 1, 0, 0]
    tags = [number for row, length in zip(split.rows, split.lengths, strict=True)
            for number in [row] * length]  # fmt: skip
    assert split.gold["tag"].tolist() == tags
    assert split.gold_of(np.array([4]))["tag"].tolist() == [2] * split.lengths[4]
    task.halves = lambda row: Halves.halves(task, row) if row.id > 2 else []
    split = cache.load_or_build(source, "test", task.bound(source.facts, tokenizer), **how_again)
    assert split.rows.tolist() == [3, 3]
    task.halves = lambda row: []
    with pytest.raises(UserError, match="no row is left of which tokens could be made: see config"):
        cache.load_or_build(source, "train", task.bound(source.facts, tokenizer), **how)


ONE, TWO = Array("int32"), Array("float32", size=2)


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        (["sign"], "arrays must return Array by name, a dict"),
        ({"weight": ONE}, "array 'weight': this name is taken, as "),
        ({"id": ONE}, "array 'id': this name is taken"),
        ({"rows": ONE}, "array 'rows': this name is taken"),
        ({"tokens": ONE}, "array 'tokens': this name is taken"),
        ({"input_ids": ONE}, "array 'input_ids': this name is taken"),
        ({"../x": ONE}, "array '../x': name it by a word of letters"),
        ({3: ONE}, "array 3: name it by a word of letters"),
        ({"sign": "float32"}, "array 'sign' must be a trainer.tasks.task.Array, is 'float32'"),
        *(
            ({"sign": Array(dtype)}, "dtype=.*: name one of 'int8', 'uint8', 'int32', 'float32', ")
            for dtype in ("flt32", "U5", "bool", "int64", "float16", "longdouble", ">i4", "i4, (")
        ),
        *(
            ({"sign": Array(dtype)}, "dtype=.*: name one of 'int8'")
            for dtype in (None, np.int32, np.dtype("int32"), 4)
        ),
        *(
            ({"sign": Array("int32", pad=pad)}, "is int32, which cannot hold pad=")
            for pad in (0.5, 2**31, float("nan"), float("inf"), "x", None)
        ),
        ({"sign": Array("uint8", pad=-1)}, "is uint8, which cannot hold pad=-1"),
        ({"sign": Array("float32", pad=1e39)}, "is float32, which cannot hold pad=1e"),
        ({"\U0001d538" * 100: ONE}, "name it by a word of letters"),
        ({"sign": Array("int32", "tokens")}, "axis='tokens': give '' or 'input'"),
        ({"sign": Array("int32", size=-1)}, "size=-1 must be 0 to"),
        ({"sign": Array("int32", size=1.5)}, r"size=1\.5 must be 0 to"),
    ],
)
def test_arrays_that_no_table_can_have(arrays, said):
    class Own(Task):
        def arrays(self):
            return arrays

    with pytest.raises(UserError, match=said) as caught:
        check_arrays(Own())
    assert "\n" not in str(caught.value)


def test_the_pad_may_be_a_number_of_numpy_s():
    class Own(Task):
        def arrays(self):
            return {"a": Array("int32", pad=np.int32(-1)), "b": Array("float32", pad=np.float32(2))}

    check_arrays(Own())


OF_TOKENS = Array("int32", "input")


@pytest.mark.parametrize(
    ("array", "values", "said"),
    [
        (ONE, [{}, {"sign": 1}], "has no value for a row: let pieces or gold give it"),
        (ONE, [1, [1, 1]], r"values of shape \(2,\): give one number for each row"),
        (TWO, [[1, 2], [[1], 2]], "inhomogeneous"),
        (ONE, [[1, 1], [2, 2]], r"values of shape \(2,\): give one number for each row"),
        (TWO, [1, 2], r"values of shape \(\): give a list of 2 for each row"),
        (TWO, [[1, 2, 3]] * 2, r"values of shape \(3,\): give a list of 2 for each row"),
        (ONE, [1, "y"], "is int32, which cannot hold 'y'"),
        (ONE, [1, None], "is int32, which cannot hold None"),
        (ONE, [1, 2**64], f"is int32, which cannot hold {2**64}"),
        (ONE, [1, 2**53 + 1], f"is int32, which cannot hold {2**53 + 1}"),
        (Array("float32"), [1, 1e300], r"is float32, which cannot hold 1e\+300"),
        (Array("float32"), [1, float("inf")], "must hold finite numbers, has inf"),
        (Array("float64"), [1, float("nan")], "must hold finite numbers, has nan"),
        (ONE, [1, 0.5], "is int32, which cannot hold 0.5"),
        (ONE, [1, 2**40], f"is int32, which cannot hold {2**40}"),
        (Array("uint8"), [1, -1], "is uint8, which cannot hold -1"),
        (ONE, [1, float("nan")], "must hold finite numbers, has nan"),
        (OF_TOKENS, [[1, 2, 3], [1, 2]], r"shape \(2,\) for 3 tokens: give one a token"),
        (OF_TOKENS, [5, 6], r"shape \(\) for 3 tokens: give one a token"),
        (OF_TOKENS, [[[1]] * 3] * 2, r"shape \(1,\): give one number for each token"),
    ],
)
def test_values_that_are_not_those_of_the_array(array, values, said):
    tokens = Encoded(np.arange(3), 3, cut=False)
    given = [each if isinstance(each, dict) else {"sign": each} for each in values]
    pieces = [Piece(i, tokens, each) for i, each in enumerate(given)]
    with pytest.raises(UserError, match=f"^config.task: array 'sign'.*{said}"):
        piece_columns(pieces, {"sign": array}, np.dtype(np.int32))


@pytest.mark.parametrize(
    ("values", "array", "expected"),
    [
        ([True, False], ONE, [1, 0]),
        ([np.float32(2), 3], ONE, [2, 3]),
        ([0.5, 1], Array("float32"), [0.5, 1]),
        ([(1, 2), np.array([3, 4])], TWO, [[1, 2], [3, 4]]),
    ],
)
def test_values_as_numpy_or_python_has_them(values, array, expected):
    tokens = Encoded(np.arange(3), 3, cut=False)
    pieces = [Piece(i, tokens, {"sign": value}) for i, value in enumerate(values)]
    made = piece_columns(pieces, {"sign": array}, np.dtype(np.int32))
    assert made["sign"].tolist() == expected
    assert made["sign"].dtype == array.dtype


# Where columns lie

KINDS = ("int8", "int32", "int64", "float32")


def at(address: int, values: np.ndarray) -> np.ndarray:
    """A copy that begins so many bytes after what TensorFlow asks of an address."""
    memory = np.zeros(values.nbytes + 128, np.uint8)
    start = -memory.ctypes.data % 64 + address
    found = np.ndarray(values.shape, values.dtype, memory, start)
    found[:] = values
    assert found.ctypes.data % 64 == address
    return found


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("address", [0, 4, 8, 32])
def test_a_column_may_lie_anywhere(address, kind):
    values = np.arange(1000).astype(kind)
    (tensor,) = mapped_tensors({"x": at(address, values)}).get_value().values()
    assert tensor.dtype.name == kind
    np.testing.assert_array_equal(tf.gather(tensor, [3, 999]), values[[3, 999]])  # or it aborts


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("address", [0, 4])
def test_a_column_may_be_empty(address, kind):
    (tensor,) = mapped_tensors({"x": at(address, np.zeros(0, kind))}).get_value().values()
    assert tensor.dtype.name == kind
    assert tf.gather(tensor, np.zeros(0, np.int64)).shape == (0,)
