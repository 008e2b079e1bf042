"""What an exported folder computes in PyTorch: run by the interpreter that has it.

  python torch_logits.py FOLDER INPUT.json OUTPUT.npy

INPUT holds {"ids": [[...], ...], "texts": [...]}: token ids of each text, and texts whose ids the
folder's own tokenizer must find to be the same.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

BATCH = 20

if __name__ == "__main__":
    folder, given, output = sys.argv[1:]
    values = json.loads(Path(given).read_text())
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model, loading = AutoModelForSequenceClassification.from_pretrained(
        folder, output_loading_info=True
    )
    model.eval()
    assert not any(loading.values()), loading
    for text, ids in zip(values["texts"], values["ids"], strict=False):
        assert text is None or tokenizer(text)["input_ids"] == ids, text
    logits = []
    with torch.no_grad():
        for start in range(0, len(values["ids"]), BATCH):
            rows = [{"input_ids": ids} for ids in values["ids"][start : start + BATCH]]
            batch = tokenizer.pad(rows, return_tensors="pt")
            logits.append(model(**batch).logits.numpy())
    np.save(output, np.concatenate(logits))
    print(model.config.id2label)
