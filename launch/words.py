"""Hints for names that are no settings or flags: the nearest, and those of other programs."""

import dataclasses
import difflib
import re
from collections.abc import Sequence
from typing import Any

# By names of other programs, in small letters: the setting that it is here.
SETTINGS = {
    **dict.fromkeys(
        ("batch_size", "batch", "train_batch_size", "per_device_train_batch_size"),
        "global_batch_size",
    ),
    **dict.fromkeys(("eval_batch_size", "per_device_eval_batch_size"), "evaluation.batch_size"),
    **dict.fromkeys(("lr", "learning_rate", "base_lr", "max_lr"), "phases[0].learning_rate"),
    **dict.fromkeys(("epochs", "num_epochs", "num_train_epochs"), "phases[0].epochs"),
    **dict.fromkeys(("steps", "num_steps", "train_steps", "total_steps"), "phases[0].steps"),
    **dict.fromkeys(("warmup", "warmup_ratio", "warmup_proportion"), "phases[0].warmup_share"),
    **dict.fromkeys(("lr_schedule", "lr_scheduler", "scheduler"), "phases[0].schedule"),
    **dict.fromkeys(
        ("seq_length", "seq_len", "sequence_length", "max_seq_length", "max_len"), "data.max_length"
    ),
    **dict.fromkeys(("train_file", "train_path", "train_data", "dataset"), "data.train"),
    **dict.fromkeys(("validation_file", "eval_file", "val", "valid", "dev"), "data.validation"),
    "test_file": "data.test",
    **dict.fromkeys(("dataset_name", "tfds_name"), "data.name"),
    **dict.fromkeys(("text_column", "text_field", "text_col"), "task.text"),
    **dict.fromkeys(("label_column", "label_field", "label_col"), "task.label"),
    **dict.fromkeys(("hidden_size", "hidden_dim", "d_model", "embed_dim"), "model.width"),
    **dict.fromkeys(("num_layers", "n_layers", "num_hidden_layers", "layers"), "model.depth"),
    **dict.fromkeys(("num_heads", "n_heads", "num_attention_heads"), "model.heads"),
    **dict.fromkeys(("intermediate_size", "d_ff", "mlp_dim", "ffn_dim"), "model.ffn_width"),
    **dict.fromkeys(("model_name", "model_name_or_path", "pretrained_model"), "model.pretrained"),
    **dict.fromkeys(("dropout_rate", "hidden_dropout_prob"), "model.dropout"),
    **dict.fromkeys(("grad_clip", "max_grad_norm", "clipnorm", "clip"), "optimizer.clip_norm"),
    **dict.fromkeys(("wd", "weight_decay_rate", "l2"), "optimizer.weight_decay"),
    **dict.fromkeys(("ema_decay", "use_ema"), "optimizer.ema"),
    **dict.fromkeys(("adam_beta1", "beta_1"), "optimizer.beta1"),
    **dict.fromkeys(("adam_beta2", "beta_2"), "optimizer.beta2"),
    **dict.fromkeys(("adam_epsilon", "eps"), "optimizer.epsilon"),
    **dict.fromkeys(("fp16", "bf16", "mixed_precision", "dtype", "amp"), "runtime.precision"),
    **dict.fromkeys(("jit_compile", "use_xla"), "runtime.xla"),
    **dict.fromkeys(
        ("gradient_accumulation_steps", "accumulate", "accumulation_steps"),
        "runtime.max_rows_per_device",
    ),
    **dict.fromkeys(("gradient_checkpointing", "checkpointing"), "runtime.recompute"),
    **dict.fromkeys(("num_gpus", "n_gpus", "gpu", "device", "devices"), "runtime.gpus"),
    **dict.fromkeys(("eval_steps", "eval_every", "evaluate_every"), "evaluation.every_steps"),
    **dict.fromkeys(("metric_for_best_model", "monitor"), "evaluation.metric"),
    **dict.fromkeys(("early_stopping_patience", "early_stopping"), "phases[0].patience"),
    **dict.fromkeys(("save_steps", "checkpoint_every", "save_every"), "save_every_steps"),
    **dict.fromkeys(("save_total_limit", "max_to_keep"), "keep_checkpoints"),
    **dict.fromkeys(("logging_steps", "log_every"), "log_every_steps"),
    **dict.fromkeys(("random_seed", "random_state"), "seed"),
}
FLAGS = {
    **dict.fromkeys(
        ("output_dir", "model_dir", "logdir", "log_dir", "checkpoint_dir", "save_dir"), "workdir"
    ),
    "cfg": "config",
}
# What has no setting, and what there is instead.
NONE = {
    "optimizer.name": "AdamW is the only optimizer; config.optimizer has its settings",
    "optimizer.type": "AdamW is the only optimizer; config.optimizer has its settings",
    "optimizer.learning_rate": "rates belong to phases: --config.phases[0].learning_rate",
    "optimizer.lr": "rates belong to phases: --config.phases[0].learning_rate",
    "num_labels": "classes are counted in the data; config.task.labels gives them an order",
    "num_classes": "classes are counted in the data; config.task.labels gives them an order",
    "model.num_labels": "classes are counted in the data; config.task.labels gives them an order",
    "model.num_classes": "classes are counted in the data; config.task.labels gives them an order",
}


