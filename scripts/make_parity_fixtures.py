"""Makes small checkpoints as transformers writes them, with what PyTorch computes from them.

  make test-parity  # makes build/parity, which holds PyTorch
  build/parity/bin/python scripts/make_parity_fixtures.py --output=tests/models/parity \\
      --minilm=data/minilm

Each folder `--output`/NAME gets config.json, model.safetensors (random weights, in the layout that
files of that kind have on the hub) and expected.npz; minilm_real.npz gets what the real weights in
`--minilm` give. The same seed, versions and machine give the same files. The tests compare our
models with them (tests/models/test_parity.py).

expected.npz holds, for every length N of `--lengths`, input_ids_N, attention_mask_N and
token_type_ids_N, int32 [rows, N], and in float32, without dropout:
  hidden_N [tokens, D]   last hidden states of the real tokens, row after row
  pooled_N [rows, D]     what stands before the dropout and the linear layer that make logits
  logits_N [rows, C]     only where the checkpoint holds a head
where a layout's name ends in _tokens no pooled_N, and logits_N [tokens, C] of the real tokens;
and `dropouts`: the dropout rates in the order in which a training step applies them.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
import transformers
from safetensors.numpy import load_file, save_file
from transformers import AutoModelForSequenceClassification, AutoModelForTokenClassification

ROWS, OUTPUTS = 3, 3
VOCAB, POSITIONS, WIDTH, LAYERS, HEADS, FFN = 40, 24, 16, 2, 2, 28
# Rates and an epsilon that no family has by default: what is taken for granted shows.
RATES = {"hidden_dropout_prob": 0.11, "attention_probs_dropout_prob": 0.12}
BERT = {
    "vocab_size": VOCAB,
    "max_position_embeddings": POSITIONS,
    "hidden_size": WIDTH,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "intermediate_size": FFN,
    "layer_norm_eps": 1e-3,
    **RATES,
}
GPT2 = {
    "vocab_size": VOCAB,
    "n_positions": POSITIONS,
    "n_embd": WIDTH,
    "n_layer": LAYERS,
    "n_head": HEADS,
    "embd_pdrop": 0.11,
    "attn_pdrop": 0.12,
    "resid_pdrop": 0.13,
    "bos_token_id": 1,
    "eos_token_id": 1,
}
ROBERTA = {**BERT, "max_position_embeddings": POSITIONS + 2, "type_vocab_size": 1}
# Folder: the class that writes it, and its config.
LAYOUTS = {
    "bert": ("BertForSequenceClassification", {**BERT, "classifier_dropout": 0.13}),
    # google-bert/bert-base-uncased: old names of the norms, heads of pretraining.
    "bert_pretraining": ("BertForPreTraining", {**BERT, "hidden_act": "relu"}),
    # MiniLM: the encoder alone with its pooler, no prefix, a buffer of positions.
    "minilm": ("BertModel", BERT),
    "distilbert": (
        "DistilBertForSequenceClassification",
        {
            "vocab_size": VOCAB,
            "max_position_embeddings": POSITIONS,
            "dim": WIDTH,
            "n_layers": LAYERS,
            "n_heads": HEADS,
            "hidden_dim": FFN,
            "dropout": 0.11,
            "attention_dropout": 0.12,
            "seq_classif_dropout": 0.13,
        },
    ),
    "roberta": ("RobertaForSequenceClassification", {**ROBERTA, "layer_norm_eps": 1e-5}),
    "xlm_roberta": ("XLMRobertaForSequenceClassification", {**ROBERTA, "classifier_dropout": 0.13}),
    "electra": (
        "ElectraForSequenceClassification",
        {**BERT, "embedding_size": 12, "classifier_dropout": 0.13},
    ),
    # google/electra-base-discriminator: embeddings as wide as the rest are not projected.
    "electra_base": ("ElectraForSequenceClassification", {**BERT, "embedding_size": WIDTH}),
    "albert": (
        "AlbertForSequenceClassification",
        {**BERT, "embedding_size": 12, "classifier_dropout_prob": 0.13},
    ),
    "gpt2": (
        "GPT2ForSequenceClassification",
        {**GPT2, "n_inner": FFN, "pad_token_id": 0, "layer_norm_epsilon": 1e-3},
    ),
    # openai-community/gpt2: the decoder alone, no prefix, buffers of causal masks.
    "gpt2_base": ("GPT2Model", GPT2),
}
SEQUENCE, TOKENS = "ForSequenceClassification", "ForTokenClassification"
LAYOUTS |= {
    f"{name}_tokens": (class_name.replace(SEQUENCE, TOKENS), settings)
    for name, (class_name, settings) in LAYOUTS.items()
    if class_name.endswith(SEQUENCE) and not name.endswith("_base")
}
# Sentences of an invented review, joined in any order to any length.
SENTENCES = """
I went in with low expectations, and the first half hour did little to raise them.
The plot is thin, but the actors make the most of it.
Nobody in this film behaves like a person I have ever met!
Watch it for the photography: every frame of the harbour at night could hang on a wall.
My wife fell asleep; I laughed until I cried.
What a waste of $12 and two hours.
The director's earlier work (1987's, above all) was better paced.
It's not perfect, it's not even very good, and yet I'd see it again tomorrow.
""".strip().splitlines()


def main() -> None:
    """Writes all the folders, and where `--minilm` is given minilm_real.npz."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--output", type=Path, required=True, help="Folder to write into.")
    arguments.add_argument("--seed", type=int, default=0, help="Of weights and inputs.")
    arguments.add_argument(
        "--lengths", type=int, nargs="+", default=[3, 10, POSITIONS], help="Of random inputs."
    )
    arguments.add_argument(
        "--outputs", type=int, default=OUTPUTS, help="Of each head; 1: a regression."
    )
    arguments.add_argument("--minilm", type=Path, help="Folder with MiniLM's real weights.")
    given = arguments.parse_args()
    transformers.utils.logging.disable_progress_bar()
    torch.set_num_threads(1)  # sums in one order
    torch.set_grad_enabled(False)
    for name, (class_name, settings) in LAYOUTS.items():
        random = np.random.default_rng([given.seed, *name.encode()])
        if "Classification" in class_name:
            settings = settings | {"num_labels": given.outputs}
        if class_name.endswith(SEQUENCE) and given.outputs == 1:
            settings = settings | {"problem_type": "regression"}
        make(given.output / name, class_name, settings, given.lengths, random)
    if given.minilm is not None:
        make_minilm(given.minilm, given.output / "minilm_real.npz", given.seed)


