"""The workers that make up a run, and the one that this process is.

They are stated (--hosts and --index, or TF_CONFIG), or follow from what Slurm or Kubernetes tell
each process. Sources that contradict each other are refused.
"""

import ipaddress
import itertools
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from launch.texts import shortened
from trainer.errors import UserError, shown
from trainer.storage import strict_json

HERE = "this machine"  # the source where nothing is said of other workers
MAX_WORKERS = 4096  # more than any run has: a wrong number is refused before it fills the memory
KUBERNETES_PORT = 2222  # where THAW_PORT is not set: each pod has its own address

# Ports under Slurm: port = 10240 + 1408 × local rank + (job id + 176 × step id) mod 1408. So they
# lie above those of usual services and below Linux's ephemeral ports (32768-60999), and on a node
# these never share one: steps of one number in 1408 consecutive jobs; the first 8 steps of each of
# 176 consecutive jobs; 8 consecutive steps of a job.
_FIRST_PORT = 10240
_SLOTS = 1408
_SLOTS_BETWEEN_STEPS = 176
TASKS_PER_NODE = 16
_DIGITS = 10  # of the largest number that Slurm gives
_INTERACTIVE_STEP = "4294967290"  # the shell that salloc opens where use_interactive_step is set

Environment = Mapping[str, str]


@dataclass(frozen=True)
class Cluster:
    """The workers of a run.

    Attributes:
      addresses: "host:port" of each worker by its rank, the chief first; empty: this machine alone.
      index: the rank of this process.
      source: what says so, such as "TF_CONFIG" or "Slurm step 12.0".
    """

    addresses: tuple[str, ...]
    index: int
    source: str

    @property
    def count(self) -> int:
        """How many workers there are."""
        return max(len(self.addresses), 1)

    def describe(self) -> list[str]:
        """A heading with the count and the source, then a line for each worker."""
        addresses = self.addresses or (HERE,)
        width = max(map(len, addresses))
        lines = [f"{self.count} worker{'s' * (self.count > 1)} ({self.source}):"]
        for rank, address in enumerate(addresses):
            notes = ["chief"] * (rank == 0) + ["(this process)"] * (rank == self.index)
            line = f"  {rank:>{len(str(self.count - 1))}}  {address:<{width}}  {' '.join(notes)}"
            lines.append(line.rstrip())
        return lines


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
        _check_same_place(stated, _slurm_place(environment))
        _check_same_place(stated, _kubernetes_place(environment))
        return stated
    slurm, kubernetes = _from_slurm(environment), _from_kubernetes(environment)
    if slurm and slurm.count > 1:
        _check_same_place(slurm, _kubernetes_place(environment))
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


@dataclass(frozen=True)
class _Place:
    """The place of this process according to a scheduler that names no addresses."""

    source: str
    index: int
    count: int


def _check_same_place(cluster: Cluster, place: Cluster | _Place | None) -> None:
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
    text = _value(environment, "TF_CONFIG")
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
    _check_count(len(texts), source)
    addresses = tuple(text.strip() for text in texts)
    for address in addresses:
        _check_address(address, source)
    _check_distinct(addresses, source)
    if index not in range(len(addresses)):
        raise UserError(
            f"{index_name} is {shortened(str(index))}, but {source} names {len(addresses)}"
            " worker(s), counted from 0"
        )
    return Cluster(addresses if len(addresses) > 1 else (), index, source)


def _check_address(address: str, source: str) -> None:
    if not address:
        raise UserError(f"{source} has an empty entry: give each worker as host:port")
    host, _, port = address.rpartition(":")
    try:
        if re.fullmatch(r"\[[\w:.%-]{2,80}\]", host):
            ipaddress.IPv6Address(host[1:-1])
        elif not re.fullmatch(r"[\w.-]{1,253}", host) or not host.encode("idna"):
            raise ValueError  # of which a UnicodeError is one: an empty or long part of a name
    except ValueError:
        raise UserError(
            f"{source}: {shown(address)} is not host:port (an IPv6 address goes in brackets)"
        ) from None
    if not _is_port(port):
        raise UserError(f"{source}: {shown(address)} needs a port from 1 to 65535 after the colon")


def _check_count(count: int, source: str) -> None:
    if count > MAX_WORKERS:
        shown = f"{count:,}" if count < 10**12 else "countless"
        raise UserError(f"{source} names {shown} workers, more than {MAX_WORKERS:,}: correct it")


def _check_distinct(addresses: Sequence[str], source: str) -> None:
    seen: set[str] = set()
    for address in addresses:
        if address.lower() in seen:
            raise UserError(f"{source}: {address} stands twice, each worker needs its own port")
        seen.add(address.lower())


