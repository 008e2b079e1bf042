"""Prints the Kubernetes manifest of a run: its workers, their addresses, volume and TensorBoard.

  python -m launch.kubernetes --name=imdb --image=registry.example/thaw:gpu --volume=runs \\
      --workers=2 --gpus=8 -- --config=configs/bert_imdb.py --workdir=/runs/imdb \\
      | kubectl apply -f -

What follows `--` are flags of launch.train. docs/clusters/kubernetes.md is the guide.
The manifest holds a secret by which the workers know each other, a new one each time it is printed.
"""

import dataclasses
import re
import secrets
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Any

import yaml
from absl import flags

from launch import main as program
from launch.cluster_common import MAX_WORKERS
from launch.cluster_kubernetes import KUBERNETES_PORT
from launch.texts import check_plain, shortened
from trainer.errors import UserError, shown

Manifest = dict[str, Any]

CONTAINER = "train"
USER = 1000  # of the Dockerfile
# Kubernetes waits up to 10 minutes before it makes a pod again, each pod for itself.
START_SECONDS = 900
# How long a pod stays bound to a node that does not answer; Kubernetes' own default is 300.
NODE_LOST_SECONDS = 30


@dataclasses.dataclass(frozen=True)
class Run:
    """The values of this program's flags."""

    name: str
    image: str
    volume: str
    mount: str
    namespace: str
    kind: str  # "job" or "jobset"
    workers: int
    gpus: int  # for each worker, as are
    cpus: int
    memory: str
    max_restarts: int
    grace_seconds: int
    tensorboard: bool
    train: Sequence[str]  # the flags of launch.train

    @property
    def job(self) -> str:
        """Name of the Job: its pods have the host names JOB-0, JOB-1 and so on."""
        return f"{self.name}-workers-0" if self.kind == "jobset" else self.name

    @property
    def secret(self) -> str:
        """Name of the Secret by which the workers know each other."""
        return f"{self.name}-meeting"

    @property
    def workdir(self) -> str:
        return program.value_of("workdir", self.train)

    def check(self) -> None:
        """Refuses what Kubernetes would, or what could not work there.

        Raises:
          UserError: which flag, and what to write.
        """
        check_plain([*(v for v in vars(self).values() if isinstance(v, str)), *self.train])
        for flag, value, pattern, example in (
            ("name", self.name, r"[a-z]([-a-z0-9]*[a-z0-9])?", "a-z, 0-9 and dashes, as in bert-2"),
            ("namespace", self.namespace, r"[-a-z0-9]{0,63}", "a-z, 0-9 and dashes"),
            ("volume", self.volume, r"[-.a-z0-9]{1,253}", "the name of a PersistentVolumeClaim"),
            ("image", self.image, r"[^\s]{1,500}", "a name, as in registry.example/thaw:gpu"),
            ("memory", self.memory, r"[1-9][0-9]{0,8}[MGT]i?", "a number with a unit, as in 16Gi"),
            ("mount", self.mount, r"(/[-.\w]+)+", "the path of a folder, as in /runs"),
        ):
            if not re.fullmatch(pattern, value):
                raise UserError(f"--{flag}={shown(value)}: give {example}")
        longest = f"{self.job}-{self.workers - 1}-abcde"  # name of a pod: the last five vary
        if len(longest) > 63:
            raise UserError(
                f"--name={shortened(self.name)} is too long by {len(longest) - 63}: its pods' names"
                " may have 63 characters"
            )
        program.check_train_flags(self.train, "Kubernetes")
        workdir = PurePosixPath(self.workdir)
        if PurePosixPath(self.mount) not in workdir.parents or ".." in workdir.parts:
            raise UserError(
                f"--workdir={shortened(self.workdir)} after `--` must be a folder on the volume, as"
                f" in {self.mount}/{self.name}: all workers share it, and it outlives them"
            )


def main(train: list[str]) -> None:
    """Prints the manifest."""
    own = [field.name for field in dataclasses.fields(Run) if field.name != "train"]
    values: dict[str, Any] = {name: flags.FLAGS[name].value for name in own}
    run = Run(**values, train=train)
    run.check()
    program.say_if_unchecked(train)
    text = to_yaml(manifests(run))
    with program.standard_output() as file:
        file.write(text.encode())


def manifests(run: Run) -> list[Manifest]:
    """The objects that `kubectl apply` is to make, in order."""
    first = [_secret(run), _network_policy(run)]  # pods that are there before these would be open
    made = [_job_set(run)] if run.kind == "jobset" else [_service(run), _job(run)]
    made = [*first, *made]
    return [*made, _tensorboard(run)] if run.tensorboard else made


def to_yaml(documents: Sequence[Manifest]) -> str:
    """The documents as one YAML stream."""
    return yaml.dump_all(documents, Dumper=_Dumper, sort_keys=False, explicit_start=True)


