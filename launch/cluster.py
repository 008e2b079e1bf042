"""The workers that make up a run, and the one that this process is.

They are stated (--hosts and --index, or TF_CONFIG), or follow from what Slurm or Kubernetes tell
each process. Sources that contradict each other are refused.
"""

import re
from collections.abc import Sequence

from launch import cluster_kubernetes, cluster_slurm
from launch.cluster_common import (
    HERE,
    Cluster,
    Environment,
    Place,
    check_address,
    check_count,
    check_distinct,
    text_of,
)
from launch.texts import shortened
from trainer.errors import UserError, shown
from trainer.storage import strict_json


def resolve(
    environment: Environment, hosts: Sequence[str] = (), index: int | None = None
) -> Cluster:
    """The cluster that this process belongs to.

    Args:
      environment: the variables of this process.
      hosts: --hosts, "host:port" of each worker, the chief first.
      index: --index, the place of this process in `hosts`.

    Raises:
      UserError: what is said is wrong or incomplete, or two sources contradict each other.
    """
    flags, tf_config = _from_flags(hosts, index), _from_tf_config(environment)
    if flags and tf_config:
        if flags.addresses != tf_config.addresses:
            raise UserError("--hosts and TF_CONFIG name different workers: give one of them")
        _check_same_place(flags, tf_config)
    stated = flags or tf_config
    if stated:
        _check_same_place(stated, cluster_slurm.place_of(environment))
        _check_same_place(stated, cluster_kubernetes.place_of(environment))
        return stated
    slurm, kubernetes = cluster_slurm.read(environment), cluster_kubernetes.read(environment)
    if slurm and slurm.count > 1:
        _check_same_place(slurm, cluster_kubernetes.place_of(environment))
        return slurm
    if kubernetes and kubernetes.count > 1:
        return kubernetes
    return slurm or kubernetes or Cluster((), 0, HERE)


def secret(environment: Environment) -> str:
    """THAW_SECRET, which launchers give to all workers of a run; empty where it is not set.

    Raises:
      UserError: it is too short, too long or not ASCII; the message does not show it.
    """
    text = environment.get("THAW_SECRET", "")
    if text and not re.fullmatch("[!-~]{16,1024}", text):
        raise UserError(
            f"THAW_SECRET has {len(text):,} characters: give 16 to 1,024, of ASCII and without"
            " blanks, the same to all workers, or unset it"
        )
    return text


def _check_same_place(cluster: Cluster, place: Cluster | Place | None) -> None:
    """Raises a UserError where another source knows this process by another rank or count."""
    # One task may well start several workers, as launch.local does: it says nothing of them.
    if not place or place.count == 1:
        return
    if (cluster.index, cluster.count) != (place.index, place.count):
        raise UserError(
            f"{cluster.source} says that this is worker {cluster.index} of {cluster.count},"
            f" {place.source} that it is worker {place.index} of {place.count}: correct one of them"
        )


# Stated clusters


def _from_flags(hosts: Sequence[str], index: int | None) -> Cluster | None:
    if not hosts and index is None:
        return None
    if not hosts or index is None:
        given, missing = ("--hosts", "--index") if hosts else ("--index", "--hosts")
        raise UserError(f"{given} is given without {missing}: give both, or neither")
    return _stated(hosts, index, "--hosts", "--index")


def _from_tf_config(environment: Environment) -> Cluster | None:
    text = text_of(environment, "TF_CONFIG")
    if not text:
        return None
    try:
        config = strict_json.loads(text)
    except strict_json.InvalidJson as error:
        raise UserError(f"TF_CONFIG is not JSON ({error}): correct or unset it") from error
    cluster = config.get("cluster", {}) if isinstance(config, dict) else None
    if not isinstance(cluster, dict):
        raise UserError('TF_CONFIG must be {"cluster": {"worker": [...]}, "task": {...}}')
    task = config.get("task")
    if not isinstance(task, dict):
        task = {}
    kind, index = task.get("type"), str(task.get("index"))
    for name in [*cluster, kind] if isinstance(kind, str) else cluster:
        if name not in ("chief", "worker"):
            reason = {
                "evaluator": "no evaluator is needed, all workers evaluate",
                "ps": "there are no parameter servers",
            }.get(name, "there are only workers, and one of them may be called the chief")
            raise UserError(f"TF_CONFIG has {shown(name)}, but {reason}: leave it out")
    for name, addresses in cluster.items():
        if not isinstance(addresses, list) or not all(isinstance(a, str) for a in addresses):
            raise UserError(f'TF_CONFIG: cluster.{name} must be a list of "host:port"')
    chief, workers = cluster.get("chief", []), cluster.get("worker", [])
    if not chief and not workers:
        return None
    if len(chief) > 1:
        raise UserError(f"TF_CONFIG has {len(chief)} chiefs: give one, the others as workers")
    if kind not in ("chief", "worker") or not re.fullmatch("-?[0-9]{1,9}", index):
        raise UserError(
            'TF_CONFIG does not say which worker this is: "task": {"type": "worker", "index": 0}'
        )
    group = chief if kind == "chief" else workers
    if int(index) not in range(len(group)):
        raise UserError(f"TF_CONFIG: task.index is {index}, but there are {len(group)} {kind}s")
    rank = int(index) + (len(chief) if kind == "worker" else 0)
    return _stated(chief + workers, rank, "TF_CONFIG", "TF_CONFIG: task.index")


def _stated(texts: Sequence[str], index: int, source: str, index_name: str) -> Cluster:
    check_count(len(texts), source)
    addresses = tuple(text.strip() for text in texts)
    for address in addresses:
        check_address(address, source)
    check_distinct(addresses, source)
    if index not in range(len(addresses)):
        raise UserError(
            f"{index_name} is {shortened(str(index))}, but {source} names {len(addresses)}"
            " worker(s), counted from 0"
        )
    return Cluster(addresses if len(addresses) > 1 else (), index, source)
