"""The sentences of the comparison of T5s."""

import gzip

import pytest

from scripts.benchmarks import translation
from trainer.errors import UserError


def test_pairs_stay_together_behind_the_prefix(tmp_path):
    for ending in ("en", "de"):
        with gzip.open(tmp_path / f"train.{ending}.gz", "wt") as file:
            file.writelines(f"{ending} {i}\n" for i in range(40))
    pairs = translation.sentences(tmp_path)
    assert len(pairs) == 40
    assert pairs == translation.sentences(tmp_path)
    for pair in pairs:
        number = pair["target"].removeprefix("de ")
        assert pair["source"] == f"translate English to German: en {number}"


def test_a_folder_without_them_is_one_line(tmp_path):
    with pytest.raises(UserError, match=r"--data_dir=.*it must hold Multi30k's files"):
        translation.sentences(tmp_path)
