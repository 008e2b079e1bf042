"""One system of generate.py, in a process of its own: it writes on command.

  python -P -m scripts.benchmarks.systems.writing '{"system": "thaw", "rows": [1, 8], ...}'

Each line on standard input, a number of rows, is answered by the seconds that its texts took.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

# GPT-2 small (Radford et al., 2019).
DEPTH, WIDTH, HEADS, FFN, VOCABULARY, POSITIONS = 12, 768, 12, 3072, 50257, 1024
Write = Callable[[list[list[int]]], int]  # prompts to the number of tokens written


def thaw(new: int, threads: int) -> Write:
    """Thaw, as launch.predict writes."""
    from launch import main as program

    program.import_tensorflow()
    from tokenizers import Tokenizer, models, pre_tokenizers

    from trainer.config import Runtime
    from trainer.data.subwords import Subwords
    from trainer.models.architecture import Architecture, Head
    from trainer.models.cached import CachedNetwork
    from trainer.models.heads import WordHead
    from trainer.models.network import Network
    from trainer.models.writing import Writing
    from trainer.prediction.writer import Writer
    from trainer.runtime import devices

    strategy = devices.start(Runtime(precision="float32", intra_op_threads=threads), 0)
    shape = Architecture(
        *(VOCABULARY, POSITIONS, WIDTH, DEPTH, HEADS, FFN, Head("tokens")),
        activation="gelu_tanh",
        norm="pre",
        embedding_norm=False,
        causal=True,
    )
    with strategy.scope():
        network = Network(shape, VOCABULARY, WordHead(shape, transforms=False))
        network.build()
    backend = Tokenizer(models.WordLevel({str(i): i for i in range(VOCABULARY)}, "0"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    writer = Writer(
        CachedNetwork(network),
        Subwords(backend, {}, {}),
        lambda texts: [[int(word) for word in text.split()] for text in texts],
        Writing(max_new_tokens=new),
        strategy,
        vocabulary=VOCABULARY,
        positions=POSITIONS,
    )

    def write(prompts: list[list[int]]) -> int:
        made = writer.continue_texts([" ".join(map(str, prompt)) for prompt in prompts])
        return sum(len(each.tokens) for each in made)

    return write


def transformers(new: int, threads: int) -> Write:
    """https://huggingface.co/docs/transformers/llm_tutorial, on PyTorch."""
    import torch
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.set_seed(0)
    if threads:
        torch.set_num_threads(threads)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = transformers.GPT2LMHeadModel(transformers.GPT2Config()).eval().to(device)

    def write(prompts: list[list[int]]) -> int:
        ids = torch.tensor(prompts, device=device)
        made = model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            do_sample=False,
            max_new_tokens=new,
            eos_token_id=None,
            pad_token_id=0,
        )
        return (made.shape[1] - ids.shape[1]) * len(prompts)

    return write


def main() -> None:
    """Writes until standard input ends."""
    import random

    settings: dict[str, Any] = json.loads(sys.argv[1])
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print
    write = {"thaw": thaw, "transformers": transformers}[settings["system"]](
        settings["new"], settings["threads"]
    )
    numbers = random.Random(0)
    for line in sys.stdin:
        rows = int(line)
        prompts = [numbers.choices(range(VOCABULARY), k=settings["prompt"]) for _ in range(rows)]
        began = time.perf_counter()
        tokens = write(prompts)
        answers.write(json.dumps({"seconds": time.perf_counter() - began, "tokens": tokens}) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
