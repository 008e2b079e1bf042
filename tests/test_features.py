"""Outputs of a frozen encoder: computed once, the same for the head as every time."""

import numpy as np
import pytest
import tensorflow as tf
import tiny

from trainer.config import Phase
from trainer.errors import Interrupted, UserError
from trainer.features import FeatureExtractor, check
from trainer.models.architecture import from_scratch
from trainer.models.network import Network

HEAD = Phase(steps=20, train=("head/.*",), learning_rate=1e-2, cache_features=True)


def extract(strategy, model, batches, tmp_path, stop=lambda: False) -> np.ndarray:
    rows = [np.where(batch["id"] >= 0, batch["id"], -1) for batch in batches]
    extractor, counts = FeatureExtractor(strategy, model), []
    dataset = tiny.distributed(strategy, batches)
    found = extractor.run(dataset, rows, 10, tmp_path, stop, counts.append)
    assert counts == [4, 4, 2]
    assert not list(tmp_path.iterdir())  # nothing is left behind
    return found.get_value()["features"].numpy()


def in_order() -> list[dict[str, np.ndarray]]:
    """Ten examples, last ones first, and two rows of padding."""
    whole = tiny.batch(10)
    parts = [np.arange(6, 10), np.arange(2, 6), np.arange(2)]
    return [tiny.filled({k: v[part] for k, v in whole.items()}, 4) for part in parts]


@pytest.mark.parametrize("devices", [1, 2])
def test_each_example_has_its_own(strategy_over, devices, tmp_path):
    trainer = tiny.Trainer(strategy_over(devices), tiny.batches(1, 4))
    found = extract(strategy_over(devices), trainer.model, in_order(), tmp_path)
    expected = trainer.model.encode(tiny.inputs(tiny.batch(10))).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.long
def test_the_head_trains_on_them_as_on_tokens(strategy_over):
    batches = tiny.batches(3, 8)
    plain = tiny.Trainer(strategy_over(1), batches, phases=[HEAD])
    cached = tiny.Trainer(strategy_over(1), batches, phases=[HEAD])
    kept = [
        {
            "features": cached.model.encode(tiny.inputs(batch)).numpy(),
            **{key: batch[key] for key in ("label", "weight", "id")},
        }
        for batch in batches
    ]
    cached.iterator = iter(tiny.distributed(strategy_over(1), kept))
    np.testing.assert_allclose(cached.losses(3), plain.losses(3), rtol=1e-5)


def test_a_signal_ends_it(strategy_over, tmp_path):
    trainer = tiny.Trainer(strategy_over(1), tiny.batches(1, 4))
    with pytest.raises(Interrupted):
        extract(strategy_over(1), trainer.model, in_order(), tmp_path, stop=lambda: True)


def test_where_features_would_change_it_is_refused(strategy_over):
    trainer = tiny.Trainer(strategy_over(1), tiny.batches(1, 4), phases=[HEAD, Phase(steps=2)])
    head, whole = trainer.phases
    check(head, trainer.model, tiny.classification())
    with pytest.raises(UserError, match=r"phases\[1\].cache_features is for phases that train the"):
        check(whole, trainer.model, tiny.classification())
    with pytest.raises(UserError, match=r"config\.task\.mask_share=0\.1, which masks other words"):
        check(head, trainer.model, tiny.classification(mask_share=0.1))
    with pytest.raises(UserError, match=r"needs a model with encode\(inputs\) and head"):
        check(head, tf.keras.Sequential(), tiny.classification())
    tokens = Network(from_scratch(tiny.model_settings(), 40, 8, pairs=False, kind="tokens"), 2)
    with pytest.raises(UserError, match="keeps one vector a text, this task needs one a token"):
        check(head, tokens, tiny.classification())
