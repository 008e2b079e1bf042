"""Results of the step's benchmark: ratios, MFU, the shape of a BERT, and where the time goes."""

import json

import pytest

from scripts.benchmarks import breakdown, step_speed
from scripts.benchmarks.synthetic import Shape
from trainer.errors import UserError

TINY = Shape(depth=1, width=8, heads=2, ffn_width=16, vocab_size=64, rows=4, length=16)


@pytest.mark.parametrize(("theirs", "status"), [(1.3, 0), (1.1, 1)])
def test_the_median_ratio_decides_and_is_kept(capsys, tmp_path, theirs, status):
    record = tmp_path / "speed.csv"
    rows = [(1.0, theirs), (1.0, theirs + 1), (2.0, theirs)]
    for _ in range(2):
        assert step_speed.report(TINY, "float32", rows, 1e9, record) == status
    said = capsys.readouterr().out
    assert f"median {theirs:.2f}, lowest {theirs / 2:.2f}, highest {theirs + 1:.2f} times" in said
    header, *lines = record.read_text().splitlines()
    assert header.split(",") == list(step_speed.COLUMNS)
    assert [line.split(",")[3:7] for line in lines] == [["float32", "4", "16", f"{theirs:.3f}"]] * 2


def test_mfu_is_of_the_best_rate_of_products(capsys):
    """Half of the time is that of the products of the shape, at the best rate."""
    seconds = 2 * TINY.floating_point_operations() / 1e9
    step_speed.report(TINY, "float32", [(seconds, 4 * seconds)] * 2, 1e9, None)
    assert "MFU 0.500, of the bare step 0.125" in capsys.readouterr().out


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"num_hidden_layers": "six"}', None])
def test_a_folder_of_no_bert(tmp_path, text):
    path = tmp_path / "config.json"
    path.mkdir() if text is None else path.write_text(text)
    with pytest.raises(UserError, match=r"config.json is no BERT's"):
        Shape.of(tmp_path)


def test_the_shape_of_a_bert(tmp_path):
    sizes = {"num_hidden_layers": 2, "hidden_size": 8, "num_attention_heads": 4}
    sizes |= {"intermediate_size": 16, "vocab_size": 32}
    (tmp_path / "config.json").write_text(json.dumps(sizes))
    assert Shape.of(tmp_path) == Shape(2, 8, 4, 16, 32)


def operation(name: str, start: float, end: float) -> breakdown.Event:
    return breakdown.Event(name, start, end)


def test_a_breakdown_sums_up_to_the_step():
    """Two threads, 10 s of two steps: a product beside a softmax, a call and what it calls."""
    one = [operation("a/MatMul:MatMul", 0, 4), operation("a/gelu/Erf:Erf", 6, 8)]
    two = [operation("b/Softmax:Softmax", 2, 4), operation("while:While", 5, 8)]
    two.append(operation("c/norm/Mul:Mul", 5, 6))
    found = breakdown.by_kind([one, two], seconds=10, steps=2)
    assert sum(found.values()) == pytest.approx(5)
    expected = {
        "matrix products": 1.5,
        "rest of attention": 0.5,
        "norms, residual sums": 0.5,
        "activation": 0.5,
        breakdown.OTHER: 0.5,
        breakdown.NOTHING: 1.5,
    }
    assert {k: v for k, v in found.items() if v} == pytest.approx(expected)
