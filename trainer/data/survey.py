"""Facts of all rows of train that decide how it is cut, and how large a run should be."""

import hashlib
import math
from array import array
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

import numpy as np

from trainer.data.columns import Row
from trainer.tasks.task import Task

SAMPLE = 4_000  # rows whose texts are kept, at most twice as many
LONGEST = 2**14  # characters of such a text: more than any length that is chosen by them
WINDOW = 1_000  # characters of a window, about, where a long text is cut into some
LEAST = 5  # rows of a stratum from which on each part has one of it


class Survey(NamedTuple):
    """The rows of a set.

    Attributes:
      rows: how many there are; of a task that cuts long texts into windows, of these, about.
      sample: the texts of some of them, evenly spread, or as much of each as LONGEST.
    """

    rows: int
    sample: list[list[str]]


def survey(rows: Iterable[Row], task: Task) -> Survey:
    """Reads all rows of a set."""
    sample: list[list[str]] = []
    count, windows, every = 0, 0, 1
    for row in rows:
        texts = task.texts(row)
        windows += max(math.ceil(sum(map(len, texts)) / WINDOW), 1)
        if count % every == 0:
            sample.append([text[:LONGEST] for text in texts])
            if len(sample) > 2 * SAMPLE:
                sample, every = sample[::2], 2 * every
        count += 1
    return Survey(windows if task.cuts_in_windows else count, sample)


def place_of(*texts: str) -> float:
    """The place in [0, 1) of these texts by a hash: always the same for the same texts."""
    digest = hashlib.sha256(("validation\0" + "\0".join(texts)).encode()).hexdigest()
    return int(digest[:16], 16) / 2**64


class Strata:
    """Parts cut from train so that each has its share of every stratum, such as a label.

    Within a stratum, different texts are ordered by their hash, and the parts take them from the
    start. A text that stands under two labels counts for the first: it is never on two sides.

    Args:
      rows: all rows of train.
      task: says which stratum a row is of.
      shares: by the name of a part, its share of the rows.
    """

    def __init__(self, rows: Iterator[Row], task: Task, shares: Mapping[str, float]):
        ids: dict[str, int] = {}
        places, strata = array("d"), array("l")
        for row in rows:
            places.append(place_of(*task.identity(row)))
            strata.append(ids.setdefault(task.stratum(row), len(ids)))
        different, first = np.unique(np.frombuffer(places), return_index=True)
        of = np.frombuffer(strata, np.dtype("l"))[first]
        order = np.argsort(of, kind="stable")  # by stratum, and within it by hash
        taken: dict[str, list[np.ndarray]] = {name: [] for name in shares}
        for each in np.split(order, np.cumsum(np.bincount(of))[:-1]) if len(of) else []:
            start = 0
            for name, share in shares.items():
                count = round(share * len(each))
                if len(each) >= LEAST:
                    count = max(count, 1)
                taken[name].append(different[each[start : start + count]])
                start += count
        self._parts = {
            name: np.sort(np.concatenate(parts)) if parts else np.zeros(0)
            for name, parts in taken.items()
        }

    def part(self, place: float) -> str:
        """The part in which a text of that place is; "train" for the rest."""
        for name, places in self._parts.items():
            at = int(np.searchsorted(places, place))
            if at < len(places) and places[at] == place:
                return name
        return "train"
