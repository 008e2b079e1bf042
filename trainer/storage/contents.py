"""Contents of config.json and result.json besides the settings, checked where they are read.

The values come from a run of this library, or from a stranger who sealed others: what is missing,
of another type or out of range raises `fields.Invalid`.
"""

import re
from collections.abc import Mapping
from typing import Any

from trainer.storage import fields

# Where derived holds the sha256 of each file of tokenizer/, by its path there.
TOKENIZER_FILES = "tokenizer_files"
LOG = "metrics.jsonl"
SCORES = {split: f"scores/{split}.npz" for split in ("validation", "test")}
# For TensorBoard's projector, written at the end of a run.
PROJECTOR = (
    "tensorboard/validation_vectors.tsv",
    "tensorboard/validation_metadata.tsv",
    "tensorboard/projector_config.pbtxt",
)
_SHA256 = re.compile("[0-9a-f]{64}")


def derived(values: Mapping[str, Any]) -> dict[str, Any]:
    """The "derived" part of config.json: what followed from the settings and the data."""
    found = fields.mapping(values, "derived")
    for name in ("pretrained", "pretrained_sha256"):
        if fields.value(found, name) is not None:
            fields.mapping(found, name)
    if found["pretrained_sha256"] is not None:
        _digests(found, "pretrained_sha256")
    fields.mapping(found, "facts")
    fields.text(found, "tokenizer")
    fingerprints = fields.mapping(found, "data_fingerprint")
    for split in {"train", *fingerprints}:
        fields.text(fingerprints, split)
    buckets = fields.items(found, "buckets", 10_000)
    pairs = len(buckets) == 2 and all(isinstance(each, list) for each in buckets)
    for each in buckets if pairs else [buckets]:
        _check_lengths(each)
    _digests(found, TOKENIZER_FILES)
    return found


def _check_lengths(found: list[Any]) -> None:
    if not found or not all(type(each) is int and each > 0 for each in found):
        raise fields.Invalid("buckets must hold lengths")
    if sorted(set(found)) != found:
        raise fields.Invalid("buckets must ascend")


def result(values: dict[str, Any]) -> dict[str, Any]:
    """The contents of result.json."""
    more = fields.mapping(values, "more_tests") if "more_tests" in values else {}
    sets = [(split, values) for split in ("validation", "test") if split in values]
    for split, of in [*sets, *((name, more) for name in more)]:
        metrics = fields.mapping(of, split)
        for name in metrics:
            fields.number_or_nan(metrics, name)
        fields.integer(metrics, "examples", low=1)
        fields.number_or_nan(metrics, "loss")
    if "groups" in values:
        _groups(fields.mapping(values, "groups"))
    if "groups_left_out" in values:
        left = fields.mapping(values, "groups_left_out")
        for split in left:
            fields.integer(left, split, low=0)
    fields.integer(values, "steps")
    fields.integer(values, "best_step", high=values["steps"])
    for name, low in (("skipped_steps", 0), ("parameters", 0), ("replicas", 1)):
        fields.integer(values, name, low)
    fields.flag(values, "finished")
    fields.number(values, "wall_seconds", low=0)
    seconds, versions = fields.mapping(values, "seconds"), fields.mapping(values, "versions")
    for name in seconds:
        fields.number(seconds, name, low=0)
    for name in versions:
        fields.text(versions, name)
    fields.text(_digests(values, "sha256"), LOG)  # and those of SCORES that were kept
    return values


def _groups(sets: Mapping[str, Any]) -> None:
    """Checks the metrics of each group of each set."""
    for split in sets:
        groups = fields.mapping(sets, split)
        for group in groups:
            metrics = fields.mapping(groups, group)
            for name in metrics:
                fields.number_or_nan(metrics, name)


def _digests(values: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Files with the sha256 of each, in hex."""
    found = fields.mapping(values, name)
    for file in found:
        if not _SHA256.fullmatch(fields.text(found, file)):
            raise fields.Invalid(f"{name} must hold the sha256 of files")
    return found
