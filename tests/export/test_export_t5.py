"""Text-to-text models as folders of T5, and back."""

import json
import re

import numpy as np
import pretrained_folders as folders
import pytest
import words
from begun_runs import LIKE_T5, SCRATCH, STEP, begun, scratch, words_of
from transformers import AutoConfig, AutoTokenizer

from trainer.config import Experiment, Model
from trainer.export.huggingface import to_hugging_face, why_not
from trainer.models.parameters import named_parameters
from trainer.tasks.text_to_text import TextToText

GATED = {"gated_ffn": True, "activation": "gelu_tanh"}


def back(run, output, task):
    """Exports a run, and checks that all of its weights come back."""
    assert to_hugging_face(run, output) == STEP
    model, said = words_of(output, task)
    assert "start afresh: none; tensors not used: none" in said
    ours = named_parameters(model)
    saved = run.best.values(STEP, run.best.shapes(STEP))
    assert {f"model/{name}" for name in ours} == set(saved)
    assert [n for n in ours if ours[n].numpy().tobytes() != saved[f"model/{n}"].tobytes()] == []
    return model, json.loads((output / "config.json").read_text())


@pytest.mark.parametrize(("layout", "tied"), [("t5_text", True), ("t5_gated_text", False)])
def test_weights_of_t5_that_did_not_change_are_those_that_came(tmp_path, layout, tied):
    folder = folders.copy(layout, tmp_path / layout)
    task = TextToText(target_length=9, tied=tied, prefix="it's: ")
    run, output = begun(folder, tmp_path / "run", "text", task), tmp_path / "exported"
    _, said = back(run, output, task)
    exported, came = folders.tensors(output), folders.tensors(folder)
    assert exported.keys() == came.keys()
    assert [n for n in came if exported[n].tobytes() != came[n].tobytes()] == []
    assert said["tie_word_embeddings"] == said["scale_decoder_outputs"] == tied
    assert (said["decoder_start_token_id"], said["eos_token_id"], said["pad_token_id"]) == (0, 1, 0)
    config, before = (AutoConfig.from_pretrained(each).to_dict() for each in (output, folder))
    new = {"eos_token_id", "dtype", "_name_or_path", "id2label", "label2id"}
    assert [n for n in before.keys() - new if config.get(n) != before[n]] == []
    tokenizer = AutoTokenizer.from_pretrained(output)
    assert tokenizer.model_input_names == ["input_ids", "attention_mask"]
    card = (output / "README.md").read_text()
    assert "A model that writes a text for each text" in card
    assert 'texts = ["it\'s: " + "a fine film"]' in card


@pytest.mark.parametrize(
    ("tied", "more"),
    [(True, {}), *(pytest.param(each, GATED, marks=pytest.mark.long) for each in (True, False))],
)
def test_a_model_from_scratch_is_a_t5_where_it_computes_the_same(tmp_path, tied, more):
    task = TextToText(target_length=9, tied=tied)
    run = scratch(tmp_path / "run", task, **LIKE_T5, **more)
    _, said = back(run, tmp_path / "exported", task)
    assert said["architectures"] == ["T5ForConditionalGeneration"]
    assert (said["num_layers"], said["num_decoder_layers"], said["d_kv"]) == (2, 1, 8)
    assert said["feed_forward_proj"] == ("gated-gelu" if more else "relu")
    # Versions of transformers differ in what they make of a head that is tied and not scaled.
    assert (said["tie_word_embeddings"], said["scale_decoder_outputs"]) == (False, False)
    exported = folders.tensors(tmp_path / "exported")
    same = np.array_equal(exported["lm_head.weight"], exported["shared.weight"])
    assert same == tied


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"positions": "learned"}, r"needs config.model.positions='relative'; or .* savedmodel"),
        ({"kv_heads": 1}, r"needs config.model.kv_heads=0"),
        ({"decoder_table": True}, r"needs config.model.decoder_table=False"),
        ({"attention_window": 2}, r"needs config.model.attention_window=0"),
    ],
)
def test_others_are_refused(changes, said):
    task = TextToText(target_length=9)
    config = Experiment(model=Model(**{**SCRATCH, **LIKE_T5, **changes}), task=task)
    bound = task.bound({}, words.TOKENIZER)
    why = why_not(config, {"pretrained": None}, bound)
    assert re.search(f"T5ForConditionalGeneration of transformers, the nearest, {said}", why), why
