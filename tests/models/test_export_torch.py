"""Exported models, opened in PyTorch: every family and kind of head, and one that was trained.

`make bert test-parity` trains the model, and names an interpreter with PyTorch.
"""

import itertools
import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pretrained_folders as folders
import pytest
import tensorflow as tf
from begun_runs import LIKE_GPT2, LIKE_LLAMA, LIKE_T5, begun, model_of, scratch, words_of
from pretrained_folders import CLASSES, FAMILIES
from programs import ROOT

from trainer.data.columns import Row
from trainer.data.encode import TextEncoder
from trainer.data.sources import open_source
from trainer.data.tokenizers import load_tokenizer
from trainer.export.huggingface import to_hugging_face
from trainer.models.encoder_decoder import CachedDecoder
from trainer.models.generate import Generation
from trainer.models.network import Network
from trainer.models.parameters import named_parameters
from trainer.models.pretrained import open_pretrained
from trainer.models.random import draw_key
from trainer.models.writing import Writing
from trainer.prediction.predictor import Predictor
from trainer.storage.workdir import Workdir
from trainer.tasks.causal import Causal
from trainer.tasks.masked import MaskedWords
from trainer.tasks.text_to_text import TextToText
from trainer.trained import TrainedModel

PYTHON = os.environ.get("PARITY_PYTHON")
RUN = ROOT / "runs" / "bert"
REVIEWS = 200
LARGEST = 2e-5  # difference, in float32
KINDS = ("sequence", "tokens", "regression")
NEW = 6  # tokens, as in torch_pipelines.py
LANGUAGES: dict[str, MaskedWords | Causal] = {
    **{f"{name}_masked": MaskedWords() for name in FAMILIES[:-2]},
    "bert_untied_masked": MaskedWords(tied=False),
    "gpt2_causal": Causal(),
    "llama_causal": Causal(),
    "llama_untied_causal": Causal(tied=False),
    "scratch_bert": MaskedWords(),
    "scratch_gpt2": Causal(),
    "scratch_llama": Causal(),
    "scratch_gpt2_untied": Causal(tied=False),
}
pytestmark = pytest.mark.skipif(not PYTHON, reason="needs PyTorch: make test-parity")