def make(folder: Path, class_name: str, settings: dict, lengths: list[int], random) -> None:
    """Writes one folder."""
    model_class = getattr(transformers, class_name)
    model = model_class(model_class.config_class(**settings)).eval()
    for name, parameter in model.named_parameters():
        parameter.copy_(torch.from_numpy(random_values(name, tuple(parameter.shape), random)))
    model.save_pretrained(folder)
    as_on_the_hub(folder)

    expected = {}
    for length in lengths:
        batch = random_batch(model.config, length, random)
        results = batch | outputs(model, batch)
        expected |= {f"{name}_{length}": value for name, value in results.items()}
    expected["dropouts"] = dropouts(model.config, class_name.endswith(TOKENS))
    np.savez_compressed(folder / "expected.npz", **expected)


def random_values(name: str, shape: tuple[int, ...], random) -> np.ndarray:
    """Values of the size that trained weights have at this width; none is 0, no norm is 1."""
    values = random.standard_normal(shape).astype(np.float32)
    if len(shape) == 1:  # biases, and the norms' scales
        is_scale = "norm" in name.lower() or ".ln_" in f".{name}"
        return values * np.float32(0.3) + np.float32(is_scale and name.endswith("weight"))
    is_table = "embeddings." in name or name.split(".")[-2] in ("wte", "wpe")
    # Small tables, as trained ones are, let the epsilon of the norm behind them show.
    return values * np.float32(0.05 if is_table else 0.3)


def as_on_the_hub(folder: Path) -> None:
    """Gives files what those on the hub have and today's transformers leaves out."""
    path = folder / "model.safetensors"
    tensors = load_file(path)
    if folder.name == "bert_pretraining":
        for ending, old in (("weight", "gamma"), ("bias", "beta")):
            end = f"LayerNorm.{ending}"
            tensors = {
                name.removesuffix(ending) + old if name.endswith(end) else name: value
                for name, value in tensors.items()
            }
    elif folder.name == "minilm":
        tensors["embeddings.position_ids"] = np.arange(POSITIONS)[None]
    elif folder.name == "gpt2_base":
        triangle = np.tril(np.ones([1, 1, POSITIONS, POSITIONS], np.float32))
        tensors |= {f"h.{i}.attn.bias": triangle.copy() for i in range(LAYERS)}
    else:
        return
    save_file(tensors, path, {"format": "pt"})


