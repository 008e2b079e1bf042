"""Vectors of texts for TensorBoard's embedding projector.

Files beside the event file, as the plugin wants them: tab-separated vectors and metadata, and
projector_config.pbtxt that names them.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tensorboard.plugins.projector import ProjectorConfig

from trainer.storage.disk import replace

_TEXT_LENGTH = 200  # characters of a text


class Vectors(NamedTuple):
    """Pooled vectors of some texts.

    Attributes:
      values: float [N, D]. texts, ids: N.
      captions: by name, N texts: of what is known of each, of what was answered.
    """

    values: np.ndarray
    texts: Sequence[str]
    ids: Sequence[int]
    captions: Mapping[str, Sequence[str]]


def write(folder: Path, name: str, vectors: Vectors) -> None:
    """Writes the vectors of `name` ("validation") into a TensorBoard folder."""
    rows = ("\t".join(f"{value:.6g}" for value in row) for row in vectors.values)
    replace(folder / f"{name}_vectors.tsv", "".join(f"{row}\n" for row in rows))
    columns = (*vectors.captions.values(), map(str, vectors.ids), vectors.texts)
    lines = ["\t".join([*vectors.captions, "id", "text"])]
    lines += ["\t".join(map(_cell, row)) for row in zip(*columns, strict=True)]
    replace(folder / f"{name}_metadata.tsv", "\n".join(lines) + "\n")
    config = ProjectorConfig()
    config.embeddings.add(
        tensor_name=f"pooled vectors, {name}",
        tensor_path=f"{name}_vectors.tsv",
        metadata_path=f"{name}_metadata.tsv",
    )
    replace(folder / "projector_config.pbtxt", str(config))


def _cell(text: str) -> str:
    """On one line, without a tab."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return line if len(line) <= _TEXT_LENGTH else f"{line[: _TEXT_LENGTH - 1]}…"
