"""The comparisons with other systems, of their speed and of what they learn."""

import json
import subprocess
import sys

import pytest
from programs import ROOT

from scripts.benchmarks import learning, peers
from scripts.benchmarks.synthetic import Shape
from scripts.benchmarks.systems import common
from trainer.errors import UserError


def rounds(rate: float) -> list[dict]:
    """Of 80 examples with 16,000 tokens of 20,000 places, at `rate` tokens a second, and half."""
    same = {"examples": 80, "tokens": 16000, "slots": 20000, "peak_mb": 100.0}
    same["squares"] = 250 * 16000  # as some texts are longer than the mean of 200
    return [{**same, "seconds": 16000 / each, "flops": 1e12} for each in (rate, rate / 2, rate)]


def test_a_row_of_the_table():
    row = peers._together(rounds(4000.0), Shape(), "bare", tuned=True)
    assert (row["tokens_per_second"], row["lowest"], row["highest"]) == (4000, 2000, 4000)
    assert row["padding"] == pytest.approx(0.2)
    assert row["examples_per_second"] == pytest.approx(240 / 16)
    assert row["mfu"] == pytest.approx(4000 * Shape().of_a_token(250) / 1e12)
    assert Shape().of_a_token(200) == 6 * 10_616_832 + 12 * 6 * 200 * 384


def in_place_of_peer(program, monkeypatch, root):
    """Has `System` start this program."""
    folder = root / "scripts" / "benchmarks"
    folder.mkdir(parents=True)
    (folder / "peer.py").write_text(program)
    monkeypatch.setattr(peers, "ROOT", root)


@pytest.mark.parametrize(
    ("program", "patience", "said"),
    [
        ("import time; time.sleep(60)", 0.5, "took more than 0.5 s and was killed: without a word"),
        ("raise SystemExit('no weights')", 60, "ended with status 1: no weights"),
    ],
)
def test_a_peer_that_does_not_answer(monkeypatch, tmp_path, program, patience, said):
    in_place_of_peer(program, monkeypatch, tmp_path)
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
        in_place_of_peer(program, monkeypatch, tmp_path)
        (tmp_path / "keras" / "bin").mkdir(parents=True)
        (tmp_path / "keras" / "bin" / "python").symlink_to(sys.executable)
        rows = [{"text": "", "label": 0}]
        monkeypatch.setattr(peers, "reviews_of", lambda split, count, whole=None: rows * count)
        plan = [[step] for step in range(common.EPOCHS * peers.REVIEWS // common.BATCH)]
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
    ("comes", "tuned", "mfu", "status", "objective"),
    [
        (2.1, 1.5, 0.5, 0, "classification"),
        (1.9, 1.5, 0.5, 1, "classification"),
        (2.1, 1.3, 0.5, 1, "classification"),
        (2.1, 1.5, 0.4, 1, "classification"),
        (2.1, 1.5, 0.4, 0, "masked"),
        (1.9, 1.5, 0.4, 1, "masked"),
        (1.6, 1.1, float("nan"), 0, "text_to_text"),
        (1.4, 1.1, float("nan"), 1, "text_to_text"),
    ],
)
def test_what_is_promised(comes, tuned, mfu, status, objective):
    rows = [
        {"system": "thaw", "tuned": False, "mfu": mfu},
        {"system": "bare", "tuned": False, "thaw_is_faster": comes},
        {"system": "bare", "tuned": True, "thaw_is_faster": tuned},
        {"system": "tfbert", "tuned": False, "thaw_is_faster": 9.0},
        {"system": "tfbert", "tuned": True, "thaw_is_faster": 9.0},
    ]
    assert peers.judge(rows, objective) == status


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


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--rounds=1"], "give 5, an epoch, to 123, for all peers"),
        (["--rounds=496", "--only", "bare"], "give 5, an epoch, to 495"),
        (["--weights=nowhere"], "--weights=nowhere holds no model.safetensors: make weights"),
        (["--weights=tests/models/parity/gpt2"], "holds no tokenizer.json: make weights"),
        (["--environments=nowhere"], "is not there: make bench makes it"),
        (["--plot=plot.txt"], "--plot"),
        (["--output=docs"], "--output=docs cannot be written: name a file"),
    ],
)
def test_mistakes_about_peers_are_told(arguments, said):
    _told("peers", arguments, said)


def test_a_mistake_about_learning_is_told():
    _told("learning", ["--weights=nowhere"], "holds no model")


def _told(program, arguments, said):
    command = [sys.executable, "-m", f"scripts.benchmarks.{program}", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=540)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1
