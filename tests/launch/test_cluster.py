"""What the environment says of a cluster; what stands here of Slurm is what Slurm 22.05 printed."""

import itertools
import json
import random
import re
import subprocess
import sys

import pytest
from programs import ROOT

from launch.cluster import Cluster, expand_nodes, resolve, secret
from trainer.errors import UserError

HOSTS = ["a:2222", "b:2222", "c:2222"]


def tf_config(worker=(), task=("worker", 0), **cluster) -> dict[str, str]:
    """An environment with the TF_CONFIG of these workers."""
    if worker:
        cluster["worker"] = list(worker)
    config = {"cluster": cluster, "task": dict(zip(("type", "index"), task, strict=True))}
    return {"TF_CONFIG": json.dumps(config)}


def slurm_task(rank: int, nodes: str, tasks_per_node: str, places: str, **changes) -> dict:
    """What srun gives to the task of this rank; `places` names the node of each rank."""
    place_of = places.split()
    names = list(dict.fromkeys(expand_nodes(nodes)))
    environment = {
        "SLURM_JOB_ID": "12",
        "SLURM_STEP_ID": "3",
        "SLURM_STEP_NODELIST": nodes,
        "SLURM_STEP_NUM_NODES": str(len(names)),
        "SLURM_NNODES": str(len(names)),
        "SLURM_STEP_NUM_TASKS": str(len(place_of)),
        "SLURM_NTASKS": str(len(place_of)),
        "SLURM_STEP_TASKS_PER_NODE": tasks_per_node,
        "SLURM_PROCID": str(rank),
        "SLURM_NODEID": str(names.index(place_of[rank])),
        "SLURM_LOCALID": str(place_of[:rank].count(place_of[rank])),
        "SLURMD_NODENAME": place_of[rank],
        **changes,
    }
    return {name: value for name, value in environment.items() if value is not None}


def pod(index: int | None = 0, **changes) -> dict[str, str]:
    """What a pod of launch.kubernetes's manifest sees, three workers."""
    environment = {
        "KUBERNETES_SERVICE_HOST": "10.0.0.1",
        "JOB_COMPLETION_INDEX": None if index is None else str(index),
        "THAW_WORKERS": "3",
        "THAW_JOB": "imdb",
        "THAW_SERVICE": "imdb-workers",
        **changes,
    }
    return {name: value for name, value in environment.items() if value is not None}


def refusal(environment, *arguments) -> str:
    with pytest.raises(UserError) as error:
        resolve(environment, *arguments)
    message = str(error.value)
    assert message.isprintable()
    assert len(message) < 500
    return message


def test_nothing_said_is_this_machine_alone():
    cluster = resolve({"PATH": "/bin", "TF_CONFIG": "", "SLURM_CONF": "/etc/slurm.conf"})
    assert cluster == Cluster((), 0, "this machine")
    assert cluster.count == 1
    assert cluster.describe() == [
        "1 worker (this machine):",
        "  0  this machine  chief (this process)",
    ]


def test_describe_has_a_line_for_each_worker():
    addresses = tuple(f"{'n' * (1 + i % 2)}{i}:99" for i in range(11))
    lines = Cluster(addresses, 9, "Slurm step 12.0").describe()
    assert lines[0] == "11 workers (Slurm step 12.0):"
    assert lines[1] == "   0  n0:99   chief"
    assert lines[2] == "   1  nn1:99"
    assert lines[10] == "   9  nn9:99  (this process)"
    assert lines[11] == "  10  n10:99"
    assert len(lines) == 12


def test_needs_no_tensorflow():
    code = "import sys, launch.cluster; print({'tensorflow', 'absl'} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == "set()\n"


# --hosts and --index


@pytest.mark.parametrize("index", range(3))
def test_hosts(index):
    assert resolve({}, HOSTS, index) == Cluster(tuple(HOSTS), index, "--hosts")


def test_hosts_may_be_ipv6_and_are_stripped():
    hosts = ["[::1]:1", " [fe80::2]:65535", "10.0.0.1:80 ", "a_b-c.d.example:080"]
    assert resolve({}, hosts, 1).addresses == tuple(host.strip() for host in hosts)


def test_one_host_is_this_machine_alone():
    assert resolve({}, ["a:1"], 0) == Cluster((), 0, "--hosts")