def paths(config: Any) -> list[str]:
    """The paths of all settings of a config, such as "phases[0].steps"."""
    found = []
    for spec in dataclasses.fields(config):
        value = getattr(config, spec.name)
        if isinstance(value, list):
            for i, each in enumerate(value):
                found += [f"{spec.name}[{i}].{path}" for path in paths(each)]
        elif dataclasses.is_dataclass(value) and not isinstance(value, type):
            found += [f"{spec.name}.{path}" for path in paths(value)]
        else:
            found.append(spec.name)
    return found


def of_setting(path: str, known: Sequence[str]) -> str:
    """The setting that may be meant by a path that is none; or what else to do; or "".

    Args:
      path: as it was written, without "config.".
      known: the paths of all settings.
    """
    plain = path.strip().lower().replace("-", "_")
    if plain in NONE:
        return NONE[plain]
    if plain in FLAGS:
        return f"it is --{FLAGS[plain]}"
    dotted = re.sub(r"^phases\.(\d+)\.", r"phases[\1].", path)
    if dotted != path and dotted in known:
        return f"is it --config.{dotted}? In a shell, put it in quotes"
    last = plain.rpartition(".")[2]
    if SETTINGS.get(last) in known:
        return f"is it --config.{SETTINGS[last]}?"
    same = [each for each in known if each.rpartition(".")[2] == last]
    if same:
        return f"is it {' or '.join(f'--config.{each}' for each in same[:3])}?"
    group = plain.rpartition(".")[0]
    siblings = {each.rpartition(".")[2]: each for each in known if each.rpartition(".")[0] == group}
    near = difflib.get_close_matches(last[:100], siblings, 1)
    if near:
        return f"is it {near[0]}?"
    ends = {each.rpartition(".")[2]: each for each in known}
    near = difflib.get_close_matches(last[:100], ends, 1, 0.75)
    return f"is it --config.{ends[near[0]]}?" if near else ""


def of_flag(name: str, known: Sequence[str], settings: Sequence[str]) -> str:
    """The flag or setting that may be meant by a flag that there is not; or "".

    Args:
      name: of the flag, without its dashes.
      known: the flags of the program.
      settings: the paths of the settings of its config; empty: it takes none.
    """
    plain = name.lower().replace("-", "_")
    if FLAGS.get(plain) in known:
        return f"is it --{FLAGS[plain]}?"
    if settings and (hint := of_setting(plain, settings)):
        return hint
    launches = {"nodes", "workers", "image"} & {*known}
    if launches and "config" not in known and plain.split(".")[0] in ("config", "workdir"):
        return "the flags of launch.train stand behind --"
    near = difflib.get_close_matches(plain[:100], known, 1)
    return f"is it --{near[0]}?" if near else ""
