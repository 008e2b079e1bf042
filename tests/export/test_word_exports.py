"""Language models for transformers, as a SavedModel, and what is refused."""

import json

import numpy as np
import pretrained_folders as folders
import pytest
import tensorflow as tf
import words
from begun_runs import LIKE_GPT2, SCRATCH, STEP, begun, scratch, words_of
from sealing import DERIVED
from transformers import AutoConfig, AutoTokenizer

from trainer.batch import IDS, INPUTS, MASK, POSITIONS
from trainer.config import Experiment, Model
from trainer.errors import UserError
from trainer.export.huggingface import to_hugging_face, why_not
from trainer.export.keras_file import to_keras
from trainer.export.savedmodel import Served, to_saved_model
from trainer.tasks.causal import Causal
from trainer.tasks.masked import MaskedWords
from trainer.tasks.replaced import ReplacedTokens
from trainer.trained import TrainedModel

LAYOUTS = {
    "bert_masked": "BertForMaskedLM",
    "bert_untied_masked": "BertForMaskedLM",
    "distilbert_masked": "DistilBertForMaskedLM",
    "roberta_masked": "RobertaForMaskedLM",
    "xlm_roberta_masked": "XLMRobertaForMaskedLM",
    "electra_masked": "ElectraForMaskedLM",
    "albert_masked": "AlbertForMaskedLM",
    "gpt2_causal": "GPT2LMHeadModel",
    "llama_causal": "LlamaForCausalLM",
    "llama_untied_causal": "LlamaForCausalLM",
}
BATCH = {
    IDS: np.array([[5, 9, 8, 7], [6, 10, 30, 1]], np.int32),
    MASK: np.array([[1, 1, 1, 1], [1, 1, 1, 0]], np.int32),
    POSITIONS: np.array([[1, 2], [2, 0]], np.int32),
}


def task_of(layout):
    tied = "untied" not in layout
    return Causal(tied=tied) if layout.endswith("causal") else MaskedWords(tied=tied)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_weights_that_did_not_change_are_those_that_came(tmp_path, layout):
    folder, output = folders.copy(layout, tmp_path / layout), tmp_path / "exported"
    task = task_of(layout)
    run = begun(folder, tmp_path / "run", folders.kind_of(layout), task)
    assert to_hugging_face(run, output) == STEP
    exported, came = folders.tensors(output), folders.tensors(folder)
    if layout == "bert_untied_masked":  # one bias under both its names
        came["cls.predictions.bias"] = came["cls.predictions.decoder.bias"]
    assert exported.keys() == came.keys()
    assert [n for n, value in exported.items() if value.tobytes() != came[n].tobytes()] == []
    config, before = AutoConfig.from_pretrained(output), AutoConfig.from_pretrained(folder)
    assert config.architectures == [LAYOUTS[layout]]
    assert config.tie_word_embeddings == task.tied
    assert before.model_type == config.model_type
    assert "id2label" not in (output / "config.json").read_text()

    # And back in.
    model, said = words_of(folder, task)
    again, said = words_of(output, task)
    assert "start afresh: none;" in said
    np.testing.assert_array_equal(again(BATCH), model(BATCH))


def test_heads_of_pretraining_go_out_as_they_came(tmp_path):
    folder, output = folders.copy("bert_pretraining", tmp_path / "bert"), tmp_path / "exported"
    task = MaskedWords(next_sentence=True)
    to_hugging_face(begun(folder, tmp_path / "run", "masked", task), output)
    exported, came = folders.tensors(output), folders.tensors(folder)
    came = {n.replace("gamma", "weight").replace("beta", "bias"): v for n, v in came.items()}
    assert exported.keys() == came.keys()
    assert [n for n, value in exported.items() if value.tobytes() != came[n].tobytes()] == []
    assert AutoConfig.from_pretrained(output).architectures == ["BertForPreTraining"]
    assert "A language model that fills masks" in (output / "README.md").read_text()


@pytest.mark.parametrize("layout", ["electra_replaced", ""])
def test_a_discriminator_leaves_its_generator_behind(tmp_path, layout):
    task, output = ReplacedTokens(), tmp_path / "exported"
    if layout:
        folder = folders.copy(layout, tmp_path / layout)
        to_hugging_face(begun(folder, tmp_path / "run", "masked", task), output)
        assert folders.tensors(output).keys() == folders.tensors(folder).keys()
    else:
        run = scratch(tmp_path / "run", task)
        to_hugging_face(run, output)
        said = "has no answer to a text that a SavedModel could give: export it with"
        with pytest.raises(UserError, match=said):
            to_saved_model(TrainedModel(run, tf.distribute.get_strategy()), tmp_path / "other")
    config = AutoConfig.from_pretrained(output)
    assert (config.model_type, config.architectures) == ("electra", ["ElectraForPreTraining"])
    assert "start afresh: head/generator" in words_of(output, task)[1]


def test_a_text_to_go_on_from_has_no_end(tmp_path):
    folder, output = folders.copy("gpt2_causal", tmp_path / "gpt2"), tmp_path / "exported"
    to_hugging_face(begun(folder, tmp_path / "run", "causal"), output)
    tokenizer, config = AutoTokenizer.from_pretrained(output), AutoConfig.from_pretrained(output)
    assert (config.bos_token_id, config.eos_token_id) == (1, 1)
    made = tokenizer("a fine film")
    plain = tokenizer("a fine film", add_special_tokens=False)["input_ids"]
    assert made["input_ids"] == [1, *plain]
    assert set(made) == {"input_ids", "attention_mask"}
    card = (output / "README.md").read_text()
    assert "pipeline_tag: text-generation" in card
    assert "A language model that continues texts" in card


