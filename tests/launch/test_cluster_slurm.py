"""The cluster that Slurm tells a task; what stands here of Slurm is what Slurm 22.05 printed."""

import itertools
import random

import pytest
from cluster_variables import BATCH, PAIR, refusal, slurm_task

from launch.cluster import resolve
from launch.cluster_common import Cluster
from launch.cluster_slurm import expand_nodes
from trainer.errors import UserError


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
