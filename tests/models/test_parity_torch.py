"""Compares logits with PyTorch itself, with new random weights and more lengths.

`make test-parity` makes an environment with PyTorch and names its interpreter in PARITY_PYTHON.
"""

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
from pretrained_folders import FAMILIES, kind_of
from programs import ROOT
from test_parity import (
    FIXTURES,
    LAYOUTS,
    MINILM,
    SAMPLED,
    TEXTS,
    WORDS,
    check,
    check_texts,
    check_written,
    needs_minilm,
)

PYTHON = os.environ.get("PARITY_PYTHON")
pytestmark = pytest.mark.skipif(not PYTHON, reason="needs PyTorch: make test-parity")


def make_fixtures(folder: Path, *arguments: str) -> Path:
    """Runs the script that makes them, in PyTorch's environment."""
    script = "scripts/make_parity_fixtures.py"
    real = [f"--minilm={MINILM}"] if MINILM.is_dir() else []
    command = [str(PYTHON), script, f"--output={folder}", *real, *arguments]
    subprocess.run(command, cwd=ROOT, check=True)
    return folder


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """New weights and inputs."""
    folder = tmp_path_factory.mktemp("parity")
    return make_fixtures(folder, "--seed=1", "--lengths", "1", "2", "7", "16", "23", "24")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_new_weights_give_what_pytorch_computes(layout, fresh):
    with np.load(fresh / layout / "expected.npz") as expected:
        check(fresh / layout, expected)


@pytest.mark.parametrize("layout", [*WORDS, "bert_pretraining"])
def test_new_weights_predict_the_words_that_pytorch_does(layout, fresh):
    kind = kind_of(layout) if layout in WORDS else "masked"
    with np.load(fresh / layout / "expected.npz") as expected:
        check(fresh / layout, expected, kind=kind)


@pytest.mark.parametrize("layout", TEXTS)
def test_new_weights_of_t5_give_and_write_what_pytorch_does(layout, fresh):
    with np.load(fresh / layout / "expected.npz") as expected:
        check_texts(fresh / layout, expected)
        for beams in (1, 4):
            check_written(fresh / layout, expected, beams)


@pytest.fixture(scope="module")
def regressions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Heads of one output."""
    return make_fixtures(tmp_path_factory.mktemp("regressions"), "--seed=2", "--outputs=1")


@pytest.mark.parametrize("family", FAMILIES)
def test_a_regression_gives_what_pytorch_computes(family, regressions):
    config = json.loads((regressions / family / "config.json").read_text())
    assert config["problem_type"] == "regression"
    with np.load(regressions / family / "expected.npz") as expected:
        assert expected["logits_3"].shape == (3, 1)
        check(regressions / family, expected)


@needs_minilm
def test_the_real_weights_of_minilm_do_on_other_texts(fresh):
    with np.load(fresh / "minilm_real.npz") as expected:
        check(MINILM, expected, SAMPLED)


def test_the_fixtures_in_the_tree_are_what_the_script_makes(tmp_path):
    made = make_fixtures(tmp_path)
    names = {path.relative_to(made) for path in made.rglob("*") if path.is_file()}
    assert {path.parent.name for path in names if path.name == "expected.npz"} == {
        *LAYOUTS,
        *WORDS,
        *TEXTS,
    }
    for name in names:
        if name.suffix == ".npz":
            with np.load(made / name) as new, np.load(FIXTURES / name) as old:
                assert set(new) == set(old)
                for key in new:  # another machine may add in another order
                    np.testing.assert_allclose(new[key], old[key], rtol=0, atol=5e-6)
        else:
            assert (made / name).read_bytes() == (FIXTURES / name).read_bytes(), name