@pytest.mark.parametrize(
    ("hosts", "index", "says"),
    [
        (HOSTS, None, "--hosts is given without --index"),
        ([], 0, "--index is given without --hosts"),
        (HOSTS, 3, "--index is 3, but --hosts names 3 worker"),
        (HOSTS, -1, "--index is -1"),
        (["a:1"], 1, "--index is 1, but --hosts names 1 worker"),
        (["a:1", "", "b:1"], 0, "empty entry"),
        (["a:1", " "], 0, "empty entry"),
        (["a:1", "b:1", "A:1"], 0, "A:1 stands twice"),
        (["a:1", "b"], 0, "'b' is not host:port"),
        (["a:1", ":2"], 0, "':2' is not host:port"),
        (["a:1", "b:"], 0, "'b:' needs a port from 1 to 65535"),
        (["a:1", "b:0"], 0, "'b:0' needs a port"),
        (["a:1", "b:65536"], 0, "'b:65536' needs a port"),
        (["a:1", "b:-1"], 0, "'b:-1' needs a port"),
        (["a:1", "b:http"], 0, "'b:http' needs a port"),
        (["a:1", "b:²"], 0, "needs a port"),
        (["a:1", "::1:2"], 0, "IPv6 address goes in brackets"),
        (["a:1", "[::g]:2"], 0, "'[::g]:2' is not host:port"),
        (["a:1", "[::1:2"], 0, "'[::1:2' is not host:port"),
        (["a:1", "[::1]"], 0, "'[::1]' is not host:port"),
        (["a:1", "http://b:2"], 0, "is not host:port"),
        (["a:1", "b c:2"], 0, "is not host:port"),
        (["a:1", f"{'b' * 64}:2"], 0, "is not host:port"),  # no name in DNS has such a part
        (["a:1", f"{'b.' * 200}c:2"], 0, "is not host:port"),
        (["a:1", "b..c:2"], 0, "is not host:port"),
        (["a:1", f"{'b' * 5000}:2"], 0, "bbb'… is not host:port"),
        (["a:1", "b\udcff:2"], 0, "'b\\udcff:2' is not host:port"),
        (["a:1", "b\x1b[2J:2"], 0, "is not host:port"),
        (["a:1", "[fe80::1%a\nb]:2"], 0, "is not host:port"),
        (["a:1", "b:" + "9" * 5000], 0, "needs a port from 1 to 65535"),
        ([f"a{i}:1" for i in range(4097)], 0, "--hosts names 4,097 workers, more than 4,096"),
        (["a:1", "b:1"], 10**4000, "--index is 1000"),
    ],
)
def test_wrong_hosts_are_refused(hosts, index, says):
    assert says in refusal({}, hosts, index)


# TF_CONFIG


@pytest.mark.parametrize(
    ("environment", "rank"),
    [
        (tf_config(HOSTS, ("worker", 0)), 0),
        (tf_config(HOSTS, ("worker", 2)), 2),
        (tf_config(HOSTS, ("worker", "1")), 1),
        (tf_config(HOSTS[1:], ("chief", 0), chief=HOSTS[:1]), 0),
        (tf_config(HOSTS[1:], ("worker", 0), chief=HOSTS[:1]), 1),
        (tf_config(HOSTS[1:], ("worker", 1), chief=HOSTS[:1]), 2),
    ],
)
def test_tf_config(environment, rank):
    assert resolve(environment) == Cluster(tuple(HOSTS), rank, "TF_CONFIG")


def test_what_else_is_in_tf_config_is_let_be():
    config = json.loads(tf_config(HOSTS)["TF_CONFIG"])
    config.update(environment="cloud", rpc_layer="grpc")
    assert resolve({"TF_CONFIG": json.dumps(config)}).count == 3


