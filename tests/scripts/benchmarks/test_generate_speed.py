"""The benchmark of generation: its table, its verdict, and its mistakes."""

import pytest

from scripts.benchmarks import generate


@pytest.mark.parametrize(("ours", "status"), [(14.0, 0), (12.0, 1)])
def test_the_median_ratio_decides(capsys, ours, status):
    rates = [(ours, 10.0), (2 * ours, 10.0), (ours, 20.0), (ours, 10.0)]
    row = generate.summary(8, rates)
    assert (row["tokens_per_second"], row["of_transformers"]) == (ours, 10)
    assert (row["times_as_fast"], row["highest"]) == (ours / 10, ours / 5)
    assert generate.judge([row]) == status
    said = capsys.readouterr().out
    assert f"8 at a time: {ours:.1f} tokens/s, transformers 10.0: {ours / 10:.2f} times" in said


def test_mistakes_are_one_line(capsys, tmp_path):
    assert generate.main([f"--python={tmp_path / 'none'}"]) == 2
    assert generate.main(["--rounds=0"]) == 2
    errors = capsys.readouterr().err.splitlines()
    assert errors[0].endswith("is not there: make bench makes it")
    assert errors[1].endswith("must be 1 or more")