# Slurm


def _slurm_place(environment: Environment) -> _Place | None:
    """This task's rank in its step; None outside of a step that srun started."""
    names = ("JOB_ID", "PROCID", "STEP_ID", "STEP_NODELIST", "STEP_NUM_TASKS")
    if not all(_value(environment, f"SLURM_{name}") for name in names) or _foreign(environment):
        return None
    rank = _number(environment, "SLURM_PROCID")
    tasks = _number(environment, "SLURM_STEP_NUM_TASKS")
    if rank >= tasks:
        raise UserError(
            f"SLURM_PROCID is {rank}, but SLURM_STEP_NUM_TASKS is {tasks}: start it with srun"
        )
    job, step = _shown(environment, "SLURM_JOB_ID"), _shown(environment, "SLURM_STEP_ID")
    step = "interactive" if step == _INTERACTIVE_STEP else step
    return _Place(f"Slurm step {job}.{step}", rank, tasks)


def _foreign(environment: Environment) -> str:
    """Why the step in the environment is not that of this process, or nothing.

    A batch shell inherits the variables of a step in which sbatch was called; the shell that salloc
    opens on a node is a step of its own, within a job of more tasks. In a step of srun these agree.
    """
    for ours, steps in (
        ("SLURM_NTASKS", "SLURM_STEP_NUM_TASKS"),
        ("SLURM_NNODES", "SLURM_STEP_NUM_NODES"),
    ):
        one, other = _value(environment, ours), _value(environment, steps)
        if one and other and one != other:
            return f"{ours} is {_shown(environment, ours)} and {steps} {_shown(environment, steps)}"
    return ""


def _from_slurm(environment: Environment) -> Cluster | None:
    if not _value(environment, "SLURM_JOB_ID"):
        return None
    place = _slurm_place(environment)
    if not place:
        _check_one_task(environment)
        return Cluster((), 0, f"Slurm job {_shown(environment, 'SLURM_JOB_ID')}")
    if place.count == 1:
        return Cluster((), 0, place.source)
    _check_count(place.count, place.source)
    nodes = expand_nodes(_value(environment, "SLURM_STEP_NODELIST"))
    for node in nodes:
        _check_address(f"{node}:{_FIRST_PORT}", "SLURM_STEP_NODELIST")
    counts = _tasks_per_node(_value(environment, "SLURM_STEP_TASKS_PER_NODE"))
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
    job, step = _number(environment, "SLURM_JOB_ID"), _number(environment, "SLURM_STEP_ID")
    base = _FIRST_PORT + (job + _SLOTS_BETWEEN_STEPS * step) % _SLOTS
    addresses = tuple(f"{nodes[node]}:{base + _SLOTS * local}" for node, local in layout)
    _check_distinct(addresses, place.source)
    return Cluster(addresses, place.index, place.source)


def _check_one_task(environment: Environment) -> None:
    """Raises a UserError where srun should have started this process and its peers."""
    # Without --ntasks a job has a task a node, and no SLURM_NTASKS.
    sizes = ("SLURM_NTASKS", "SLURM_STEP_NUM_TASKS", "SLURM_NNODES", "SLURM_JOB_NUM_NODES")
    tasks = max(_number(environment, name) for name in sizes)
    if tasks > 1:
        job = _shown(environment, "SLURM_JOB_ID")
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
    _check_count(sum(math.prod(_counts(each)) for each in parts), "SLURM_STEP_NODELIST")
    choices = [
        [_numbers(part) if i % 2 else [part] for i, part in enumerate(each)] for each in parts
    ]
    return ["".join(each) for choice in choices for each in itertools.product(*choice)]


def _counts(parts: Sequence[str]) -> list[int]:
    """How many choices each part of a name has; 0 for ranges that are none."""
    return [_count(part) if i % 2 else 1 for i, part in enumerate(parts)]


def _count(ranges: str) -> int:
    """How many numbers "08-11,20" has; 0 where one of its ranges is empty or has many digits."""
    pairs = [each.partition("-")[::2] for each in ranges.split(",")]
    if any(len(number) > _DIGITS for pair in pairs for number in pair):
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
    """How many tasks each node has: "2(x3),1" is 2, 2, 2, 1."""
    counts: list[int] = []
    for each in text.split(","):
        match = re.fullmatch(r"([0-9]{1,9})(?:\(x([0-9]{1,9})\))?", each)
        if not match:
            raise UserError(
                f"cannot read SLURM_STEP_TASKS_PER_NODE={shown(text)}: give --hosts and --index"
            )
        _check_count(len(counts) + int(match[2] or 1), "SLURM_STEP_TASKS_PER_NODE")
        counts += [int(match[1])] * int(match[2] or 1)
    return counts