@pytest.mark.parametrize(
    ("environment", "source"),
    [
        (tf_config(["a:1"]), "TF_CONFIG"),
        (tf_config(task=("chief", 0), chief=["a:1"]), "TF_CONFIG"),
        ({"TF_CONFIG": "{}"}, "this machine"),
        ({"TF_CONFIG": '{"cluster": {}, "task": {"type": "worker", "index": 0}}'}, "this machine"),
        (tf_config(), "this machine"),
    ],
)
def test_tf_config_of_one_or_none_is_this_machine_alone(environment, source):
    assert resolve(environment) == Cluster((), 0, source)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "not JSON"),
        ("a:1,b:1", "not JSON"),
        ("[]", "must be"),
        ('{"cluster": ["a:1"]}', "must be"),
        ('{"cluster": {"worker": "a:1"}}', 'cluster.worker must be a list of "host:port"'),
        ('{"cluster": {"worker": {"0": "a:1"}}}', "cluster.worker must be a list"),
        ('{"cluster": {"worker": ["a:1", 2]}}', "cluster.worker must be a list"),
        ('{"cluster": {"worker": ["a:1", "b:1"]}}', "does not say which worker this is"),
        ('{"cluster": {"worker": ["a:1", "b:1"]}, "task": 1}', "does not say which worker"),
        ('{"cluster": {"worker": ["a:1"]}, "task": {"index": 0}}', "does not say which worker"),
        ('{"cluster": {"worker": ["a:1"]}, "task": {"type": ["worker"]}}', "does not say which"),
        (tf_config(HOSTS, ("worker", None)), "does not say which worker this is"),
        (tf_config(HOSTS, ("worker", True)), "does not say which worker this is"),
        (tf_config(HOSTS, ("worker", 0.5)), "does not say which worker this is"),
        (tf_config(HOSTS, ("worker", 3)), "task.index is 3, but there are 3 workers"),
        (tf_config(HOSTS, ("worker", -1)), "task.index is -1"),
        (tf_config(HOSTS, ("chief", 0)), "task.index is 0, but there are 0 chiefs"),
        (tf_config(["b:1"], ("chief", 1), chief=["a:1"]), "task.index is 1, but there are 1 chief"),
        (tf_config(HOSTS, chief=["d:1", "e:1"]), "has 2 chiefs"),
        (tf_config(HOSTS, ps=["d:1"]), "'ps', but there are no parameter servers"),
        (tf_config(HOSTS, ("ps", 0)), "'ps', but there are no parameter servers"),
        (tf_config(HOSTS, evaluator=["d:1"]), "no evaluator is needed, all workers evaluate"),
        (tf_config(HOSTS, ("evaluator", 0)), "no evaluator is needed, all workers evaluate"),
        (tf_config(HOSTS, master=["d:1"]), "'master'"),
        (tf_config([*HOSTS, "b:2222"]), "b:2222 stands twice"),
        (tf_config(HOSTS[1:], chief=["b:2222"]), "b:2222 stands twice"),
        ("[" * 100_000, "not JSON (nested deeper than 64)"),
        ('{"cluster":' * 100_000, "not JSON (nested deeper than 64)"),
        ('{"cluster": {}, "cluster": {"worker": ["a:1"]}}', "the key 'cluster' stands twice"),
        ('{"cluster": {"worker": ["a:1"], "worker": []}}', "the key 'worker' stands twice"),
        ('{"cluster": NaN}', "NaN is no number"),
        ('{"task": {"index": ' + "9" * 5000 + "}}", "an integer of 5,000 digits"),
        ('{"cluster": {"' + "x" * 5000 + '": ["a:1"]}}', "xxx'…, but "),
        ('{"cluster": {"a\\nb": ["a:1"]}}', "'a\\nb', but there are only workers"),
        ("\udcff", "not JSON"),
        (tf_config(["a:1", "b\udcff:1"]), "'b\\udcff:1' is not host:port"),
        (tf_config([f"a{i}:1" for i in range(5000)]), "names 5,000 workers, more than 4,096"),
        (tf_config(["a", "b:1"]), "'a' is not host:port"),
        (tf_config(["a:1", ""]), "empty entry"),
    ],
)
def test_wrong_tf_config_is_refused(text, says):
    message = refusal(text if isinstance(text, dict) else {"TF_CONFIG": text})
    assert says in message
    assert "TF_CONFIG" in message


# Slurm


@pytest.mark.parametrize(
    ("text", "names"),
    [  # `scontrol show hostnames` printed these
        ("n9", "n9"),
        ("n[9-10]", "n9 n10"),
        ("n[08-11]", "n08 n09 n10 n11"),
        ("n[098-101]", "n098 n099 n100 n101"),
        ("n[8-010]", "n8 n9 n10"),
        ("n[99-101]", "n99 n100 n101"),
        ("n[0-0]", "n0"),
        ("n[00-02]", "n00 n01 n02"),
        ("n[007]", "n007"),
        ("n[0001-0003,0010]", "n0001 n0002 n0003 n0010"),
        ("n[1-3,05-06]", "n1 n2 n3 n05 n06"),
        ("n[10,9,1-2]", "n10 n9 n1 n2"),
        ("n[5,3-4]", "n5 n3 n4"),
        ("a1,b[2-3]", "a1 b2 b3"),
        ("n1,n[3,5],m", "n1 n3 n5 m"),
        ("a[9-11],b,c[00-01]", "a9 a10 a11 b c00 c01"),
        ("a1-ib,a2-ib,n[9-10]", "a1-ib a2-ib n9 n10"),
        ("x-1-[1-3]", "x-1-1 x-1-2 x-1-3"),
        ("gpu[1-3,7,10-12]", "gpu1 gpu2 gpu3 gpu7 gpu10 gpu11 gpu12"),
        ("r[1-2]n[0-1]", "r1n0 r1n1 r2n0 r2n1"),
        ("r1n[0-1],r2n[0-1]", "r1n0 r1n1 r2n0 r2n1"),
        ("r[1-2]n[0-1],r3n[7-9]", "r1n0 r1n1 r2n0 r2n1 r3n7 r3n8 r3n9"),
        ("n[08-10]n[1-2]", "n08n1 n08n2 n09n1 n09n2 n10n1 n10n2"),
        ("n[1-2,4]n[1-2,5]", "n1n1 n1n2 n1n5 n2n1 n2n2 n2n5 n4n1 n4n2 n4n5"),
        (
            "rack[0-1]node[0-1,7]",
            "rack0node0 rack0node1 rack0node7 rack1node0 rack1node1 rack1node7",
        ),
        # Slurm 22.05 takes nothing after the last bracket
        ("a[1-2,7]-ib", "a1-ib a2-ib a7-ib"),
        ("n[1-2].c[08-09].x,y", "n1.c08.x n1.c09.x n2.c08.x n2.c09.x y"),
    ],
)
def test_node_lists_expand_in_slurms_order(text, names):
    assert expand_nodes(text) == names.split()


