"""Summaries that TensorBoard's plugins read, in their own formats."""

import re
import struct
import time
from collections.abc import Mapping, Sequence

import numpy as np
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.plugins.custom_scalar import summary as custom_scalar
from tensorboard.plugins.histogram import metadata as histogram_metadata
from tensorboard.plugins.hparams import api_pb2
from tensorboard.plugins.hparams import summary as hparams_end
from tensorboard.plugins.hparams import summary_v2 as hparams_start
from tensorboard.plugins.image import metadata as image_metadata
from tensorboard.plugins.pr_curve import summary as pr_curve_summary
from tensorboard.util import tensor_util

from trainer.tasks.shown import LARGE, Curve

_SPLITS = ("train", "validation", "test")
_BUCKETS = 30
_THRESHOLDS = 101  # of a PR curve
# Curves that lie on one chart, as patterns of tags, by its title and that of its group.
_CHARTS = {
    "optimizer": {
        "learning rate": ["train/learning_rate"],
        "norms": ["train/gradient_norm", "train/update_norm"],
    },
    "time and memory": {
        "milliseconds a step": [r"time/.*_ms"],
        "memory in MiB": [r"memory/.*_mib"],
        "tokens a second": ["train/tokens_per_second"],
    },
}


def layout(metrics: Sequence[str], group: str = "", group_metrics: Sequence[str] = ()) -> Summary:
    """The custom scalars page: for each metric of the task training, validation and test.

    Args:
      metrics: of the task.
      group: a word for a group that is judged by itself, see `Task.judge_groups`.
      group_metrics: of each group; a chart holds one metric of all groups on validation.
    """
    quality = {name: [f"{split}/{re.escape(name)}" for split in _SPLITS] for name in metrics}
    of_groups = {
        f"validation {name}": [re.escape(group_tag("validation", name, "")) + ".*"]
        for name in group_metrics
    }
    by = {f"by {group}, at most the {LARGE} most frequent": of_groups} if group else {}
    categories = []
    for title, charts in {"quality": quality, **_CHARTS, **by}.items():  # the page opens three
        made = [
            layout_pb2.Chart(
                title=name, multiline=layout_pb2.MultilineChartContent(tag=[f"^{t}$" for t in tags])
            )
            for name, tags in charts.items()
        ]
        categories.append(layout_pb2.Category(title=title, chart=made))
    return custom_scalar.pb(layout_pb2.Layout(category=categories))


def group_tag(split: str, metric: str, group: str) -> str:
    """The tag of a metric of a group: behind final/…, as the HParams page shows the first tags."""
    return f"groups/{split}/{metric}/{group}"


def session_start(run: str, settings: Mapping[str, bool | float | str]) -> Summary:
    """The settings of a run, which the HParams page compares with those of others."""
    return hparams_start.hparams_pb(dict(settings), trial_id=run, start_time_secs=time.time())


def session_end() -> Summary:
    """The run has ended well."""
    return hparams_end.session_end_pb(api_pb2.STATUS_SUCCESS)


def histogram(name: str, array: np.ndarray) -> Summary:
    """The distribution of the finite values of an array of any shape and float type.

    [buckets, 3] rows of left edge, right edge, count: what TensorBoard's plugin reads.
    """
    values = np.asarray(array).astype(np.float64).ravel()
    values = values[np.isfinite(values)]
    rows = np.zeros((_BUCKETS, 3))
    if values.size:
        counts, edges = np.histogram(values, bins=_BUCKETS)
        rows = np.stack([edges[:-1], edges[1:], counts], axis=-1)
    return _tensor(name, rows, histogram_metadata.create_summary_metadata(None, None))


def image(name: str, png: bytes) -> Summary:
    """A PNG picture."""
    width, height = struct.unpack(">II", png[16:24])
    values = np.array([str(width), str(height), png], object)
    return _tensor(name, values, image_metadata.create_summary_metadata(None, None))


def pr_curve(split: str, shown: Curve) -> Summary:
    """Precision against recall."""
    return pr_curve_summary.pb(
        f"{split}/{shown.name}",
        labels=shown.relevant,
        predictions=shown.scores,
        num_thresholds=_THRESHOLDS,
    )


def _tensor(name: str, values: np.ndarray, metadata) -> Summary:  # type: ignore[no-untyped-def]
    summary = Summary()
    summary.value.add(tag=name, metadata=metadata, tensor=tensor_util.make_tensor_proto(values))
    return summary
