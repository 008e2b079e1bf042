"""Late imports: flags are refused and configs read without waiting for them."""

import subprocess
import sys

import pytest
from programs import ROOT, environment

from trainer.lazy import sklearn_metrics, tf

LATE = ("tensorflow", "sklearn", "transformers", "keras", "scipy", "tensorflow_datasets")


def run(code: str) -> str:
    """Output of a new Python."""
    command = [sys.executable, "-c", code]
    done = subprocess.run(
        command, cwd=ROOT, env=environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    "code",
    [
        "import trainer.config",
        "import trainer.trust, trainer.tasks.classification, trainer.tasks.stored",
        "from trainer.config import *; validate(from_dict(to_dict(Experiment())))",
        "from trainer.trust import check_trusted; from trainer.config import Experiment;"
        "check_trusted(Experiment(), (), 'config.json')",
        "import runpy; runpy.run_path('configs/smoke.py')['get_config']()",
    ],
)
def test_settings_import_nothing_slow(code):
    said = run(f"{code}\nimport sys; print([m for m in {LATE} if m in sys.modules])")
    assert said.strip() == "[]"


@pytest.mark.long
def test_both_are_there_when_they_are_asked_for():
    said = run(
        "import sys\n"
        "from trainer.lazy import sklearn_metrics, tf\n"
        "assert 'sklearn' not in sys.modules and 'tensorflow' not in sys.modules\n"
        "print(sklearn_metrics.accuracy_score([0, 1], [0, 0]), 'tensorflow' in sys.modules)\n"
        "print(tf.int32.name)\n"
    )
    assert said.split() == ["0.5", "False", "int32"]


def test_they_are_the_modules_themselves():
    import sklearn.metrics
    import tensorflow

    assert tf.Tensor is tensorflow.Tensor
    assert tf.nn.softmax is tensorflow.nn.softmax
    assert sklearn_metrics.f1_score is sklearn.metrics.f1_score
    with pytest.raises(AttributeError, match="no_such"):
        tf.no_such_thing  # noqa: B018