@pytest.mark.parametrize(
    "text",
    [
        *("n[", "n]", "n[]", "n[1", "n[1-", "n[1-]", "n[-1]", "n[a-b]", "n[2-1]", "n[1,]"),
        *("n[[1]]", "n[1-2]]", "n[1, 2]", "bgl[000x733]", "a,,b", ",a", "a,", "a b", "(null)"),
    ],
)
def test_other_node_lists_are_refused(text):
    with pytest.raises(UserError, match="cannot read the node list"):
        expand_nodes(text)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("n[0-9999999999]", "SLURM_STEP_NODELIST names 10,000,000,000 workers, more than 4,096"),
        ("n[0-4096]", "names 4,097 workers"),
        ("n[0-99]m[0-99]", "names 10,000 workers"),
        ("n[0-99],m[0-4000]", "names 4,101 workers"),
        ("n" + "[0-9999999999]" * 500, "names countless workers"),
        (",".join(f"n{i}" for i in range(5000)), "names 5,000 workers"),
        ("n[" + "9" * 5000 + "]", "cannot read the node list 'n[999"),
        ("n[1-" + "9" * 5000 + "]", "cannot read the node list 'n[1-999"),
        ("\udcff" * 5000, "cannot read the node list"),
        ("n1\nn2", "cannot read the node list 'n1\\nn2'"),
    ],
)
def test_node_lists_are_not_expanded_before_they_are_counted(text, says):
    with pytest.raises(UserError) as error:
        expand_nodes(text)
    assert says in str(error.value)
    assert str(error.value).isprintable()
    assert len(str(error.value)) < 1000


LAYOUTS = [  # what tasks of srun printed: their nodes by rank
    ("n[9-10]", "2,1", "block", None, "n9 n9 n10"),
    ("n[9-10]", "2,1", "cyclic", None, "n9 n10 n9"),
    ("n[9-10]", "4,1", "cyclic", None, "n9 n10 n9 n9 n9"),
    ("n[9-10]", "4,1", "block", None, "n9 n9 n9 n9 n10"),
    ("n[9-10]", "4,2", "plane", "2", "n9 n9 n10 n10 n9 n9"),
    ("n[9-10]", "4,2", "block", "2", "n9 n9 n9 n9 n10 n10"),  # the plane of the batch script
    ("n[9-11]", "4,2(x2)", "plane", "2", "n9 n9 n10 n10 n11 n11 n9 n9"),
    ("n[9-11]", "4,2,3", "plane", "2", "n9 n9 n10 n10 n11 n11 n9 n9 n11"),
    ("n[9-11]", "4,2,3", "plane", "3", "n9 n9 n9 n10 n10 n11 n11 n11 n9"),
    ("n[9-10]", "1(x2)", None, None, "n9 n10"),
    ("n[9-10]", "1(x2)", "block:cyclic", None, "n9 n10"),
    ("n[9-10]", "1(x2)", "plane", "2", "n9 n10"),
    ("n[9-10]", "2(x2)", None, None, "n9 n9 n10 n10"),
    ("n[9-10]", "3,1", "block,pack", None, "n9 n9 n9 n10"),
    ("n[9-10]", "3,1", "block,nopack", None, "n9 n9 n9 n10"),
    ("a1-ib,n[9-10]", "3,2(x2)", None, None, "a1-ib a1-ib a1-ib n9 n9 n10 n10"),
    ("a1-ib,a2-ib,n[9-10]", "1(x4)", None, None, "a1-ib a2-ib n9 n10"),
    ("n9", "2", "arbitrary", None, "n9 n9"),
    ("r1n[0-1],r2n[0-1]", "2(x4)", "cyclic:block", None, "r1n0 r1n1 r2n0 r2n1 " * 2),
    ("n[9-10]", "1,2", "block", None, "n9 n10 n10"),  # of two components (a heterogeneous job)
]


@pytest.mark.parametrize(("nodes", "tasks", "kind", "plane", "places"), LAYOUTS)
def test_slurm_layouts(nodes, tasks, kind, plane, places):
    base = 10240 + (12 + 3 * 176)
    seen: dict[str, int] = {}
    expected = []
    for node in places.split():
        seen[node] = seen.get(node, -1) + 1
        expected.append(f"{node}:{base + 1408 * seen[node]}")
    changes = {"SLURM_DISTRIBUTION": kind, "SLURM_DIST_PLANESIZE": plane}
    for rank in range(len(expected)):
        cluster = resolve(slurm_task(rank, nodes, tasks, places, **changes))
        assert cluster == Cluster(tuple(expected), rank, "Slurm step 12.3")


