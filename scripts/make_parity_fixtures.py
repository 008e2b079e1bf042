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
  words_N [tokens, V]    only of models that predict words: their logits (of ELECTRA's, one)
where a layout's name ends in _tokens no pooled_N, and logits_N [tokens, C] of the real tokens;
where it ends in _text hidden_N, of inputs that are padded on both sides, and
  target_ids_N, target_mask_N [rows, M]   texts that are padded on the right; of their real tokens
  decoded_N [tokens, D]  the decoder's states
  words_N [tokens, V]    logits
  loss_N                 the mean cross-entropy
  greedy_N, beams_N [rows, W]   texts that the model writes, the latter with 4 beams; 0 behind them
  buckets_N [2 N + 1]    of all distances from -N to N, in one direction only where `causal_` stands
                         before it;
and `dropouts`: the dropout rates in the order in which a classifier's training step applies them.
"""

import argparse
import json
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
LLAMA = {
    "vocab_size": VOCAB,
    "max_position_embeddings": POSITIONS,
    "hidden_size": WIDTH,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 4,
    "intermediate_size": FFN,
    "rms_norm_eps": 1e-3,
    "attention_dropout": 0.12,
    "rope_parameters": {"rope_type": "default", "rope_theta": 100.0},
    "tie_word_embeddings": True,
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
    "llama": (
        "LlamaForSequenceClassification",
        {
            **LLAMA,
            "num_key_value_heads": 2,
            "head_dim": 6,
            "attention_bias": True,
            "mlp_bias": True,
            "pad_token_id": 0,
        },
    ),
    # HuggingFaceTB/SmolLM-135M: words are predicted by the token table, rope_theta stands alone.
    "llama_base": (
        "LlamaForCausalLM",
        {**LLAMA, "num_key_value_heads": 1},
    ),
}
SEQUENCE, TOKENS = "ForSequenceClassification", "ForTokenClassification"
LAYOUTS |= {
    f"{name}_tokens": (class_name.replace(SEQUENCE, TOKENS), settings)
    for name, (class_name, settings) in LAYOUTS.items()
    if class_name.endswith(SEQUENCE) and not name.endswith("_base")
}
# Heads that predict words, and the discriminator's. BERT's and ALBERT's dense layers there have the
# encoder's activation, RoBERTa's and ELECTRA's generator's always have gelu.
WORDS = {
    "bert_masked": ("BertForMaskedLM", {**BERT, "hidden_act": "relu"}),
    "bert_untied_masked": ("BertForMaskedLM", {**BERT, "tie_word_embeddings": False}),
    "distilbert_masked": (
        "DistilBertForMaskedLM",
        {**LAYOUTS["distilbert"][1], "activation": "relu"},
    ),
    "roberta_masked": ("RobertaForMaskedLM", {**ROBERTA, "hidden_act": "relu"}),
    "xlm_roberta_masked": ("XLMRobertaForMaskedLM", {**ROBERTA, "layer_norm_eps": 1e-5}),
    "electra_masked": (
        "ElectraForMaskedLM",
        {**BERT, "embedding_size": 12, "hidden_act": "relu"},
    ),
    "electra_replaced": (
        "ElectraForPreTraining",
        {**BERT, "embedding_size": 12, "hidden_act": "relu"},
    ),
    "albert_masked": ("AlbertForMaskedLM", {**BERT, "embedding_size": 12, "hidden_act": "relu"}),
    "gpt2_causal": ("GPT2LMHeadModel", {**GPT2, "n_inner": FFN, "layer_norm_epsilon": 1e-3}),
    # HuggingFaceTB/SmolLM-135M, and TinyLlama.
    "llama_causal": ("LlamaForCausalLM", {**LLAMA, "num_key_value_heads": 2}),
    "llama_untied_causal": (
        "LlamaForCausalLM",
        {**LLAMA, "num_key_value_heads": 1, "tie_word_embeddings": False},
    ),
}
LAYOUTS |= WORDS
T5 = {
    "vocab_size": VOCAB,
    "d_model": WIDTH,
    "d_kv": 6,  # 2 heads of 6 are not the width of 16
    "d_ff": FFN,
    "num_layers": LAYERS,
    "num_heads": HEADS,
    "relative_attention_num_buckets": 8,
    "relative_attention_max_distance": 12,
    "layer_norm_epsilon": 1e-3,
    "dropout_rate": 0.11,
    "decoder_start_token_id": 0,
}
# google-t5/t5-small, and google/t5-v1_1-small, which predicts words by a table of their own.
TEXTS = {
    # generate of transformers 5 fails where the decoder is the deeper one.
    "t5_text": (
        "T5ForConditionalGeneration",
        {**T5, "num_layers": 3, "num_decoder_layers": 2, "eos_token_id": 37},
    ),
    "t5_gated_text": (
        "T5ForConditionalGeneration",
        {
            **T5,
            "feed_forward_proj": "gated-gelu",
            "tie_word_embeddings": False,
            "eos_token_id": 18,
        },
    ),
}
LAYOUTS |= TEXTS
WRITTEN = 12  # tokens, at most
BUCKETS = 2000  # the longest distance whose bucket is kept
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
    if settings.get("tie_word_embeddings") is False and folder.name in TEXTS:
        model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.clone())
    for name, parameter in model.named_parameters():
        parameter.copy_(torch.from_numpy(random_values(name, tuple(parameter.shape), random)))
    model.save_pretrained(folder)
    as_on_the_hub(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)

    expected = {}
    for length in lengths:
        batch = random_batch(model.config, length, random)
        if folder.name in TEXTS:
            del batch["token_type_ids"]
            batch = padded_on_both_sides(batch, random) | random_target(length, random)
            results = batch | texts_of(model, batch)
        else:
            results = batch | outputs(model, batch, folder.name in WORDS)
        expected |= {f"{name}_{length}": value for name, value in results.items()}
    if folder.name in TEXTS:
        expected |= buckets()
        expected["dropouts"] = dropouts_of(
            model_class._from_config(model.config, attn_implementation="eager")
        )
    elif folder.name not in WORDS:
        expected["dropouts"] = dropouts(model.config, class_name.endswith(TOKENS))
    np.savez_compressed(folder / "expected.npz", **expected)


def random_values(name: str, shape: tuple[int, ...], random) -> np.ndarray:
    """Values of the size that trained weights have at this width; none is 0, no norm is 1."""
    values = random.standard_normal(shape).astype(np.float32)
    if len(shape) == 1:  # biases, and the norms' scales
        is_scale = "norm" in name.lower() or ".ln_" in f".{name}"
        return values * np.float32(0.3) + np.float32(is_scale and name.endswith("weight"))
    is_table = "embeddings." in name or name.split(".")[-2] in ("wte", "wpe", "embed_tokens")
    # Small tables, as trained ones are, let the epsilon of the norm behind them show.
    if name.endswith("Attention.q.weight"):  # T5 has no scale of scores: its queries are small
        return values * np.float32(0.3 * T5["d_kv"] ** -0.5)
    return values * np.float32(0.05 if is_table else 0.3)


def as_on_the_hub(folder: Path) -> None:
    """Gives files what those on the hub have and today's transformers leaves out."""
    path = folder / "model.safetensors"
    if folder.name == "llama_base":
        config = json.loads((folder / "config.json").read_text())
        theta = config.pop("rope_parameters")["rope_theta"]
        del config["head_dim"]
        (folder / "generation_config.json").unlink()
        config |= {"rope_scaling": None, "rope_theta": theta}
        text = json.dumps(config, indent=2, sort_keys=True) + "\n"
        (folder / "config.json").write_text(text, encoding="utf-8")
        return
    if folder.name == "t5_gated_text":
        config = json.loads((folder / "config.json").read_text())
        del config["scale_decoder_outputs"]
        text = json.dumps(config | {"tie_word_embeddings": False}, indent=2, sort_keys=True) + "\n"
        (folder / "config.json").write_text(text, encoding="utf-8")
        return
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


def padded_on_both_sides(batch: dict[str, np.ndarray], random) -> dict[str, np.ndarray]:
    """The rows, each shifted to the right by some of its padding."""
    free = (batch["attention_mask"] == 0).sum(1)
    shifts = random.integers(0, free + 1)
    return {
        name: np.stack([np.roll(row, shift) for row, shift in zip(rows, shifts, strict=True)])
        for name, rows in batch.items()
    }


def random_target(length: int, random) -> dict[str, np.ndarray]:
    """ROWS texts of another length, of any tokens but the first, padded on the right."""
    length = length // 2 + 3
    mask = np.arange(length) < random.integers(1, length + 1, [ROWS, 1])
    ids = random.integers(1, VOCAB, mask.shape)
    return {
        "target_ids": np.where(mask, ids, 0).astype(np.int32),
        "target_mask": mask.astype(np.int32),
    }


def texts_of(model, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The states of both stacks, logits and loss of targets, and what the model writes."""
    inputs = {name: torch.from_numpy(value).long() for name, value in batch.items()}
    target, mask = inputs.pop("target_ids"), inputs.pop("target_mask")
    labels = torch.where(mask == 1, target, -100)
    found = model(**inputs, labels=labels, output_hidden_states=True)
    how = {"max_new_tokens": WRITTEN, "min_new_tokens": 0, "do_sample": False}
    beams = {"num_beams": 4, "length_penalty": 0.6, "early_stopping": "never"}
    return {
        "hidden": found.encoder_last_hidden_state[inputs["attention_mask"] == 1].numpy(),
        "decoded": found.decoder_hidden_states[-1][mask == 1].numpy(),
        "words": found.logits[mask == 1].numpy(),
        "loss": found.loss.numpy(),
        "greedy": ended(model.generate(**inputs, **how), model.config.eos_token_id),
        "beams": ended(model.generate(**inputs, **how, **beams), model.config.eos_token_id),
    }


def ended(written: torch.Tensor, end: int) -> np.ndarray:
    """The new tokens, with 0 behind the end."""
    ids = written.numpy()[:, 1:]
    behind = np.cumsum(ids == end, axis=1) - (ids == end) > 0
    return np.where(behind, 0, ids).astype(np.int32)


def buckets() -> dict[str, np.ndarray]:
    """T5's buckets of distances, in both directions and in one."""
    attention = transformers.models.t5.modeling_t5.T5Attention
    apart = torch.arange(-BUCKETS, BUCKETS + 1)
    found = {
        name: attention._relative_position_bucket(apart, bidirectional).numpy().astype(np.int32)
        for name, bidirectional in (("buckets", True), ("causal_buckets", False))
    }
    return {f"{name}_{BUCKETS}": values for name, values in found.items()}


def outputs(model, batch: dict[str, np.ndarray], words: bool = False) -> dict[str, np.ndarray]:
    """The model's outputs: hidden, pooled, and logits where it has a classifier; or of words."""
    seen = {}
    head = getattr(model, "score", getattr(model, "classifier", None))
    head = getattr(head, "out_proj", head)  # RoBERTa's and ELECTRA's last layer
    hooks = [model.base_model.register_forward_hook(lambda *args: seen.update(base=args[2]))]
    if head is not None:
        hooks.append(head.register_forward_pre_hook(lambda _, args: seen.update(pooled=args[0])))
    inputs = {name: torch.from_numpy(value).long() for name, value in batch.items()}
    if getattr(model.config, "type_vocab_size", 0) == 0:
        del inputs["token_type_ids"]
    found = model(**inputs)
    logits = getattr(found, "logits", None)
    for hook in hooks:
        hook.remove()

    hidden = seen["base"].last_hidden_state
    real = inputs["attention_mask"] == 1
    if words:
        of_words = logits[real].reshape(int(real.sum()), -1)
        return {"hidden": hidden[real].numpy(), "words": of_words.numpy()}
    if type(model).__name__.endswith(TOKENS):
        return {"hidden": hidden[real].numpy(), "logits": logits[real].numpy()}
    pooled = seen["pooled"] if head is not None else getattr(seen["base"], "pooler_output", hidden)
    if pooled.ndim == 3:  # GPT-2 takes its last token after the linear layer
        pooled = pooled[torch.arange(len(pooled)), inputs["attention_mask"].sum(1) - 1]
    results = {"hidden": hidden[real], "pooled": pooled}
    if head is not None:
        results["logits"] = logits
    if hasattr(found, "prediction_logits"):
        results["words"] = found.prediction_logits[real]
    return {name: value.numpy() for name, value in results.items()}


def dropouts(config, tokens: bool) -> np.ndarray:
    """The dropout rates that a training step of the classifier (of tokens) meets, in order."""
    auto = AutoModelForTokenClassification if tokens else AutoModelForSequenceClassification
    # Only eager attention hands its probabilities to `dropout` itself.
    return dropouts_of(auto.from_config(config, attn_implementation="eager"))


def dropouts_of(model) -> np.ndarray:
    """The dropout rates that a training step of the model meets, in order."""
    rates, ids = [], torch.ones([1, 4], dtype=torch.long)

    def record(x, p=0.5, training=True, inplace=False):
        if training and p:
            rates.append(p)
        return x

    original, torch.nn.functional.dropout = torch.nn.functional.dropout, record
    try:
        more = {"decoder_input_ids": ids} if model.config.is_encoder_decoder else {}
        model.train()(input_ids=ids, **more)
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