def in_pytorch(*arguments: object) -> str:
    """Calls torch_logits.py; what it prints."""
    script = Path(__file__).with_name("torch_logits.py")
    command = [str(PYTHON), str(script), *map(str, arguments)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@pytest.fixture(scope="module")
def exported(tmp_path_factory) -> Path:
    """Folders FAMILY/KIND/exported, and what PyTorch computes from each in logits.npy."""
    whole, arguments = tmp_path_factory.mktemp("exported"), []
    random = np.random.default_rng(0)
    texts = [random.integers(6, 39, length).tolist() for length in (3, 1, 20, 7)]
    given = whole / "given.json"
    given.write_text(json.dumps({"ids": texts, "texts": []}))
    for family, name in itertools.product(FAMILIES, KINDS):
        place, kind = whole / family / name, "tokens" if name == "tokens" else "sequence"
        layout = f"{family}_tokens" if name == "tokens" else family
        folder = folders.copy(layout, place / "begun")
        if name == "regression":
            folders.one_output(folder)
        to_hugging_face(begun(folder, place / "run", name), place / "exported")
        arguments += [place / "exported", kind, given, place / "logits.npy"]
    in_pytorch(*arguments)
    return whole


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("family", FAMILIES)
def test_every_head_gives_in_pytorch_what_it_gives_here(family, name, exported):
    place, kind = exported / family / name, "tokens" if name == "tokens" else "sequence"
    outputs = 1 if name == "regression" else CLASSES
    model, said = model_of(place / "exported", kind, outputs)
    assert "start afresh: none; tensors not used: none" in said
    theirs, ours = np.load(place / "logits.npy"), []
    for ids in json.loads((exported / "given.json").read_text())["ids"]:
        row = np.array([ids], np.int32)
        ours.append(model({"input_ids": row, "attention_mask": row * 0 + 1}).numpy()[0])
    found = np.concatenate(ours) if name == "tokens" else np.array(ours)
    assert found.shape == theirs.shape == (31 if name == "tokens" else 4, outputs)
    difference = np.abs(found - theirs).max()
    print(f"{family} {name}: largest difference of {theirs.size} outputs {difference:.1e}")
    assert difference <= LARGEST


@pytest.fixture(scope="module")
def languages(tmp_path_factory) -> Path:
    """Folders NAME/exported of language models, what PyTorch computes from each in logits.npy, and
    what its pipelines answer in answers.json.
    """
    whole, arguments, asked = tmp_path_factory.mktemp("languages"), [], []
    random = np.random.default_rng(0)
    given = whole / "given.json"
    texts = [random.integers(6, 36, length).tolist() for length in (3, 1, 20, 7)]
    given.write_text(json.dumps({"ids": texts, "texts": []}))
    for name, task in LANGUAGES.items():
        place, kind = whole / name, task.native_kind
        if name.startswith("scratch"):
            settings = LIKE_LLAMA if "llama" in name else LIKE_GPT2 if kind == "causal" else {}
            run = scratch(place / "run", task, 24, **settings)
        else:
            run = begun(folders.copy(name, place / "begun"), place / "run", kind, task)
        to_hugging_face(run, place / "exported")
        arguments += [place / "exported", kind, given, place / "logits.npy"]
        asks = "text-generation" if kind == "causal" else "fill-mask"
        asked.append([str(place / "exported"), asks, texts_for(run)])
    in_pytorch(*arguments)
    (whole / "asked.json").write_text(json.dumps(asked))
    script = Path(__file__).with_name("torch_pipelines.py")
    command = [str(PYTHON), str(script), whole / "asked.json", whole / "answers.json"]
    subprocess.run(command, check=True, capture_output=True, text=True)
    return whole


def texts_for(run: Workdir) -> list[str]:
    """Texts of words that the tokenizer has, with masks if it has these."""
    mask = run.load_tokenizer().special_tokens_map.get("mask_token")
    return [f"a {mask} d", f"{mask} b a {mask}", f"a b {mask}"] if mask else ["a b", "d a d"]


@pytest.mark.parametrize("name", LANGUAGES)
def test_every_head_for_words_gives_in_pytorch_what_it_gives_here(name, languages):
    place, found = languages / name, []
    model, said = words_of(place / "exported", LANGUAGES[name])
    assert "start afresh: none;" in said
    theirs = np.load(place / "logits.npy")
    for ids in json.loads((languages / "given.json").read_text())["ids"]:
        row = np.array([ids], np.int32)
        places = np.arange(len(ids))[None]
        inputs = {"input_ids": row, "attention_mask": row * 0 + 1, "positions": places}
        found.append(model(inputs).numpy()[0])
    ours = np.concatenate(found)
    assert ours.shape == theirs.shape == (31, 40)
    difference = np.abs(ours - theirs).max()
    print(f"{name}: largest difference of {theirs.size} logits {difference:.1e}")
    assert difference <= LARGEST


@pytest.mark.parametrize("name", LANGUAGES)
def test_pipelines_give_our_tokens(name, languages, strategy_over):
    task, at = LANGUAGES[name], list(LANGUAGES).index(name)
    theirs = json.loads((languages / "answers.json").read_text())[at]
    trained = TrainedModel(Workdir(languages / name / "run"), strategy_over(1))
    texts = texts_for(trained.workdir)
    if task.native_kind == "causal":
        assert theirs == [greedily(trained, text) for text in texts]
        return
    rows = [Row({"text": text}, i, "the test") for i, text in enumerate(texts)]
    for row, answered, other in zip(rows, Predictor(trained).run(rows), theirs, strict=True):
        fills = trained.task.line(row, *answered, None)["fills"]
        assert len(fills) == len(other) == row["text"].count(texts[2][4:])
        for fill, tokens in zip(fills, other, strict=True):
            assert [each["token"] for each in fill] == [token for token, _ in tokens]
            shares = [each["probability"] for each in fill]
            np.testing.assert_allclose(shares, [score for _, score in tokens], atol=LARGEST)


def greedily(trained: TrainedModel, text: str) -> list[int]:
    """The ids of a text that a model goes on with, token by token."""
    begin, end = (trained.task.native_config()[f"{name}_token_id"] for name in ("bos", "eos"))
    (content,) = trained.encoder.contents([text])
    ids = [begin, *content.tolist()]
    for _ in range(NEW):
        row = np.array([ids], np.int32)
        logits = trained.model({"input_ids": row, "attention_mask": row * 0 + 1})
        ids.append(int(logits.numpy()[0, -1].argmax()))
        if ids[-1] == end:
            break
    return ids


TEXTS = {
    "t5_text": TextToText(target_length=9),
    "t5_gated_text": TextToText(target_length=9, tied=False),
    "scratch_t5": TextToText(target_length=9),
    "scratch_gated_t5": TextToText(target_length=9, tied=False),
}


def test_texts_are_in_pytorch_what_they_are_here(tmp_path):
    arguments, ids = [], [np.random.default_rng(i).integers(6, 36, 3 + i).tolist() for i in (0, 4)]
    (tmp_path / "given.json").write_text(json.dumps({"ids": ids, "texts": []}))
    for name, task in TEXTS.items():
        place = tmp_path / name
        if name.startswith("scratch"):
            gated = {"gated_ffn": True, "activation": "gelu_tanh"} if "gated" in name else {}
            run = scratch(place / "run", task, 24, **LIKE_T5, **gated)
        else:
            run = begun(folders.copy(name, place / "begun"), place / "run", "text", task)
        to_hugging_face(run, place / "exported")
        arguments += [place / "exported", "text", tmp_path / "given.json", place / "logits.npy"]
    in_pytorch(*arguments)
    for name, task in TEXTS.items():
        place = tmp_path / name
        model, _ = words_of(place / "exported", task)
        bound, ours = task.bound({}, load_tokenizer(place / "exported")), []
        theirs = json.loads((place / "logits.npy.json").read_text())
        for row, written in zip(ids, theirs, strict=True):
            row_BT = np.array([row], np.int32)
            batch = {"input_ids": row_BT, "attention_mask": row_BT * 0 + 1}
            ours.append(model({**batch, "decoder_input_ids": row_BT}).numpy()[0])
            steps = CachedDecoder(model, bound.start_id), Writing(max_new_tokens=6), bound.end_id
            found = Generation(*steps).whole(
                *batch.values(), tf.constant([0], tf.int64), draw_key(0)
            )
            length = int(found.lengths_B[0])
            assert written[: length + 1] == [bound.start_id, *found.ids_BN[0, :length].numpy()]
        difference = np.abs(np.concatenate(ours) - np.load(place / "logits.npy")).max()
        print(f"{name}: largest difference of {np.concatenate(ours).size} logits {difference:.1e}")
        assert difference <= LARGEST


@pytest.mark.skipif(not (RUN / "result.json").exists(), reason="needs a run: make bert")
def test_pytorch_computes_the_same_logits_and_the_weights_come_back(tmp_path: Path):
    workdir, folder = Workdir(RUN), tmp_path / "exported"
    config, derived = workdir.read()
    step = to_hugging_face(workdir, folder)
    pretrained = open_pretrained(str(folder))
    model = Network(pretrained.architecture(), len(derived["facts"]["labels"]))
    ones = tf.ones([2, 8], tf.int32)
    model({"input_ids": ones, "attention_mask": ones})
    parameters = named_parameters(model)
    pretrained.load(parameters, native_head=True, say=print)

    store, best = workdir.best_weights()
    assert step == best
    for name, value in store.values(best, [f"model/{n}" for n in parameters]).items():
        np.testing.assert_array_equal(parameters[name.removeprefix("model/")].numpy(), value)

    rows = open_source(config.data, config.task).rows("test")
    texts = [row["text"] for row in itertools.islice(rows, REVIEWS)]
    encoder = TextEncoder(load_tokenizer(folder), config.data.max_length, config.data.cut)
    encoded = encoder.encode(texts)
    given, found = tmp_path / "given.json", tmp_path / "logits.npy"
    values = {
        "ids": [e.ids.tolist() for e in encoded],
        "texts": [None if e.cut else x for e, x in zip(encoded, texts, strict=True)],
    }
    given.write_text(json.dumps(values))
    said = in_pytorch(folder, "sequence", given, found)
    assert str(dict(enumerate(derived["facts"]["labels"]))) in said

    theirs, ours = np.load(found), []
    for e in encoded:
        ids = tf.constant(e.ids[None], tf.int32)
        ours.append(model({"input_ids": ids, "attention_mask": tf.ones_like(ids)}).numpy()[0])
    difference = np.abs(np.array(ours) - theirs).max()
    print(f"largest difference of {theirs.size} logits of {len(ours)} reviews: {difference:.1e}")
    assert len(ours) == REVIEWS
    assert difference <= 1e-4