def test_every_task_of_any_layout_sees_the_same_cluster():
    chance = random.Random(4)
    for _ in range(300):
        counts = [chance.randint(1, 5) for _ in range(chance.randint(1, 6))]
        first = chance.randint(0, 120)
        nodes = [f"n{first + i}" for i in range(len(counts))]
        kind = chance.choice(["block", "cyclic", "plane"])
        # Slurm's rule told in another way: a rank is drawn in the order of (turn, node, place).
        size = {"block": max(counts), "cyclic": 1, "plane": chance.randint(1, 4)}[kind]
        tasks = [(j // size, i, j) for i, count in enumerate(counts) for j in range(count)]
        places = [nodes[i] for _, i, _ in sorted(tasks)]
        groups = [(count, len(list(same))) for count, same in itertools.groupby(counts)]
        text = ",".join(f"{c}(x{n})" if n > 1 else str(c) for c, n in groups)
        job = str(chance.randint(1, 10**7))
        seen = set()
        for rank in range(len(places)):
            environment = slurm_task(
                rank,
                f"n[{first}-{first + len(counts) - 1}]",
                text,
                " ".join(places),
                SLURM_DISTRIBUTION=kind,
                SLURM_DIST_PLANESIZE=str(size),
                SLURM_JOB_ID=job,
            )
            cluster = resolve(environment)
            assert cluster.index == rank
            seen.add(cluster.addresses)
            if len(places) > 1:
                host, port = cluster.addresses[rank].split(":")
                assert host == environment["SLURMD_NODENAME"]
                assert (int(port) - 10240) // 1408 == int(environment["SLURM_LOCALID"])
        assert len(seen) == 1
        addresses = seen.pop()
        assert len(set(addresses)) == len(addresses)


def ports(job: int, step: int = 0) -> set[int]:
    """Those of 16 tasks on one node."""
    environment = slurm_task(
        0, "n1", "16", "n1 " * 16, SLURM_JOB_ID=str(job), SLURM_STEP_ID=str(step)
    )
    return {int(address.split(":")[1]) for address in resolve(environment).addresses}


def test_ports_of_jobs_and_steps_do_not_meet():
    last = 0
    for count, groups in (
        (1408, [[(70_000 + job, 0)] for job in range(1408)]),
        (176, [[(70_000 + job, step) for step in range(8)] for job in range(176)]),
        (1, [[(7, 50 + step) for step in range(8)]]),
    ):
        assert len(groups) == count
        taken: set[int] = set()
        for job, step in itertools.chain(*groups):
            own = ports(job, step)
            assert not own & taken
            taken |= own
        assert min(taken) >= 10240
        last = max(last, *taken)
    assert last == 32767  # the ephemeral ports begin behind it


@pytest.mark.parametrize(
    ("environment", "source"),
    [
        (slurm_task(0, "n9", "1", "n9"), "Slurm step 12.3"),
        (slurm_task(0, "n9", "1", "n9", SLURM_STEP_ID="4294967290"), "Slurm step 12.interactive"),
        # sbatch -n1; salloc -N1; sbatch -N1 --exclusive on 4 CPUs
        (
            {"SLURM_JOB_ID": "12", "SLURM_NTASKS": "1", "SLURM_PROCID": "0", "SLURM_NNODES": "1"},
            "Slurm job 12",
        ),
        ({"SLURM_JOB_ID": "12", "SLURM_JOB_NUM_NODES": "1", "SLURM_NNODES": "1"}, "Slurm job 12"),
        (
            {"SLURM_JOB_ID": "12", "SLURM_NNODES": "1", "SLURM_TASKS_PER_NODE": "4"},
            "Slurm job 12",
        ),
        ({"SLURM_JOB_ID": "12"}, "Slurm job 12"),
    ],
)
def test_one_task_is_this_machine_alone(environment, source):
    assert resolve(environment) == Cluster((), 0, source)


BATCH = {  # the shell of sbatch -N2 -n3
    "SLURM_JOB_ID": "12",
    "SLURM_JOB_NUM_NODES": "2",
    "SLURM_NNODES": "2",
    "SLURM_NTASKS": "3",
    "SLURM_PROCID": "0",
    "SLURM_NODEID": "0",
    "SLURM_LOCALID": "0",
    "SLURM_TASKS_PER_NODE": "2,1",
    "SLURMD_NODENAME": "n9",
}
PAIR = ("n[9-10]", "1(x2)", "n9 n10")


@pytest.mark.parametrize(
    ("environment", "says"),
    [
        (BATCH, "there are 3 tasks"),
        ({"SLURM_JOB_ID": "12", "SLURM_NTASKS": "2"}, "there are 2 tasks"),
        # salloc -N2; sbatch -N2
        ({"SLURM_JOB_ID": "12", "SLURM_NNODES": "2", "SLURM_JOB_NUM_NODES": "2"}, "are 2 tasks"),
        # salloc -N2 -n2 where it opens a shell on the first node
        (
            slurm_task(0, "n9", "1", "n9", SLURM_NTASKS="2", SLURM_NNODES="2")
            | {"SLURM_STEP_ID": "4294967290"},
            "SLURM_NTASKS is 2 and SLURM_STEP_NUM_TASKS 1",
        ),
        # sbatch -N2 in a step of one task
        (
            slurm_task(0, "n9", "1", "n9", SLURM_NNODES="2", SLURM_JOB_NUM_NODES="2"),
            "SLURM_NNODES is 2 and SLURM_STEP_NUM_NODES 1",
        ),
        # sbatch -n1 in a step of two
        (
            slurm_task(0, *PAIR, SLURM_NTASKS="1", SLURM_NNODES="1", SLURMD_NODENAME="n11"),
            "SLURM_NTASKS is 1 and SLURM_STEP_NUM_TASKS 2",
        ),
        (slurm_task(0, *PAIR, SLURM_STEP_ID=None), "there are 2 tasks"),
        (slurm_task(0, *PAIR, SLURM_PROCID=None), "there are 2 tasks"),
        (slurm_task(0, *PAIR, SLURM_STEP_NODELIST=None), "there are 2 tasks"),
    ],
)
def test_several_tasks_without_srun_are_refused(environment, says):
    message = refusal(environment)
    assert says in message
    assert message.startswith("Slurm job 12: ")
    assert "start it with srun" in message


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"SLURM_DISTRIBUTION": "arbitrary"}, "SLURM_DISTRIBUTION=arbitrary: start it with srun"),
        ({"SLURM_DISTRIBUTION": "fractal"}, "SLURM_DISTRIBUTION=fractal"),
        ({"SLURM_DISTRIBUTION": "plane"}, "SLURM_DISTRIBUTION=plane"),
        ({"SLURM_DISTRIBUTION": "plane", "SLURM_DIST_PLANESIZE": "x"}, "not a whole number"),
        ({"SLURM_PROCID": "x"}, "SLURM_PROCID is 'x', not a whole number"),
        ({"SLURM_PROCID": "2"}, "SLURM_PROCID is 2, but SLURM_STEP_NUM_TASKS is 2"),
        ({"SLURM_JOB_ID": "12_1"}, "SLURM_JOB_ID is '12_1', not a whole number"),
        ({"SLURM_STEP_NODELIST": "n[9"}, "cannot read the node list 'n[9'"),
        ({"SLURM_STEP_NODELIST": "n[9-11]"}, "3 nodes in SLURM_STEP_NODELIST, 2 tasks on 2 nodes"),
        ({"SLURM_STEP_TASKS_PER_NODE": "2(x2)"}, "4 tasks on 2 nodes"),
        ({"SLURM_STEP_TASKS_PER_NODE": "1x2"}, "cannot read SLURM_STEP_TASKS_PER_NODE='1x2'"),
        ({"SLURM_STEP_TASKS_PER_NODE": None}, "cannot read SLURM_STEP_TASKS_PER_NODE=''"),
        ({"SLURM_NODEID": "1"}, "rank 0 should be task 0 of node 0 (n9), but Slurm says SLURM_NOD"),
        ({"SLURM_LOCALID": "1"}, "but Slurm says SLURM_LOCALID=1: give --hosts and --index"),
        ({"SLURMD_NODENAME": "n10"}, "but Slurm says SLURMD_NODENAME=n10"),
        ({"SLURM_STEP_NODELIST": "n9,n9"}, "stands twice"),
        ({"SLURM_STEP_NODELIST": f"n9,{'n' * 300}"}, "SLURM_STEP_NODELIST: 'nnn"),
        ({"SLURM_PROCID": "9" * 5000}, "999'…, not a whole number"),
        ({"SLURM_STEP_NUM_TASKS": "9" * 5000}, "SLURM_STEP_NUM_TASKS is '999"),
        (
            {"SLURM_STEP_NUM_TASKS": "9999999999", "SLURM_NTASKS": None},
            "Slurm step 12.3 names 9,999,999,999 workers, more than 4,096",
        ),
        ({"SLURM_JOB_ID": "9" * 5000}, "SLURM_JOB_ID is '999"),
        ({"SLURM_STEP_ID": "9" * 5000}, "SLURM_STEP_ID is '999"),
        ({"SLURM_JOB_ID": "1\udcff"}, "SLURM_JOB_ID is '1\\udcff', not a whole number"),
        ({"SLURM_JOB_ID": "1\x1b[2J2"}, "SLURM_JOB_ID is '1\\x1b[2J2', not a whole number"),
        ({"SLURM_JOB_ID": "²"}, "SLURM_JOB_ID is '²', not a whole number"),
        ({"SLURM_STEP_TASKS_PER_NODE": "2(x9999999999)"}, "cannot read SLURM_STEP_TASKS_PER_NODE"),
        ({"SLURM_STEP_TASKS_PER_NODE": "1(x999999999)"}, "names 999,999,999 workers"),
        ({"SLURM_STEP_TASKS_PER_NODE": "9" * 5000}, "cannot read SLURM_STEP_TASKS_PER_NODE='999"),
        ({"SLURM_STEP_TASKS_PER_NODE": "999999999,1"}, "1000000000 tasks on 2 nodes"),
        ({"SLURM_DISTRIBUTION": "plane=" + "9" * 5000}, "SLURM_DISTRIBUTION=plane=999"),
        ({"SLURM_DISTRIBUTION": "x\ny" * 2000}, "SLURM_DISTRIBUTION=x\\ny"),
        ({"SLURM_DISTRIBUTION": "plane", "SLURM_DIST_PLANESIZE": "9" * 5000}, "PLANESIZE is '999"),
        ({"SLURM_NODEID": "9" * 5000}, "but Slurm says SLURM_NODEID=999"),
        ({"SLURMD_NODENAME": "a\nb"}, "but Slurm says SLURMD_NODENAME=a\\nb"),
        ({"SLURM_NTASKS": "2\n" + "9" * 5000}, "SLURM_NTASKS is '2\\n999"),
    ],
)
def test_what_slurm_contradicts_is_refused(changes, says):
    assert says in refusal(slurm_task(0, *PAIR, **changes))


