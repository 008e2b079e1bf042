"""Logits of exported folders in PyTorch: run by the interpreter that has it.

  python torch_logits.py FOLDER KIND INPUT.json OUTPUT.npy [FOLDER KIND INPUT OUTPUT ...]

KIND is "sequence", "tokens", "masked", "causal" or "text". INPUT holds {"ids": [[...], ...],
"texts": [...]}: token ids of each text, and texts whose ids the folder's own tokenizer must find to
be the same. OUTPUT gets the logits, [texts, C] for "sequence", else those of all tokens, [tokens,
C]; for "text" the decoder reads the ids too, and OUTPUT.json gets the ids that are written.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
import transformers
from transformers import AutoTokenizer

BATCH = 20
CLASSES = {
    "sequence": transformers.AutoModelForSequenceClassification,
    "tokens": transformers.AutoModelForTokenClassification,
    "masked": transformers.AutoModelForMaskedLM,
    "causal": transformers.AutoModelForCausalLM,
    "text": transformers.AutoModelForSeq2SeqLM,
}


def main(folder: str, kind: str, given: str, output: str) -> None:
    """Writes the logits of one folder, and prints its labels."""
    values = json.loads(Path(given).read_text())
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model, loading = CLASSES[kind].from_pretrained(folder, output_loading_info=True)
    model.eval()
    assert not any(loading.values()), loading
    for text, ids in zip(values["texts"], values["ids"], strict=False):
        assert text is None or tokenizer(text)["input_ids"] == ids, text
    logits, written = [], []
    with torch.no_grad():
        for start in range(0, len(values["ids"]), BATCH):
            rows = [{"input_ids": ids} for ids in values["ids"][start : start + BATCH]]
            batch = tokenizer.pad(rows, return_tensors="pt")
            if kind == "text":
                written += model.generate(**batch, max_new_tokens=6, do_sample=False).tolist()
                batch["decoder_input_ids"] = batch["input_ids"]
            found = model(**batch).logits
            real = batch["attention_mask"] == 1
            logits.append((found if kind == "sequence" else found[real]).numpy())
    np.save(output, np.concatenate(logits))
    if written:
        Path(f"{output}.json").write_text(json.dumps(written))
    print(model.config.id2label)


if __name__ == "__main__":
    for k in range(1, len(sys.argv), 4):
        main(*sys.argv[k : k + 4])
