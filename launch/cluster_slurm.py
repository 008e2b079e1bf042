"""The cluster that Slurm's variables tell a task of srun.

`launch.slurm` writes the batch scripts that call srun.
"""

import itertools
import math
import re
from collections.abc import Sequence

from launch.cluster_common import (
    DIGITS,
    Cluster,
    Environment,
    Place,
    check_address,
    check_count,
    check_distinct,
    number_of,
    shown_of,
    text_of,
)
from launch.texts import shortened
from trainer.errors import UserError, shown

# Ports under Slurm: port = 10240 + 1408 × local rank + (job id + 176 × step id) mod 1408. So they
# lie above those of usual services and below Linux's ephemeral ports (32768-60999), and on a node
# these never share one: steps of one number in 1408 consecutive jobs; the first 8 steps of each of
# 176 consecutive jobs; 8 consecutive steps of a job.
_FIRST_PORT = 10240
_SLOTS = 1408
_SLOTS_BETWEEN_STEPS = 176
TASKS_PER_NODE = 16
_INTERACTIVE_STEP = "4294967290"  # the shell that salloc opens where use_interactive_step is set


def place_of(environment: Environment) -> Place | None:
    """This task's rank in its step; None outside of a step that srun started."""
    names = ("JOB_ID", "PROCID", "STEP_ID", "STEP_NODELIST", "STEP_NUM_TASKS")
    if not all(text_of(environment, f"SLURM_{name}") for name in names) or _foreign(environment):
        return None
    rank = number_of(environment, "SLURM_PROCID")
    tasks = number_of(environment, "SLURM_STEP_NUM_TASKS")
    if rank >= tasks:
        raise UserError(
            f"SLURM_PROCID is {rank}, but SLURM_STEP_NUM_TASKS is {tasks}: start it with srun"
        )
    job, step = shown_of(environment, "SLURM_JOB_ID"), shown_of(environment, "SLURM_STEP_ID")
    step = "interactive" if step == _INTERACTIVE_STEP else step
    return Place(f"Slurm step {job}.{step}", rank, tasks)


def _foreign(environment: Environment) -> str:
    """Why the step in the environment is not that of this process, or nothing.

    A batch shell inherits the variables of a step in which sbatch was called; the shell that salloc
    opens on a node is a step of its own, within a job of more tasks. In a step of srun these agree.
    """
    for ours, steps in (
        ("SLURM_NTASKS", "SLURM_STEP_NUM_TASKS"),
        ("SLURM_NNODES", "SLURM_STEP_NUM_NODES"),
    ):
        one, other = text_of(environment, ours), text_of(environment, steps)
        if one and other and one != other:
            said = shown_of(environment, ours), shown_of(environment, steps)
            return f"{ours} is {said[0]} and {steps} {said[1]}"
    return ""


def read(environment: Environment) -> Cluster | None:
    """The workers of a step of srun, or this machine alone; None outside of a job.

    Raises:
      UserError: what Slurm says is incomplete, or does not say where each task is.
    """
    if not text_of(environment, "SLURM_JOB_ID"):
        return None
    place = place_of(environment)
    if not place:
        _check_one_task(environment)
        return Cluster((), 0, f"Slurm job {shown_of(environment, 'SLURM_JOB_ID')}")
    if place.count == 1:
        return Cluster((), 0, place.source)
    check_count(place.count, place.source)
    nodes = expand_nodes(text_of(environment, "SLURM_STEP_NODELIST"))
    for node in nodes:
        check_address(f"{node}:{_FIRST_PORT}", "SLURM_STEP_NODELIST")
    counts = _tasks_per_node(text_of(environment, "SLURM_STEP_TASKS_PER_NODE"))
    if len(nodes) != len(counts) or sum(counts) != place.count:
        raise UserError(
            f"{place.source}: {len(nodes)} nodes in SLURM_STEP_NODELIST, {sum(counts)} tasks on"
            f" {len(counts)} nodes in SLURM_STEP_TASKS_PER_NODE, {place.count} in"
            " SLURM_STEP_NUM_TASKS: start it with srun, or give --hosts and --index"
        )
    if max(counts) > TASKS_PER_NODE:
        raise UserError(
            f"{place.source} has {max(counts)} tasks on a node, ports are kept for"
            f" {TASKS_PER_NODE}: start fewer, or give --hosts and --index"
        )
    layout = _deal(counts, _chunk(environment, counts, place.source))
    _check_own_place(environment, nodes, layout[place.index], place)
    job, step = number_of(environment, "SLURM_JOB_ID"), number_of(environment, "SLURM_STEP_ID")
    base = _FIRST_PORT + (job + _SLOTS_BETWEEN_STEPS * step) % _SLOTS
    addresses = tuple(f"{nodes[node]}:{base + _SLOTS * local}" for node, local in layout)
    check_distinct(addresses, place.source)
    return Cluster(addresses, place.index, place.source)


