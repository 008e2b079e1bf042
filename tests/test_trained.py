"""A trained model out of a workdir that a stranger may have sealed."""

import pytest
import tensorflow as tf
import tiny
from sealing import DERIVED, reseal
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import PreTrainedTokenizerFast

from trainer import trained
from trainer.config import Model
from trainer.errors import UserError
from trainer.models.parameters import build_model, named_constants, named_parameters
from trainer.storage.disk import sha256_of
from trainer.storage.workdir import Workdir
from trainer.trained import TrainedModel

TOKENS = ["[UNK]", "[PAD]", "[CLS]", "[SEP]", "good"]


@pytest.fixture(params=["network:build", "recurrent:bilstm"])
def workdir(request, tmp_path) -> Workdir:
    """Of a model of a few numbers, of which a phase has ended."""
    vocab = {token: i for i, token in enumerate(TOKENS)}
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(WordLevel(vocab, unk_token="[UNK]")),
        unk_token="[UNK]",
        pad_token="[PAD]",
    )
    model = Model(factory=f"trainer.models.{request.param}", width=8, heads=2, ffn_width=12)
    config, found = tiny.experiment(model=model), Workdir(tmp_path / "run")
    found.begin(config, {k: v for k, v in DERIVED.items() if k != "tokenizer_files"}, tokenizer)
    built = build_model(config, len(TOKENS), 2)
    weights = {f"model/{name}": v for name, v in named_parameters(built).items()}
    weights |= {f"constant/{name}": v for name, v in named_constants(built).items()}
    found.checkpoints.save(3, weights, {"phase": 1})
    return found


@pytest.mark.parametrize("workdir", ["network:build"], indirect=True)
def test_loads_what_was_trained(workdir):
    assert TrainedModel(workdir, tf.distribute.get_strategy()).step == 3


@pytest.mark.parametrize(
    "changes",
    [
        {"width": 65_536, "depth": 256, "heads": 8},
        {"depth": 256},
        {"head_width": 65_536},
        {"vocab_size": 10_000_000},
    ],
)
def test_sizes_that_the_weights_do_not_have_are_refused_before_they_are_made(
    workdir, changes, monkeypatch
):
    monkeypatch.setattr(trained, "build_model", lambda *args: pytest.fail(f"built {args}"))
    reseal(workdir.config_file, lambda values: values["model"].update(changes))
    with pytest.raises(UserError, match=r"step-00000003 does not hold .* that .*json asks for: re"):
        TrainedModel(workdir, tf.distribute.get_strategy())


def test_labels_that_the_weights_do_not_have(workdir, monkeypatch):
    monkeypatch.setattr(trained, "build_model", lambda *args: pytest.fail(f"built {args}"))
    names = [str(i) for i in range(5000)]
    reseal(workdir.config_file, lambda values: values["derived"].update(facts={"labels": names}))
    with pytest.raises(UserError, match="does not hold head/logits/kernel with the shape"):
        TrainedModel(workdir, tf.distribute.get_strategy())


def test_a_machine_that_is_too_small(workdir, monkeypatch):
    monkeypatch.setattr(trained.size.processor, "memory", lambda: 100)
    with pytest.raises(UserError, match=r"this machine has 0 GiB: use a machine that has more$"):
        TrainedModel(workdir, tf.distribute.get_strategy())


def test_weights_that_the_files_do_not_hold(workdir):
    """The index alone claims any size."""
    folder = workdir.checkpoints.path(3)
    (data,) = folder.glob("state.data-*")
    data.write_bytes(data.read_bytes()[:100])
    digest = sha256_of(data)
    reseal(folder / "manifest.json", lambda values: values["sha256"].update({data.name: digest}))
    with pytest.raises(UserError, match=r"its index names [0-9,]+ bytes, its files have 100$"):
        TrainedModel(workdir, tf.distribute.get_strategy())