class _Dumper(yaml.SafeDumper):
    """Writes what occurs twice twice, instead of a reference."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _secret(run: Run) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": _metadata(run, run.secret, "worker"),
        "type": "Opaque",
        "stringData": {"secret": secrets.token_hex(32)},
    }


def _network_policy(run: Run) -> Manifest:
    """Only workers of the run reach its pods: TensorFlow's server asks nobody who they are."""
    own = {"matchLabels": _labels(run, "worker")}
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": _metadata(run, run.name, "worker"),
        "spec": {
            "podSelector": own,
            "policyTypes": ["Ingress"],
            "ingress": [{"from": [{"podSelector": own}]}],
        },
    }


def _service(run: Run) -> Manifest:
    """Headless: it only gives each pod of the Job a name in DNS."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": _metadata(run, run.name, "worker"),
        "spec": {
            "clusterIP": "None",
            "publishNotReadyAddresses": True,  # workers look for each other as they start
            "selector": _labels(run, "worker"),
            "ports": [{"name": "workers", "port": KUBERNETES_PORT}],
        },
    }


def _job(run: Run) -> Manifest:
    """A Job whose pods Kubernetes makes again one by one, after 10 s, 20 s, 40 s and so on.

    Failures are counted for each worker: when one fails all do, and each counts its own. A count
    over all of them would make the pause grow, and the limit shrink, with the number of workers.
    """
    spec = _job_spec(run, ignore="Ignore")
    spec["backoffLimitPerIndex"] = run.max_restarts
    spec["maxFailedIndexes"] = 0  # the first worker that has failed too often ends the run
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": _metadata(run, run.job, "worker"),
        "spec": spec,
    }


def _job_set(run: Run) -> Manifest:
    """A JobSet, which makes all pods again at once when one has failed, and its own service.

    Its Job gives up at the first failure. Why is in the reason and the message of that alone.
    """
    spec = _job_spec(run, ignore="FailJob")
    spec["backoffLimit"] = 0
    reasons = ["PodFailurePolicy"]
    return {
        "apiVersion": "jobset.x-k8s.io/v1alpha2",
        "kind": "JobSet",
        "metadata": _metadata(run, run.name, "worker"),
        "spec": {
            "network": {
                "enableDNSHostnames": True,
                "subdomain": run.name,
                "publishNotReadyAddresses": True,
            },
            "failurePolicy": {
                "maxRestarts": run.max_restarts,
                "rules": [
                    {
                        "name": "mistake",
                        "action": "FailJobSet",
                        "onJobFailureReasons": reasons,
                        "onJobFailureMessagePatterns": [rf"exit code {program.USER_ERROR}\b"],
                    },
                    {
                        "name": "preempted",
                        "action": "RestartJobSetAndIgnoreMaxRestarts",
                        "onJobFailureReasons": reasons,
                    },
                ],
            },
            "replicatedJobs": [{"name": "workers", "replicas": 1, "template": {"spec": spec}}],
        },
    }


def _job_spec(run: Run, ignore: str) -> Manifest:
    """The part of the specification that both kinds share.

    Args:
      run: what to run.
      ignore: the action for failures that are not to be counted.
    """

    def exit_code(status: int) -> Manifest:
        return {"containerName": CONTAINER, "operator": "In", "values": [status]}

    disrupted = {"type": "DisruptionTarget", "status": "True"}  # evicted, or its node is gone
    return {
        "completionMode": "Indexed",
        "completions": run.workers,
        "parallelism": run.workers,
        # When the chief is done the run is: nobody waits for a worker that fails on its way out.
        "successPolicy": {"rules": [{"succeededIndexes": "0"}]},
        # The table of exit codes: what no rule names is counted.
        "podFailurePolicy": {
            "rules": [
                {"action": "FailJob", "onExitCodes": exit_code(program.USER_ERROR)},
                {"action": ignore, "onExitCodes": exit_code(program.INTERRUPTED)},
                {"action": ignore, "onPodConditions": [disrupted]},
            ]
        },
        "template": {
            "metadata": {"labels": _labels(run, "worker")},
            "spec": {
                "subdomain": run.name,
                "restartPolicy": "Never",  # in place Kubernetes would ask no podFailurePolicy
                "terminationGracePeriodSeconds": run.grace_seconds,
                "tolerations": _tolerations(run),
                **_pod(run, _worker(run), shared_memory=run.gpus > 0),
            },
        },
    }


def _worker(run: Run) -> Manifest:
    """The container of a worker. No shell comes between: signals reach Python."""
    resources = {"cpu": str(run.cpus), "memory": run.memory}
    mounts = [{"name": "runs", "mountPath": run.mount}]
    if run.gpus:
        resources["nvidia.com/gpu"] = str(run.gpus)
        mounts.append({"name": "shm", "mountPath": "/dev/shm"})
    environment = {
        # Kubernetes adds JOB_COMPLETION_INDEX; launch/cluster_kubernetes.py reads them.
        "THAW_WORKERS": str(run.workers),
        "THAW_JOB": run.job,
        "THAW_SERVICE": run.name,
        "THAW_PORT": str(KUBERNETES_PORT),
        # Token caches, pretrained models and data sets: made once, on the volume.
        "XDG_CACHE_HOME": f"{run.mount}/.cache",
        "TFDS_DATA_DIR": f"{run.mount}/.cache/tensorflow_datasets",
    }
    return {
        "name": CONTAINER,
        "image": run.image,
        "command": ["python", "-m", "launch.train", f"--start_seconds={START_SECONDS}"],
        "args": [argument.replace("$", "$$") for argument in run.train],  # $(NAME) is Kubernetes'
        "env": [
            *({"name": name, "value": value} for name, value in environment.items()),
            {
                "name": "THAW_SECRET",
                "valueFrom": {"secretKeyRef": {"name": run.secret, "key": "secret"}},
            },
        ],
        "resources": {"requests": resources, "limits": resources},
        "volumeMounts": mounts,
    }


def _tensorboard(run: Run) -> Manifest:
    """A TensorBoard that listens inside of its pod only: `kubectl port-forward` leads there."""
    labels = _labels(run, "tensorboard")
    resources = {"cpu": "1", "memory": "2Gi"}
    logdir = f"{PurePosixPath(run.workdir)}/tensorboard"
    container = {
        "name": "tensorboard",
        "image": run.image,
        "command": ["tensorboard", "--host=127.0.0.1", "--port=6006", f"--logdir={logdir}"],
        "resources": {"requests": resources, "limits": resources},
        "volumeMounts": [{"name": "runs", "mountPath": run.mount, "readOnly": True}],
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": _metadata(run, f"{run.name}-tensorboard", "tensorboard"),
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": _pod(run, container)},
        },
    }


def _pod(run: Run, container: Manifest, shared_memory: bool = False) -> Manifest:
    """A pod with the volume that fits the "restricted" Pod Security Standard."""
    volumes: list[Manifest] = [{"name": "runs", "persistentVolumeClaim": {"claimName": run.volume}}]
    if shared_memory:  # for NCCL: a container's own /dev/shm has 64 MB
        volumes.append({"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": "1Gi"}})
    security = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    return {
        "automountServiceAccountToken": False,  # nothing here talks to Kubernetes
        "enableServiceLinks": False,  # of a Service called thaw, THAW_PORT would be one
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "runAsGroup": USER,
            "fsGroup": USER,
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [{**container, "securityContext": security}],
        "volumes": volumes,
    }


def _tolerations(run: Run) -> list[Manifest]:
    lost = [
        {
            "key": f"node.kubernetes.io/{state}",
            "operator": "Exists",
            "effect": "NoExecute",
            "tolerationSeconds": NODE_LOST_SECONDS,
        }
        for state in ("not-ready", "unreachable")
    ]
    gpu_nodes = {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}
    return [*lost, gpu_nodes] if run.gpus else lost


def _metadata(run: Run, name: str, component: str) -> Manifest:
    namespace = {"namespace": run.namespace} if run.namespace else {}
    return {"name": name, **namespace, "labels": _labels(run, component)}


def _labels(run: Run, component: str) -> dict[str, str]:
    return {
        "app.kubernetes.io/name": "thaw",
        "app.kubernetes.io/instance": run.name,
        "app.kubernetes.io/component": component,
    }


def _define_flags() -> None:
    flags.DEFINE_string("name", None, "Of the run, and of what it makes.", required=True)
    flags.DEFINE_string("image", None, "What `docker push` pushed.", required=True)
    flags.DEFINE_string(
        "volume", None, "PersistentVolumeClaim that all workers mount.", required=True
    )
    flags.DEFINE_string("mount", "/runs", "Folder to mount it at; --workdir lies in it.")
    flags.DEFINE_string("namespace", "", "Namespace (default: the one kubectl is in).")
    flags.DEFINE_enum("kind", "job", ["job", "jobset"], "What runs the workers; see the docs.")
    flags.DEFINE_integer("workers", 1, "Processes, a pod for each.", 1, MAX_WORKERS)
    flags.DEFINE_integer("gpus", 0, "GPUs for each worker.", 0, 1024)
    flags.DEFINE_integer("cpus", 4, "CPU cores for each worker.", 1, 10**4)
    flags.DEFINE_string("memory", "16Gi", "Memory for each worker.")
    flags.DEFINE_integer("max_restarts", 3, "Failures after which the run is given up.", 0, 10**6)
    flags.DEFINE_integer(
        "grace_seconds", 120, "How long an evicted worker may take to save.", 1, 10**6
    )
    flags.DEFINE_bool("tensorboard", True, "Whether to run a TensorBoard beside it.")


if __name__ == "__main__":
    _define_flags()
    program.run(main, __doc__, texts=True)