def test_the_card_fills_a_mask(tmp_path):
    folder, output = folders.copy("bert_masked", tmp_path / "bert"), tmp_path / "exported"
    to_hugging_face(begun(folder, tmp_path / "run", "masked"), output)
    card = (output / "README.md").read_text()
    assert "pipeline_tag: fill-mask" in card
    assert 'fill = pipeline("fill-mask", model="FOLDER")' in card
    assert "classif" not in card


# Models from scratch


@pytest.mark.parametrize("tied", [True, pytest.param(False, marks=pytest.mark.long)])
@pytest.mark.parametrize("name", ["bert", "gpt2"])
def test_a_model_from_scratch_takes_the_layout_that_fits(tmp_path, name, tied):
    task, settings = MaskedWords(tied=tied), {}
    if name == "gpt2":
        task, settings = Causal(tied=tied), LIKE_GPT2
    run, output = scratch(tmp_path / "run", task, **settings), tmp_path / "exported"
    to_hugging_face(run, output)
    config = AutoConfig.from_pretrained(output)
    assert config.model_type == name
    assert config.tie_word_embeddings == tied
    assert config.architectures == ["BertForMaskedLM" if name == "bert" else "GPT2LMHeadModel"]
    assert (config.vocab_size, config.max_position_embeddings) == (40, 12)
    trained = TrainedModel(run, tf.distribute.get_strategy())
    again, said = words_of(output, task)
    assert "start afresh: none;" in said
    np.testing.assert_allclose(again(BATCH), trained.model(BATCH), rtol=0, atol=2e-6)
    tokenizer = AutoTokenizer.from_pretrained(output)
    ids = tokenizer("a b")["input_ids"]
    begun_only = [words.BEGIN, *words.ids_of("a b")]
    assert ids == (begun_only if name == "gpt2" else [*begun_only, words.END])

    with pytest.raises(UserError, match="has a head of its own, which a Keras file cannot hold"):
        to_keras(trained, tmp_path / "other")
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize(
    ("task", "settings", "needs"),
    [
        (
            MaskedWords(),
            {"positions": "sinusoidal", "norm": "pre"},
            "BertForMaskedLM of transformers, the nearest, needs config.model.norm='post' and"
            " config.model.positions='learned'",
        ),
        (
            Causal(),
            {**LIKE_GPT2, "attention_window": 3},
            "GPT2LMHeadModel of transformers, the nearest, needs config.model.attention_window=0",
        ),
    ],
)
def test_what_a_layout_would_need_is_said(tmp_path, task, settings, needs):
    run = scratch(tmp_path / "run", task, **settings)
    with pytest.raises(UserError) as caught:
        to_hugging_face(run, tmp_path / "exported")
    said = str(caught.value)
    assert said.endswith(f"no class for: {needs}; or export it to savedmodel")
    assert not (tmp_path / "exported").exists()


class OwnHead(MaskedWords):
    """A task with a head that transformers does not know."""

    def head(self, architecture):
        return super().head(architecture)


def test_another_head_is_refused(tmp_path):
    task = OwnHead().bound({}, words.TOKENIZER)
    config = Experiment(model=Model(**SCRATCH), task=task)
    assert "transformers has no class for" in why_not(config, DERIVED, task)


# Other forms


def test_a_saved_model_fills_masks(tmp_path):
    trained = TrainedModel(scratch(tmp_path / "run", MaskedWords()), tf.distribute.get_strategy())
    ids = tf.constant([[2, 5, 6, 4, 3], [2, 4, 4, 3, 0], [2, 7, 8, 3, 0]])
    inputs = dict(zip(INPUTS, (ids, tf.cast(ids > 0, tf.int32), 0 * ids), strict=True))
    served = Served(trained, None).ids(*inputs.values())
    tokens, sure = (served[name].numpy() for name in ("tokens", "probabilities"))
    assert tokens.shape == sure.shape == (3, 2, 5)
    places = tf.constant([[3, 0], [1, 2], [0, 0]])
    logits = trained.model({**inputs, POSITIONS: places})
    expected = tf.math.top_k(tf.nn.softmax(logits), 5)
    filled = np.array([[True, False], [True, True], [False, False]])
    np.testing.assert_allclose(sure[filled], expected.values.numpy()[filled], rtol=1e-5)
    names = np.array([token.encode() for token in words.TOKENS])
    np.testing.assert_array_equal(tokens[filled], names[expected.indices.numpy()[filled]])
    assert (tokens[~filled] == b"").all()
    assert (sure[~filled] == 0).all()


@pytest.mark.long
def test_a_saved_model_fills_the_masks_of_texts(tmp_path, launch):
    pytest.importorskip("tensorflow_text")  # its ops are in the graph
    folder, run = folders.copy("bert_masked", tmp_path / "bert"), tmp_path / "run"
    begun(folder, run, "masked")
    output, texts = tmp_path / "exported", ["a [MASK] film", "[MASK] [MASK]", "bad"]
    flags = (f"--workdir={run}", "--format=savedmodel", f"--output={output}")
    ended = launch(*flags, program="launch.export")
    assert ended.status == 0, ended.stderr
    ended = launch(f"--workdir={run}", *texts, program="launch.predict")
    assert ended.status == 0, ended.stderr
    lines = [json.loads(line) for line in ended.stdout.splitlines()]
    served = tf.saved_model.load(str(output)).signatures["serving_default"](
        texts=tf.constant(texts)
    )
    for k, line in enumerate(lines):
        assert len(line["fills"]) == texts[k].count("[MASK]")
        for m, fill in enumerate(line["fills"]):
            tokens = [token.decode() for token in served["tokens"].numpy()[k, m]]
            assert [each["token"] for each in fill] == tokens
            found = [each["probability"] for each in fill]
            np.testing.assert_allclose(found, served["probabilities"].numpy()[k, m], rtol=1e-5)
