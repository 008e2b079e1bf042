"""The cluster that launch.cluster finds in real tasks of Slurm's, for every layout of ranks."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from daemons import Slurm

from launch.cluster_slurm import expand_nodes

pytestmark = pytest.mark.cluster
RANK = Path(__file__).with_name("rank.py")
Tasks = list[dict[str, Any]]


def ran(stdout: str) -> Tasks:
    return sorted(map(json.loads, stdout.splitlines()), key=lambda task: task["rank"])


def check(tasks: Tasks, nodes: str) -> None:
    """Ranks are on `nodes`, in this order, and every task knows it."""
    assert [task["node"] for task in tasks] == nodes.split()
    assert [task["index"] for task in tasks] == [task["rank"] for task in tasks]
    addresses = tasks[0]["addresses"]
    assert [address.partition(":")[0] for address in addresses] == nodes.split()
    assert len(set(addresses)) == len(addresses)
    assert all(task["addresses"] == addresses for task in tasks)


@pytest.mark.parametrize(
    ("options", "nodes"),
    [
        ("-N2 -n2", "n9 n10"),
        ("-N2 --ntasks-per-node=2 -m block", "n9 n9 n10 n10"),
        ("-N2 --ntasks-per-node=2 -m cyclic", "n9 n10 n9 n10"),
        ("-N2 -n6 -m plane=2", "n9 n9 n10 n10 n9 n9"),
        ("-N2 -n5 -m plane=3", "n9 n9 n9 n10 n9"),
        ("-N2 -n3 -m block", "n9 n9 n10"),
        ("-N2 -n3 -m cyclic", "n9 n10 n9"),
        ("-N1 -n3 -w n10", "n10 n10 n10"),
    ],
)
def test_layout(slurm: Slurm, options: str, nodes: str):
    ended = slurm.run("srun", *options.split(), sys.executable, RANK)
    assert ended.status == 0, ended.stderr
    check(ran(ended.stdout), nodes)


@pytest.mark.parametrize(
    ("distribution", "nodes"),
    [("block", "n9 n10 n10"), ("cyclic", "n9 n10 n10"), ("plane=2", "n9 n10 n10")],
)
def test_the_first_node_has_fewer_tasks(
    slurm: Slurm, tmp_path: Path, distribution: str, nodes: str
):
    """It has one CPU left, as another job has the others."""
    script = tmp_path / "holder.sh"
    script.write_text("#!/bin/bash\nsleep 600\n")
    holder = slurm.sbatch(script, "--nodelist=n9", "--ntasks=3", "--output=/dev/null")
    try:
        slurm.wait_for_state(holder, "RUNNING")
        ended = slurm.run("srun", "-N2", "-n3", "-m", distribution, sys.executable, RANK)
        assert ended.status == 0, ended.stderr
        check(ran(ended.stdout), nodes)
    finally:
        slurm.run("scancel", holder)


def test_steps_and_jobs_at_once_on_the_same_nodes(slurm: Slurm):
    step = f"srun --exact -N2 -n2 {sys.executable} {RANK}"
    job = ("salloc", "-N2", "--ntasks-per-node=2", "bash", "-c", f"{step} & {step} & wait")
    both = slurm.run("bash", "-c", '"$@" & "$@" & wait', "both", *job)
    tasks = ran(both.stdout)
    assert len(tasks) == 8, both.stderr
    steps = {task["source"]: [t for t in tasks if t["source"] == task["source"]] for task in tasks}
    assert len(steps) == 4
    for each in steps.values():
        check(each, "n9 n10")
    taken = [address for each in steps.values() for address in each[0]["addresses"]]
    assert len(set(taken)) == 8


def test_names_of_nodes_are_those_that_slurm_gives(slurm: Slurm):
    for nodes in ("n[9-10]", "n[08-11]", "n[098-101]", "r[1-2]n[0-1]", "a,b[1-2,7],c", "a7,a[1-3]"):
        names = slurm.run("scontrol", "show", "hostnames", nodes).stdout.split()
        assert names, nodes
        assert expand_nodes(nodes) == names


def test_lists_of_nodes_as_slurm_writes_them(slurm: Slurm):
    for names in (
        "a1-ib a2-ib a7-ib",
        "n08 n09 n10 n11",
        "n9 n10 n08",
        "r1n0 r1n1 r2n0 r2n1",
        "r1-3x r2-4x",
    ):
        written = slurm.run("scontrol", "show", "hostlist", names.replace(" ", ",")).stdout.strip()
        assert written, names
        assert expand_nodes(written) == names.split()
