"""Variables as they tell a process of its cluster, and what is said of wrong ones."""

import json

import pytest

from launch.cluster import resolve
from launch.cluster_slurm import expand_nodes
from trainer.errors import UserError

HOSTS = ["a:2222", "b:2222", "c:2222"]
PAIR = ("n[9-10]", "1(x2)", "n9 n10")
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


def tf_config(worker=(), task=("worker", 0), **cluster) -> dict[str, str]:
    """An environment with the TF_CONFIG of these workers."""
    if worker:
        cluster["worker"] = list(worker)
    config = {"cluster": cluster, "task": dict(zip(("type", "index"), task, strict=True))}
    return {"TF_CONFIG": json.dumps(config)}


def slurm_task(rank: int, nodes: str, tasks_per_node: str, places: str, **changes) -> dict:
    """Variables that srun gives to the task of this rank; `places` names the node of each rank."""
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
    """Variables that a pod of launch.kubernetes's manifest sees, three workers."""
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
