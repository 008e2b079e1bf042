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

# GPT-2 small (Radford et al., 2019), and T5 small (Raffel et al., 2020).
DEPTH, WIDTH, HEADS, FFN, VOCABULARY, POSITIONS = 12, 768, 12, 3072, 50257, 1024
T5_DEPTH, T5_WIDTH, T5_HEADS, T5_FFN, T5_VOCABULARY = 6, 512, 8, 2048, 32128
Write = Callable[[list[list[int]]], int]  # prompts to the number of tokens written


def thaw(model: str, new: int, threads: int, beams: int) -> Write:
    """Thaw, as launch.predict writes."""
    from launch import main as program

    program.import_tensorflow()
    from tokenizers import Tokenizer, models, pre_tokenizers

    from trainer.config import Runtime
    from trainer.data.subwords import Subwords
    from trainer.models.architecture import Architecture, Head
    from trainer.models.cached import CachedNetwork
    from trainer.models.encoder_decoder import CachedDecoder, EncoderDecoder
    from trainer.models.heads import WordHead
    from trainer.models.network import Network
    from trainer.models.writing import Writing
    from trainer.prediction.writer import Writer
    from trainer.runtime import devices

    strategy = devices.start(Runtime(precision="float32", intra_op_threads=threads), 0)
    t5 = model == "t5"
    vocabulary = T5_VOCABULARY if t5 else VOCABULARY
    shape = Architecture(
        *(VOCABULARY, POSITIONS, WIDTH, DEPTH, HEADS, FFN, Head("tokens")),
        activation="gelu_tanh",
        norm="pre",
        embedding_norm=False,
        causal=True,
    )
    if t5:
        shape = Architecture(
            *(vocabulary, POSITIONS, T5_WIDTH, T5_DEPTH, T5_HEADS, T5_FFN, Head("tokens")),
            activation="relu",
            norm="pre",
            norm_kind="rms",
            positions="relative",
            embedding_norm=False,
            attention_biases=False,
            attention_scale=False,
            ffn_biases=False,
            output_scale=True,
            decoder_depth=T5_DEPTH,
            target_length=POSITIONS,
        )
    head = WordHead(shape, transforms=False)
    with strategy.scope():
        network = EncoderDecoder(shape, head) if t5 else Network(shape, vocabulary, head)
        network.build()
    backend = Tokenizer(models.WordLevel({str(i): i for i in range(vocabulary)}, "0"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    writer = Writer(
        CachedDecoder(network, 0) if t5 else CachedNetwork(network),
        Subwords(backend, {}, {}),
        lambda texts: [[int(word) for word in text.split()] for text in texts],
        Writing(max_new_tokens=new, beams=beams),
        strategy,
        vocabulary=vocabulary,
        positions=POSITIONS,
    )

    def write(prompts: list[list[int]]) -> int:
        made = writer.continue_texts([" ".join(map(str, prompt)) for prompt in prompts])
        return sum(len(each.tokens) for each in made)

    return write


def transformers(model: str, new: int, threads: int, beams: int) -> Write:
    """https://huggingface.co/docs/transformers/llm_tutorial, on PyTorch."""
    import torch
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.set_seed(0)
    if threads:
        torch.set_num_threads(threads)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if t5 := model == "t5":  # the shape is that of its config
        made = transformers.T5ForConditionalGeneration(transformers.T5Config(num_layers=T5_DEPTH))
    else:
        made = transformers.GPT2LMHeadModel(transformers.GPT2Config())
    made = made.eval().to(device)

    def write(prompts: list[list[int]]) -> int:
        ids = torch.tensor(prompts, device=device)
        written = made.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            do_sample=False,
            num_beams=beams,
            max_new_tokens=new,
            eos_token_id=None,
            pad_token_id=0,
        )
        return (written.shape[1] - (1 if t5 else ids.shape[1])) * len(prompts)

    return write


def main() -> None:
    """Writes until standard input ends."""
    import random

    settings: dict[str, Any] = json.loads(sys.argv[1])
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print
    write = {"thaw": thaw, "transformers": transformers}[settings["system"]](
        *(settings[name] for name in ("model", "new", "threads", "beams"))
    )
    numbers = random.Random(0)
    for line in sys.stdin:
        rows = int(line)
        prompts = [numbers.choices(range(T5_VOCABULARY), k=settings["prompt"]) for _ in range(rows)]
        began = time.perf_counter()
        tokens = write(prompts)
        answers.write(json.dumps({"seconds": time.perf_counter() - began, "tokens": tokens}) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