def _chunk(environment: Environment, counts: Sequence[int], source: str) -> int:
    """How many consecutive ranks a node takes at its turn."""
    text = _value(environment, "SLURM_DISTRIBUTION").lower()
    kind, _, size = re.split("[:,]", text)[0].partition("=")  # what follows is about sockets
    if kind in ("", "*", "block") or len(counts) == 1:
        return max(counts)  # also where nothing is set: with a task a node it is cyclic as well
    if kind == "cyclic":
        return 1
    if kind == "plane":
        chunk = (
            int(size)
            if re.fullmatch("[0-9]{1,9}", size)
            else _number(environment, "SLURM_DIST_PLANESIZE")
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
    environment: Environment, nodes: Sequence[str], own: tuple[int, int], place: _Place
) -> None:
    """Raises a UserError where Slurm put this task elsewhere; each task checks its own place."""
    node, local = own
    for name, derived in (
        ("SLURM_NODEID", str(node)),
        ("SLURM_LOCALID", str(local)),
        ("SLURMD_NODENAME", nodes[node]),
    ):
        said = _value(environment, name)
        if said and said != derived:
            raise UserError(
                f"{place.source}: rank {place.index} should be task {local} of node {node}"
                f" ({nodes[node]}), but Slurm says {name}={shortened(said)}: give --hosts and"
                " --index"
            )


# Kubernetes


def _kubernetes_place(environment: Environment) -> _Place | None:
    """This pod's place in its Job; None where the number of workers or the index is not set."""
    if not _value(environment, "THAW_WORKERS") or not _value(environment, "JOB_COMPLETION_INDEX"):
        return None
    index = _number(environment, "JOB_COMPLETION_INDEX")
    return _Place("Kubernetes", index, _number(environment, "THAW_WORKERS"))


def _from_kubernetes(environment: Environment) -> Cluster | None:
    """From what launch.kubernetes writes into a manifest, and the index of an Indexed Job."""
    names = ("THAW_WORKERS", "THAW_JOB", "THAW_SERVICE", "JOB_COMPLETION_INDEX")
    given = [name for name in names if _value(environment, name)]
    if not given:
        return None
    count = _number(environment, "THAW_WORKERS") if "THAW_WORKERS" in given else None
    index = _number(environment, "JOB_COMPLETION_INDEX")
    # An Indexed Job of one completion needs nothing; of a larger one the other pods refuse.
    alone = count == 1 or (given == ["JOB_COMPLETION_INDEX"] and index == 0)
    missing = [name for name in names if name not in given]
    if missing and not alone:
        raise UserError(
            f"Kubernetes: {given[0]} is set without {', '.join(missing)}: set them as"
            " launch.kubernetes does, or unset it where each pod is a run of its own"
        )
    if count is not None and index >= count:
        raise UserError(
            f"Kubernetes: JOB_COMPLETION_INDEX is {index}, but THAW_WORKERS is {count}:"
            " it must be the completions of the Job"
        )
    if count is None or count == 1:
        return Cluster((), 0, "Kubernetes")
    port = _value(environment, "THAW_PORT") or str(KUBERNETES_PORT)
    if not _is_port(port):
        # Kubernetes itself sets it, to tcp://..., where a Service is called thaw.
        raise UserError(
            f"THAW_PORT is {shown(port)}: set it to a port from 1 to 65535 in the manifest"
        )
    job, service = _value(environment, "THAW_JOB"), _value(environment, "THAW_SERVICE")
    _check_count(count, "THAW_WORKERS")
    addresses = tuple(f"{job}-{i}.{service}:{port}" for i in range(count))
    _check_address(addresses[-1], "Kubernetes")
    return Cluster(addresses, index, "Kubernetes")


def _is_port(text: str) -> bool:
    return re.fullmatch("[0-9]{1,5}", text) is not None and 1 <= int(text) <= 65535


def _value(environment: Environment, name: str) -> str:
    return environment.get(name, "").strip()


def _shown(environment: Environment, name: str) -> str:
    """A variable's value for a message."""
    return shortened(_value(environment, name))


def _number(environment: Environment, name: str) -> int:
    """A variable's whole number, 0 where it is not set."""
    text = _value(environment, name) or "0"
    if not re.fullmatch(f"[0-9]{{1,{_DIGITS}}}", text):
        raise UserError(f"{name} is {shown(text)}, not a whole number: correct or unset it")
    return int(text)