def test_a_step_of_components_dealt_by_themselves_is_refused():
    # As srun dealt a cyclic heterogeneous job: ranks 0 and 1 only are where they should be.
    step = ("n[9-10],r1n[0-1]", "3,1,2(x2)", "n9 n10 n9 n9 r1n0 r1n1 r1n0 r1n1")
    for rank in range(2, 8):
        message = refusal(slurm_task(rank, *step, SLURM_DISTRIBUTION="cyclic"))
        assert f"rank {rank} should be" in message


def test_more_tasks_on_a_node_than_ports_are_refused():
    assert "17 tasks on a node, ports are kept for 16" in refusal(
        slurm_task(0, "n[9-10]", "1,17", "n9 " + "n10 " * 17)
    )


# Kubernetes


@pytest.mark.parametrize("index", range(3))
def test_kubernetes(index):
    addresses = tuple(f"imdb-{i}.imdb-workers:2222" for i in range(3))
    assert resolve(pod(index)) == Cluster(addresses, index, "Kubernetes")


def test_kubernetes_port_and_the_names_of_a_jobset():
    environment = pod(1, THAW_PORT="3000", THAW_JOB="set-workers-0", THAW_SERVICE="set")
    assert resolve(environment).addresses[1] == "set-workers-0-1.set:3000"


