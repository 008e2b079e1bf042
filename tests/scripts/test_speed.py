"""What the benchmarks of speed make of their measurements."""

import json
import sys

import breakdown
import learning
import peers
import pytest
import step_speed
from synthetic import Shape

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


def rounds(rate: float) -> list[dict]:
    """Of 80 examples with 16,000 tokens of 20,000 places, at `rate` tokens a second, and half."""
    common = {"examples": 80, "tokens": 16000, "slots": 20000, "peak_mb": 100.0}
    common["squares"] = 250 * 16000  # as some texts are longer than the mean of 200
    return [{**common, "seconds": 16000 / each, "flops": 1e12} for each in (rate, rate / 2, rate)]


def test_a_row_of_the_table():
    row = peers._together(rounds(4000.0), Shape(), "bare", tuned=True)
    assert (row["tokens_per_second"], row["lowest"], row["highest"]) == (4000, 2000, 4000)
    assert row["padding"] == pytest.approx(0.2)
    assert row["examples_per_second"] == pytest.approx(240 / 16)
    assert row["mfu"] == pytest.approx(4000 * Shape().of_a_token(250) / 1e12)
    assert Shape().of_a_token(200) == 6 * 10_616_832 + 12 * 6 * 200 * 384


@pytest.mark.parametrize(
    ("program", "patience", "said"),
    [
        ("import time; time.sleep(60)", 0.5, "took more than 0.5 s and was killed: without a word"),
        ("raise SystemExit('no weights')", 60, "ended with status 1: no weights"),
    ],
)
def test_a_peer_that_does_not_answer(monkeypatch, tmp_path, program, patience, said):
    (tmp_path / "scripts").mkdir()
    (tmp_path / "scripts" / "peer.py").write_text(program)
    monkeypatch.setattr(peers, "ROOT", tmp_path)
    flags = peers._flags([])
    system = peers.System("bare", False, tmp_path, flags, "float32")
    try:
        with pytest.raises(UserError, match=said):
            system.round(patience)
    finally:
        system.close()


ANSWERS = """
import json, sys
settings = json.loads(sys.argv[1])
rate = {"thaw": 4000, "bare": 1000}[settings["system"]] * (2 if settings["tuned"] else 1)
rate *= 2 if settings["job"]["precision"] == "float32" else 1
for _ in sys.stdin:
    took = {"examples": 80, "tokens": 16000, "slots": 20000, "squares": 4000000}
    took |= {"seconds": 16000 / rate, "flops": 1e12, "peak_mb": 100}
    print(json.dumps(took), flush=True)
"""


@pytest.fixture
def stubs(monkeypatch, tmp_path):
    """Programs that say what they took, or how they scored, in the place of systems."""

    def make(program: str) -> None:
        (tmp_path / "scripts").mkdir()
        (tmp_path / "scripts" / "peer.py").write_text(program)
        (tmp_path / "keras" / "bin").mkdir(parents=True)
        (tmp_path / "keras" / "bin" / "python").symlink_to(sys.executable)
        monkeypatch.setattr(peers, "ROOT", tmp_path)
        rows = [{"text": "", "label": 0}]
        monkeypatch.setattr(peers, "reviews_of", lambda split, count: rows * count)
        plan = [[step] for step in range(peers.peer.EPOCHS * peers.REVIEWS // peers.peer.BATCH)]
        monkeypatch.setattr(peers, "plan_of", lambda *args: plan)

    return make


def test_the_whole_comparison(stubs, capsys, tmp_path):
    """The peer is faster in float32."""
    stubs(ANSWERS)
    output = tmp_path / "peers.json"
    flags = ["--only", "bare", "--precision=mixed_bfloat16", f"--output={output}"]
    assert peers.measure(peers._flags(flags), Shape()) == 0
    ours, comes, tuned = json.loads(output.read_text())["rows"]
    assert ours["tokens_per_second"] == pytest.approx(8000)
    assert comes["precision"] == tuned["precision"] == "float32"
    assert comes["thaw_is_faster"] == pytest.approx(4)
    assert tuned["thaw_is_faster"] == pytest.approx(2)
    assert "2.00 x the best peer tuned (holds: at least 1.4)" in capsys.readouterr().out


def test_what_was_measured_before_a_peer_failed_is_shown(stubs, capsys, tmp_path):
    stubs(ANSWERS)
    output = tmp_path / "peers.json"
    flags = ["--only", "bare", "tfbert", f"--environments={tmp_path}", f"--output={output}"]
    with pytest.raises(UserError, match="TFBertModel, Keras 2 fit, tuned ended with status 1"):
        peers.measure(peers._flags(flags), Shape())  # ANSWERS knows no tfbert
    said = capsys.readouterr().out
    assert "| bare TensorFlow loop, tuned |" in said
    assert "holds" not in said
    assert not output.exists()


def test_every_system_learns_from_every_seed(stubs, capsys):
    stubs(
        "import json, sys\n"
        "job = json.loads(sys.argv[1])['job']\n"
        "assert job['length'] == 64\n"
        "for _ in sys.stdin: print(json.dumps({'accuracy': 0.5 + job['seed'] / 8}), flush=True)\n"
    )
    flags = peers.parser("").parse_args(["--only", "bare"])
    scores = [0.5, 0.625, 0.75]
    assert learning.train(flags) == {"thaw": scores, "bare": scores}
    assert "seed 2: bare TensorFlow loop, tuned 0.7500" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("comes", "tuned", "mfu", "status"),
    [(2.1, 1.5, 0.5, 0), (1.9, 1.5, 0.5, 1), (2.1, 1.3, 0.5, 1), (2.1, 1.5, 0.4, 1)],
)
def test_what_is_promised(comes, tuned, mfu, status):
    rows = [
        {"system": "thaw", "tuned": False, "mfu": mfu},
        {"system": "bare", "tuned": False, "thaw_is_faster": comes},
        {"system": "bare", "tuned": True, "thaw_is_faster": tuned},
        {"system": "tfbert", "tuned": False, "thaw_is_faster": 9.0},
        {"system": "tfbert", "tuned": True, "thaw_is_faster": 9.0},
    ]
    assert peers.judge(rows) == status


@pytest.mark.parametrize(("shift", "status"), [(0.0, 0), (0.006, 0), (0.02, 1), (-0.02, 1)])
def test_who_learns_the_same(capsys, shift, status):
    ours = [0.86, 0.85, 0.855]
    scores = {"thaw": ours, "bare": [each - shift for each in ours], "tfbert": ours}
    assert learning.judge(scores) == status
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "Thaw: 0.8550 +- 0.0050"
    bare = f"bare TensorFlow loop: {0.855 - shift:.4f} +- 0.0050; {0 - shift:+.4f} beside ours, "
    assert said[1].startswith(bare)
    assert "TFBertModel, Keras 2 fit: 0.8550 +- 0.0050; +0.0000 beside ours" in said[2]
    assert said[3] == f"{'does not hold' if status else 'holds'}: all at least 0.05"


def test_with_one_peer_it_is_the_t_test(capsys):
    """Of 4 degrees of freedom, whose distribution has a closed form."""
    ours = [0.86, 0.85, 0.855]
    learning.judge({"thaw": ours, "bare": [each + 0.006 for each in ours]})
    t = 0.006 / (0.005 * (2 / 3) ** 0.5)
    x = t / (4 + t**2) ** 0.5
    chance = 1 - 1.5 * (x - x**3 / 3)
    assert f"with a probability of {chance:.2f}" in capsys.readouterr().out


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
