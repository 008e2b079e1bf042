"""Names of metrics that people bring along, and what they are called here."""

import pytest

from trainer.tasks.classification import Classification
from trainer.tasks.metric_words import of_metric
from trainer.tasks.regression import Regression
from trainer.tasks.tagging import Tagging

ANY = Classification().metric_names()
TWO = Classification().bound({"labels": list("ab")}).metric_names()
FIVE = Classification().bound({"labels": list("abcde")}).metric_names()
SEVERAL = Classification(multi_label=True).metric_names()
NUMBER, TAGS = Regression().metric_names(), Tagging().metric_names()


@pytest.mark.parametrize(
    ("name", "known", "said"),
    [
        ("acc", ANY, "is it accuracy?"),
        ("eval_accuracy", ANY, "is it accuracy?"),
        ("accuracy_score", ANY, "is it accuracy?"),
        ("macro_f1", ANY, "is it f1_macro?"),
        ("Macro-F1", FIVE, "is it f1_macro?"),
        ("f1_score_macro", FIVE, "is it f1_macro?"),
        ("eval/f1_macro", FIVE, "is it f1_macro?"),
        ("weighted_f1", FIVE, "is it f1_macro?"),
        ("f1_micro", FIVE, "is it accuracy or f1_macro?"),
        ("f1_micro", TWO, "is it accuracy or f1?"),
        ("f1_micro", TAGS, "is it f1?"),
        ("precision", FIVE, "is it precision_macro?"),
        ("roc_auc", FIVE, "is it auc_macro?"),
        ("balanced_accuracy", FIVE, "is it recall_macro?"),
        *(("balanced_accuracy", known, "") for known in (TWO, SEVERAL, TAGS)),
        ("mcc", ANY, "is it matthews?"),
        ("matthews_corrcoef", ANY, "is it matthews?"),
        ("val_loss", ANY, "is it loss?"),
        ("acuracy", ANY, "is it accuracy?"),
        ("recall", SEVERAL, "is it recall_micro?"),
        ("micro_f1", SEVERAL, "is it f1_micro?"),
        ("subset_accuracy", SEVERAL, "is it accuracy?"),
        ("spearmanr", NUMBER, "is it spearman?"),
        ("mse", NUMBER, "is it rmse?"),
        ("overall_f1", TAGS, "is it f1?"),
        ("f1_macro", TAGS, "is it f1?"),
        ("speed", NUMBER, ""),
        ("", ANY, ""),
        ("x" * 10**6, ANY, ""),
    ],
)
def test_what_is_meant(name, known, said):
    assert of_metric(name, known) == said
