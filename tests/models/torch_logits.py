"""Logits of exported folders in PyTorch: run by the interpreter that has it.

  python torch_logits.py FOLDER KIND INPUT.json OUTPUT.npy [FOLDER KIND INPUT OUTPUT ...]

KIND is "sequence" or "tokens". INPUT holds {"ids": [[...], ...], "texts": [...]}: token ids of each
text, and texts whose ids the folder's own tokenizer must find to be the same. OUTPUT gets the
logits, [texts, C] or those of all tokens, [tokens, C].
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
from transformers import (
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    AutoTokenizer,
)

BATCH = 20


def main(folder: str, kind: str, given: str, output: str) -> None:
    """Writes the logits of one folder, and prints its labels."""
    values = json.loads(Path(given).read_text())
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokens = kind == "tokens"
    auto = AutoModelForTokenClassification if tokens else AutoModelForSequenceClassification
    model, loading = auto.from_pretrained(folder, output_loading_info=True)
    model.eval()
    assert not any(loading.values()), loading
    for text, ids in zip(values["texts"], values["ids"], strict=False):
        assert text is None or tokenizer(text)["input_ids"] == ids, text
    logits = []
    with torch.no_grad():
        for start in range(0, len(values["ids"]), BATCH):
            rows = [{"input_ids": ids} for ids in values["ids"][start : start + BATCH]]
            batch = tokenizer.pad(rows, return_tensors="pt")
            found = model(**batch).logits
            logits.append((found[batch["attention_mask"] == 1] if tokens else found).numpy())
    np.save(output, np.concatenate(logits))
    print(model.config.id2label)


if __name__ == "__main__":
    for k in range(1, len(sys.argv), 4):
        main(*sys.argv[k : k + 4])