def random_batch(config, length: int, random) -> dict[str, np.ndarray]:
    """ROWS inputs, padded on the right: one of full length, the others shorter."""
    pad = config.pad_token_id or 0
    shorter = random.integers(1, max(length, 2), ROWS - 1)
    mask = np.arange(length) < np.array([length, *shorter])[:, None]
    types = random.integers(0, getattr(config, "type_vocab_size", 1), mask.shape)
    ids = random.integers(0, VOCAB - 1, mask.shape)
    ids += ids >= pad  # any but the padding's
    return {
        "input_ids": np.where(mask, ids, pad).astype(np.int32),
        "attention_mask": mask.astype(np.int32),
        "token_type_ids": np.where(mask, types, 0).astype(np.int32),
    }


def outputs(model, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The model's outputs: hidden, pooled, and logits where it has a classifier."""
    seen = {}
    head = getattr(model, "score", getattr(model, "classifier", None))
    head = getattr(head, "out_proj", head)  # RoBERTa's and ELECTRA's last layer
    hooks = [model.base_model.register_forward_hook(lambda *args: seen.update(base=args[2]))]
    if head is not None:
        hooks.append(head.register_forward_pre_hook(lambda _, args: seen.update(pooled=args[0])))
    inputs = {name: torch.from_numpy(value).long() for name, value in batch.items()}
    if getattr(model.config, "type_vocab_size", 0) == 0:
        del inputs["token_type_ids"]
    logits = getattr(model(**inputs), "logits", None)
    for hook in hooks:
        hook.remove()

    hidden = seen["base"].last_hidden_state
    real = inputs["attention_mask"] == 1
    if type(model).__name__.endswith(TOKENS):
        return {"hidden": hidden[real].numpy(), "logits": logits[real].numpy()}
    pooled = seen["pooled"] if head is not None else getattr(seen["base"], "pooler_output", hidden)
    if pooled.ndim == 3:  # GPT-2 takes its last token after the linear layer
        pooled = pooled[torch.arange(len(pooled)), inputs["attention_mask"].sum(1) - 1]
    results = {"hidden": hidden[real], "pooled": pooled}
    if head is not None:
        results["logits"] = logits
    return {name: value.numpy() for name, value in results.items()}


def dropouts(config, tokens: bool) -> np.ndarray:
    """The dropout rates that a training step of the classifier (of tokens) meets, in order."""
    auto = AutoModelForTokenClassification if tokens else AutoModelForSequenceClassification
    # Only eager attention hands its probabilities to `dropout` itself.
    model = auto.from_config(config, attn_implementation="eager")
    rates = []

    def record(x, p=0.5, training=True, inplace=False):
        if training and p:
            rates.append(p)
        return x

    original, torch.nn.functional.dropout = torch.nn.functional.dropout, record
    try:
        model.train()(input_ids=torch.ones([1, 4], dtype=torch.long))
    finally:
        torch.nn.functional.dropout = original
    return np.array(rates)


def make_minilm(folder: Path, path: Path, seed: int) -> None:
    """Writes what the real weights give for pairs of English texts.

    Of the hidden states it keeps those of every 37th token, and the first 16 numbers of each.
    """
    model = transformers.BertModel.from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    random = np.random.default_rng(seed)
    expected = {}
    for length in (8, 64, 256, 512):
        # A pair that is cut to the length, one of about half of it, a short one.
        pairs = [
            [" ".join(random.choice(SENTENCES, count)) for _ in range(2)]
            for count in (1 + length // 16, 1 + length // 64)
        ]
        batch = tokenizer(
            [*pairs, ["Not", "again!"]],
            max_length=length,
            truncation=True,
            padding="max_length",
            return_tensors="np",
        )
        batch = {name: value.astype(np.int32) for name, value in batch.items()}
        results = outputs(model, batch)
        results["hidden"] = results["hidden"][::37, :16]
        results |= batch
        expected |= {f"{name}_{length}": value for name, value in results.items()}
    np.savez_compressed(path, **expected)


if __name__ == "__main__":
    main()
