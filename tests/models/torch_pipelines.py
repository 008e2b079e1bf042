"""Answers of exported language models in PyTorch: run by the interpreter that has it.

  python torch_pipelines.py INPUT.json OUTPUT.json

INPUT holds a list of [folder, task, texts], a task being "fill-mask" or "text-generation"; OUTPUT
gets for each a list of what `transformers.pipeline` answers to the texts: for masks the tokens and
their scores, [[[token, score], ...], ...] a text; else the text and NEW more tokens, greedily.
"""

import json
import sys
from pathlib import Path
from typing import Any

from transformers import pipeline

NEW = 6


def main(given: str, output: str) -> None:
    """Writes the answers."""
    found = []
    for folder, task, texts in json.loads(Path(given).read_text()):
        ask = pipeline(task, model=folder, dtype="float32")
        assert ask.model.config.architectures == [type(ask.model).__name__]
        found.append([(filled if task == "fill-mask" else continued)(ask, text) for text in texts])
    Path(output).write_text(json.dumps(found))


def filled(ask: Any, text: str) -> list[list[list[Any]]]:
    """The tokens for each mask, with their scores."""
    answer = ask(text)
    of_masks = answer if isinstance(answer[0], list) else [answer]
    return [[[each["token_str"], each["score"]] for each in fills] for fills in of_masks]


def continued(ask: Any, text: str) -> list[int]:
    """The ids of the prompt and of what follows."""
    (answer,) = ask(text, max_new_tokens=NEW, do_sample=False, return_tensors=True)
    return list(answer["generated_token_ids"])


if __name__ == "__main__":
    main(*sys.argv[1:])