def _check_one_task(environment: Environment) -> None:
    """Raises a UserError where srun should have started this process and its peers."""
    # Without --ntasks a job has a task a node, and no SLURM_NTASKS.
    sizes = ("SLURM_NTASKS", "SLURM_STEP_NUM_TASKS", "SLURM_NNODES", "SLURM_JOB_NUM_NODES")
    tasks = max(number_of(environment, name) for name in sizes)
    if tasks > 1:
        job = shown_of(environment, "SLURM_JOB_ID")
        why = _foreign(environment) or f"there are {tasks} tasks"
        raise UserError(
            f"Slurm job {job}: {why}, but srun did not start this process: start it with srun, or"
            " ask for one task on one node"
        )


def expand_nodes(text: str) -> list[str]:
    """The names in a node list of Slurm's, in its order: "a1,n[9-10]" is a1, n9, n10.

    Raises:
      UserError: it is not such a list.
    """
    number = "[0-9]+(?:-[0-9]+)?"
    name = rf"(?:[\w.-]|\[{number}(?:,{number})*\])+"
    groups = re.findall(name, text)
    # Outside and inside of brackets, by turns.
    parts = [re.split(r"[][]", group) for group in groups]
    if ",".join(groups) != text or not all(all(_counts(each)) for each in parts):
        raise UserError(
            f"cannot read the node list {shown(text)} of Slurm: give --hosts and --index"
        )
    check_count(sum(math.prod(_counts(each)) for each in parts), "SLURM_STEP_NODELIST")
    choices = [
        [_numbers(part) if i % 2 else [part] for i, part in enumerate(each)] for each in parts
    ]
    return ["".join(each) for choice in choices for each in itertools.product(*choice)]


def _counts(parts: Sequence[str]) -> list[int]:
    """The number of choices of each part of a name; 0 for ranges that are none."""
    return [_count(part) if i % 2 else 1 for i, part in enumerate(parts)]


def _count(ranges: str) -> int:
    """The count of numbers in "08-11,20"; 0 where a range is empty or has many digits."""
    pairs = [each.partition("-")[::2] for each in ranges.split(",")]
    if any(len(number) > DIGITS for pair in pairs for number in pair):
        return 0
    counts = [int(high or low) - int(low) + 1 for low, high in pairs]
    return sum(counts) if min(counts) > 0 else 0


def _numbers(ranges: str) -> list[str]:
    """The numbers of "08-11,20", with their leading zeros."""
    numbers = []
    for each in ranges.split(","):
        low, _, high = each.partition("-")
        numbers += [f"{i:0{len(low)}}" for i in range(int(low), int(high or low) + 1)]
    return numbers


def _tasks_per_node(text: str) -> list[int]:
    """The tasks of each node: "2(x3),1" is 2, 2, 2, 1."""
    counts: list[int] = []
    for each in text.split(","):
        match = re.fullmatch(r"([0-9]{1,9})(?:\(x([0-9]{1,9})\))?", each)
        if not match:
            raise UserError(
                f"cannot read SLURM_STEP_TASKS_PER_NODE={shown(text)}: give --hosts and --index"
            )
        check_count(len(counts) + int(match[2] or 1), "SLURM_STEP_TASKS_PER_NODE")
        counts += [int(match[1])] * int(match[2] or 1)
    return counts


def _chunk(environment: Environment, counts: Sequence[int], source: str) -> int:
    """The number of consecutive ranks that a node takes at its turn."""
    text = text_of(environment, "SLURM_DISTRIBUTION").lower()
    kind, _, size = re.split("[:,]", text)[0].partition("=")  # what follows is about sockets
    if kind in ("", "*", "block") or len(counts) == 1:
        return max(counts)  # also where nothing is set: with a task a node it is cyclic as well
    if kind == "cyclic":
        return 1
    if kind == "plane":
        chunk = (
            int(size)
            if re.fullmatch("[0-9]{1,9}", size)
            else number_of(environment, "SLURM_DIST_PLANESIZE")
        )
        if chunk:
            return chunk
    # Even with one task a node, an arbitrary layout need not be in the order of the node list.
    raise UserError(
        f"{source}: which task is on which node does not follow from SLURM_DISTRIBUTION="
        f"{shortened(text)}:"
        " start it with srun --distribution=block, or give --hosts and --index"
    )


def _deal(counts: Sequence[int], chunk: int) -> list[tuple[int, int]]:
    """Node and local rank of each rank, where nodes in turn take `chunk` ranks until full."""
    layout: list[tuple[int, int]] = []
    dealt = [0] * len(counts)
    while len(layout) < sum(counts):
        for node, count in enumerate(counts):
            for local in range(dealt[node], min(dealt[node] + chunk, count)):
                layout.append((node, local))
                dealt[node] = local + 1
    return layout


def _check_own_place(
    environment: Environment, nodes: Sequence[str], own: tuple[int, int], place: Place
) -> None:
    """Raises a UserError where Slurm put this task elsewhere; each task checks its own place."""
    node, local = own
    for name, derived in (
        ("SLURM_NODEID", str(node)),
        ("SLURM_LOCALID", str(local)),
        ("SLURMD_NODENAME", nodes[node]),
    ):
        said = text_of(environment, name)
        if said and said != derived:
            raise UserError(
                f"{place.source}: rank {place.index} should be task {local} of node {node}"
                f" ({nodes[node]}), but Slurm says {name}={shortened(said)}: give --hosts and"
                " --index"
            )
