"""Scores the classifier that a deep one has to beat: log-count ratios and logistic regression.

  python scripts/nb_lr.py --config=configs/quickstart.py --workdir=runs/nb_lr

It learns from the training examples of config.data, is tuned on the validation examples and scored
on the test examples, the same ones that launch.train takes; but it reads each text whole.

Every word, mark, and pair of neighbours that a text holds is weighed by its log-count ratio: how
much likelier it is in a text of class 1. That is NB-SVM (Wang & Manning: Baselines and Bigrams, ACL
2012) with logistic regression in place of the support vector machine; how strongly it is
regularised is what gave the least loss on validation.
"""

import time
from typing import Any, NamedTuple

import numpy as np
import sklearn.feature_extraction.text
import sklearn.linear_model
from absl import flags

from launch import main as program
from trainer import config as config_lib
from trainer.errors import UserError
from trainer.storage import sealed
from trainer.tasks.classification import Classification
from trainer.tasks.metrics import classification_metrics

PATTERN = r"\w+|[^\w\s]"  # a word, or one mark
MIN_TEXTS = 2  # a word or pair in fewer training texts is left out
STRENGTHS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)  # scikit-learn's C; small: much regularisation


class Split(NamedTuple):
    """Texts and their labels, int [N]."""

    texts: list[str]
    labels: np.ndarray


def main() -> None:
    """Learns, scores, and writes result.json."""
    program.import_tensorflow()  # TFDS would, with all that its C++ says
    from trainer.data.sources import open_source

    config = program.config()
    config_lib.validate(config)
    if not isinstance(config.task, Classification):
        raise UserError("config.task must be a Classification: it learns one label a text")
    source = open_source(config.data, config.task)
    ids = {name: i for i, name in enumerate(source.facts["labels"])}
    splits = {}
    for name in source.names:
        rows = list(source.rows(name))
        texts = ["\n".join(filter(None, config.task.texts(row))) for row in rows]
        splits[name] = Split(texts, np.array([ids[row["label"]] for row in rows]))
    result = learn(splits["train"], splits["validation"], splits["test"]) | {
        "finished": True,
        "data_fingerprint": {name: source.fingerprint(name) for name in source.names},
        "wall_seconds": time.perf_counter() - program.BEGAN,
    }
    path = flags.FLAGS.workdir / "result.json"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        sealed.write(path, result)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}") from error
    program.say(f"Test accuracy {result['test']['accuracy']:.4f}, in {path}")


def learn(train: Split, validation: Split, test: Split) -> dict[str, Any]:
    """Metrics on `test` of the model that validation chose.

    Returns:
      "test" and "validation" (metrics by name), "strength" (the C chosen) and "parameters".

    Raises:
      UserError: the training texts are not of two classes, or have no words.
    """
    counter = sklearn.feature_extraction.text.CountVectorizer(
        binary=True, ngram_range=(1, 2), token_pattern=PATTERN, min_df=MIN_TEXTS, dtype=np.float64
    )
    classes = len(set(train.labels.tolist()))
    if classes != 2:
        raise UserError(f"a log-count ratio needs two classes, the training texts have {classes}")
    try:
        counts = counter.fit_transform(train.texts)
    except ValueError as error:
        raise UserError(f"no word stands in {MIN_TEXTS} training texts: give more") from error
    ratio = log_count_ratio(counts, train.labels)
    seen_train, seen_validation, seen_test = (
        part.multiply(ratio).tocsr()
        for part in (counts, counter.transform(validation.texts), counter.transform(test.texts))
    )
    tried = []
    for strength in STRENGTHS:
        # liblinear solves the dual problem, which has a variable a text; lbfgs is ten times slower.
        model = sklearn.linear_model.LogisticRegression(
            C=strength, solver="liblinear", dual=True, max_iter=1000, random_state=0
        ).fit(seen_train, train.labels)
        metrics = score(model.decision_function(seen_validation), validation.labels)
        tried.append((metrics["loss"], strength, metrics, model))
    _, strength, metrics, model = min(tried, key=lambda one: one[:2])
    return {
        "test": score(model.decision_function(seen_test), test.labels),
        "validation": metrics,
        "strength": strength,
        "parameters": model.coef_.size + model.intercept_.size,
    }


def log_count_ratio(counts: Any, labels: np.ndarray) -> np.ndarray:
    """The log of how much likelier each feature is in class 1 than in class 0 (their r).

    Args:
      counts: sparse matrix [N, features], 1 where a text holds a feature.
      labels: int [N], 0 or 1.

    Returns:
      float [features]; one more text of each class, that holds everything, keeps it finite.
    """
    shares = []
    for label in (0, 1):
        sums = 1 + np.asarray(counts[labels == label].sum(axis=0)).ravel()
        shares.append(sums / sums.sum())
    return np.log(shares[1] / shares[0])


def score(logit: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """The metrics of launch.train, from the logit [N] of class 1."""
    losses = np.logaddexp(0, np.where(labels == 1, -logit, logit))
    logits = np.stack([np.zeros_like(logit), logit], axis=-1)
    return classification_metrics(labels, logits, None, losses)


if __name__ == "__main__":
    program.define_config()
    program.define_path("workdir", "Folder for result.json.")
    flags.mark_flags_as_required(["config", "workdir"])
    program.run(main, __doc__)
