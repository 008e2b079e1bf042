"""The benchmark of scaling: its arithmetic, and the whole of it in small."""

import json

import pytest

from scripts.benchmarks import scaling
from scripts.benchmarks.scaling import Network, Shape

TINY = Shape(depth=1, width=8, heads=2, ffn_width=16, vocab_size=64, rows=4, length=16)
GPUS = Network(latency=1e-5, bandwidth=25e9)


def test_two_messages_give_the_constants():
    network = Network(latency=0.001, bandwidth=1e9)
    sizes = (1e6, 64e6)
    fitted = scaling.fit(sizes, [network.seconds(size, 2) for size in sizes])
    assert fitted.latency == pytest.approx(network.latency)
    assert fitted.bandwidth == pytest.approx(network.bandwidth)
    # Between two: each sends half of it twice.
    assert network.seconds(1e9, 2) == pytest.approx(2 * 0.001 + 1.0)
    assert network.seconds(1e9, 4) == pytest.approx(6 * 0.001 + 1.5)


@pytest.mark.parametrize(("two", "status", "said"), [(1.1, 0, "holds"), (1.3, 1, "does not hold")])
def test_the_median_of_the_rounds_decides(capsys, two, status, said):
    rows = [(1.0, 1.05, two), (1.0, 1.05, two), (1.0, 1.05, 9.0)]
    network = Network(latency=0.0, bandwidth=1e9)
    assert scaling.report(Shape(), rows, 0.11, 10**8, network, GPUS, 100.0) == status
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == (
        f"efficiency: median {1 / two:.3f}, lowest {1 / 9:.3f}, highest {1 / two:.3f}"
    )
    assert f"{0.11 / two:.1%} of a step of {two:.3f} s" in lines[2]
    assert "1.150 s (compute 1.050 s + all-reduce 0.100 s)" in lines[4]
    assert lines[5].startswith("EXTRAPOLATION, not measured")
    assert lines[-1].startswith(f"{said}: ")


@pytest.mark.slow
def test_two_real_workers(tmp_path, capsys):
    output = tmp_path / "scaling.json"
    status = scaling.measure(TINY, 2, 2, "float32", 0, GPUS, 100.0, output)
    assert status in (0, 1)  # of so small a model it says nothing
    said = capsys.readouterr().out
    assert "predicted" in said
    found = json.loads(output.read_text())
    assert len(found["rounds"]) == 2
    assert all(seconds > 0 for row in found["rounds"] for seconds in row)
    assert found["tested_seconds"] > 0
    weights = 64 * 8 + 16 * 8  # token and position embeddings, among others
    assert found["gradient_bytes"] > 4 * weights