@pytest.mark.parametrize(
    ("environment", "source"),
    [
        ({"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, "this machine"),
        ({"KUBERNETES_SERVICE_HOST": "10.0.0.1", "THAW_PORT": "tcp://10.0.0.2:80"}, "this machine"),
        ({"JOB_COMPLETION_INDEX": "0"}, "Kubernetes"),
        (pod(0, THAW_WORKERS="1"), "Kubernetes"),
        ({"THAW_WORKERS": "1"}, "Kubernetes"),
    ],
)
def test_one_pod_is_this_machine_alone(environment, source):
    assert resolve(environment) == Cluster((), 0, source)


@pytest.mark.parametrize(
    ("environment", "says"),
    [
        (
            {"JOB_COMPLETION_INDEX": "1"},
            "JOB_COMPLETION_INDEX is set without THAW_WORKERS, THAW_JOB, THAW_SERVICE:",
        ),
        (pod(None), "THAW_WORKERS is set without JOB_COMPLETION_INDEX:"),
        (pod(THAW_JOB=None), "THAW_WORKERS is set without THAW_JOB:"),
        (pod(THAW_SERVICE=""), "THAW_WORKERS is set without THAW_SERVICE:"),
        (pod(THAW_WORKERS=None), "THAW_JOB is set without THAW_WORKERS:"),
        (pod(3), "JOB_COMPLETION_INDEX is 3, but THAW_WORKERS is 3"),
        (pod(1, THAW_WORKERS="1"), "JOB_COMPLETION_INDEX is 1, but THAW_WORKERS is 1"),
        (pod(0, THAW_WORKERS="0"), "THAW_WORKERS is 0"),
        (pod(0, THAW_WORKERS="two"), "THAW_WORKERS is 'two', not a whole number"),
        (pod("x"), "JOB_COMPLETION_INDEX is 'x', not a whole number"),
        (pod(THAW_PORT="tcp://10.0.0.2:80"), "THAW_PORT is 'tcp://10.0.0.2:80'"),
        (pod(THAW_PORT="0"), "THAW_PORT is '0'"),
        (pod(THAW_PORT="9" * 5000), "THAW_PORT is '999"),
        (pod(THAW_WORKERS="9" * 5000), "THAW_WORKERS is '999"),
        (pod(THAW_WORKERS="999999999"), "THAW_WORKERS names 999,999,999 workers, more than 4,096"),
        (pod("9" * 5000), "JOB_COMPLETION_INDEX is '999"),
        (pod(THAW_JOB="a" * 5000), "is not host:port"),
        (pod(THAW_JOB="a\nb"), "is not host:port"),
        (pod(THAW_SERVICE="\udcff"), "is not host:port"),
        (pod(THAW_JOB="a b"), "is not host:port"),
    ],
)
def test_wrong_kubernetes_variables_are_refused(environment, says):
    assert says in refusal(environment)


# Several sources


def test_sources_that_agree_are_one():
    assert resolve(tf_config(HOSTS, ("worker", 1)), HOSTS, 1).source == "--hosts"
    chief = tf_config(HOSTS[1:], ("worker", 0), chief=HOSTS[:1])
    assert resolve(chief, HOSTS, 1).source == "--hosts"
    step = slurm_task(1, "n[9-11]", "1(x3)", "n9 n10 n11")
    assert resolve(step | tf_config(HOSTS, ("worker", 1))).addresses == tuple(HOSTS)
    assert resolve(step, HOSTS, 1).addresses == tuple(HOSTS)
    assert resolve(pod(1), HOSTS, 1).addresses == tuple(HOSTS)
    assert resolve(step | pod(1)).source == "Slurm step 12.3"


@pytest.mark.parametrize(
    "environment",
    [
        BATCH,
        {"SLURM_JOB_ID": "12", "SLURM_NTASKS": "3"},
        slurm_task(0, "n9", "1", "n9"),
        pod(0, THAW_WORKERS="1"),
        {"JOB_COMPLETION_INDEX": "2"},
        {"TF_CONFIG": "{}"},
    ],
)
def test_what_names_no_workers_leaves_them_to_the_others(environment):
    assert resolve(environment, HOSTS, 1) == Cluster(tuple(HOSTS), 1, "--hosts")
    if "TF_CONFIG" not in environment:
        assert resolve(environment | tf_config(HOSTS, ("worker", 2))).index == 2


def test_hosts_help_where_a_layout_is_arbitrary():
    step = slurm_task(1, "n[9-10]", "2,1", "n10 n9 n9", SLURM_DISTRIBUTION="arbitrary")
    assert resolve(step, HOSTS, 1).addresses == tuple(HOSTS)


def test_kubernetes_counts_where_slurm_has_one_task():
    cluster = resolve(pod(1, THAW_WORKERS="2") | slurm_task(0, "n9", "1", "n9"))
    assert cluster.addresses == ("imdb-0.imdb-workers:2222", "imdb-1.imdb-workers:2222")
    assert cluster.describe()[0] == "2 workers (Kubernetes):"


@pytest.mark.parametrize(
    ("environment", "flags", "says"),
    [
        (tf_config(HOSTS, ("worker", 1)), (HOSTS[:2], 1), "--hosts and TF_CONFIG name different"),
        (tf_config(["a:1"]), (HOSTS, 0), "--hosts and TF_CONFIG name different"),
        (tf_config(HOSTS, ("worker", 1)), (HOSTS[::-1], 1), "--hosts and TF_CONFIG name different"),
        (
            tf_config(HOSTS, ("worker", 1)),
            (HOSTS, 2),
            "--hosts says that this is worker 2 of 3, TF_CONFIG that it is worker 1 of 3",
        ),
        (
            tf_config(HOSTS, ("worker", 1)) | slurm_task(1, *PAIR),
            (),
            "TF_CONFIG says that this is worker 1 of 3, Slurm step 12.3 that it is worker 1 of 2",
        ),
        (
            tf_config(HOSTS[:2], ("worker", 1)) | slurm_task(0, *PAIR),
            (),
            "TF_CONFIG says that this is worker 1 of 2, Slurm step 12.3 that it is worker 0 of 2",
        ),
        (tf_config(["a:1"]) | slurm_task(0, *PAIR), (), "worker 0 of 1, Slurm step 12.3"),
        (slurm_task(0, *PAIR), (HOSTS[:2], 1), "--hosts says that this is worker 1 of 2, Slurm"),
        (slurm_task(0, *PAIR), (["a:1"], 0), "--hosts says that this is worker 0 of 1, Slurm"),
        (
            tf_config(HOSTS, ("worker", 1)) | pod(2),
            (),
            "TF_CONFIG says that this is worker 1 of 3, Kubernetes that it is worker 2 of 3",
        ),
        (pod(0), (HOSTS[:2], 0), "worker 0 of 2, Kubernetes that it is worker 0 of 3"),
        (
            slurm_task(0, *PAIR) | pod(0),
            (),
            "Slurm step 12.3 says that this is worker 0 of 2, Kubernetes that it is worker 0 of 3",
        ),
    ],
)
def test_contradictions_are_refused_naming_both(environment, flags, says):
    message = refusal(environment, *flags)
    assert says in message
    assert re.search("give one of them|correct one of them", message)


# The secret


def test_a_secret_is_taken_as_it_is():
    assert secret({}) == secret({"THAW_SECRET": ""}) == ""
    for text in ("0" * 16, "a-Z_9!~" * 100):
        assert secret({"THAW_SECRET": text}) == text


@pytest.mark.parametrize(
    "text", ["short", "0" * 15, "0" * 1025, "0" * 15 + "\n" * 9, "ß" * 20, "a b" * 9]
)
def test_what_is_no_secret_is_refused_and_not_shown(text):
    with pytest.raises(UserError) as error:
        secret({"THAW_SECRET": text})
    message = str(error.value)
    assert message.startswith(f"THAW_SECRET has {len(text):,} characters: give 16 to 1,024")
    assert text not in message
