"""Tasks of the user's own that are this library's, but for a word: they start and are judged."""

import subprocess
import sys

import pytest
import small_language
import small_translation
from programs import ROOT, environment
from task_runs import metrics

pytestmark = [pytest.mark.end_to_end, pytest.mark.long]
PARTS = """
from dataclasses import dataclass

from trainer.tasks.{module} import {name}


@dataclass
class Mine({name}):
    def summary(self, result):
        return [("Mine", "as in the library")]
"""
CONFIG = """
import sys

sys.path.append({helpers!r})
import {helper}
from my_parts import Mine


def get_config():
    config = {helper}.get_config({kind!r})
    config.task = Mine(**vars(config.task))
    config.phases[0].steps = 6
    return config
"""


@pytest.mark.parametrize(
    ("module", "name", "kind"),
    [
        ("masked", "MaskedWords", "sentences"),
        pytest.param("replaced", "ReplacedTokens", "replaced", marks=pytest.mark.slow),
        ("causal", "Causal", "causal"),
        ("text_to_text", "TextToText", "unigram"),
    ],
)
def test_a_subclass_trains(module, name, kind, tmp_path):
    helper = "small_translation" if module == "text_to_text" else "small_language"
    for split, count in (("train", 120), ("test", 24)):
        if helper == "small_translation":
            small_translation.write(tmp_path / split, count)
        else:
            small_language.write(tmp_path / f"{split}.jsonl", count)
    helpers = str(ROOT / "tests" / "helpers")
    (tmp_path / "my_parts.py").write_text(PARTS.format(module=module, name=name))
    config = CONFIG.format(helpers=helpers, helper=helper, kind=kind)
    (tmp_path / "my_config.py").write_text(config)
    ending = "" if helper == "small_translation" else ".jsonl"
    files = [f"--config.data.{split}={split}{ending}" for split in ("train", "test")]
    done = subprocess.run(
        [sys.executable, "-m", "launch.train", "--config=my_config.py", "--workdir=run", *files],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "as in the library" in done.stderr
    assert metrics(tmp_path / "run")["examples"] > 0
