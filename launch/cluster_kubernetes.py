"""The cluster that a pod of an Indexed Job is told, by the manifest of `launch.kubernetes`."""

from launch.cluster_common import (
    Cluster,
    Environment,
    Place,
    check_address,
    check_count,
    is_port,
    number_of,
    text_of,
)
from trainer.errors import UserError, shown

KUBERNETES_PORT = 2222  # where THAW_PORT is not set: each pod has its own address


def place_of(environment: Environment) -> Place | None:
    """This pod's place in its Job; None where the number of workers or the index is not set."""
    if not text_of(environment, "THAW_WORKERS") or not text_of(environment, "JOB_COMPLETION_INDEX"):
        return None
    index = number_of(environment, "JOB_COMPLETION_INDEX")
    return Place("Kubernetes", index, number_of(environment, "THAW_WORKERS"))


def read(environment: Environment) -> Cluster | None:
    """The workers that the manifest of launch.kubernetes and a pod's index in its Job name.

    Raises:
      UserError: what is set is wrong or incomplete.
    """
    names = ("THAW_WORKERS", "THAW_JOB", "THAW_SERVICE", "JOB_COMPLETION_INDEX")
    given = [name for name in names if text_of(environment, name)]
    if not given:
        return None
    count = number_of(environment, "THAW_WORKERS") if "THAW_WORKERS" in given else None
    index = number_of(environment, "JOB_COMPLETION_INDEX")
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
    port = text_of(environment, "THAW_PORT") or str(KUBERNETES_PORT)
    if not is_port(port):
        # Kubernetes itself sets it, to tcp://..., where a Service is called thaw.
        raise UserError(
            f"THAW_PORT is {shown(port)}: set it to a port from 1 to 65535 in the manifest"
        )
    job, service = text_of(environment, "THAW_JOB"), text_of(environment, "THAW_SERVICE")
    check_count(count, "THAW_WORKERS")
    addresses = tuple(f"{job}-{i}.{service}:{port}" for i in range(count))
    check_address(addresses[-1], "Kubernetes")
    return Cluster(addresses, index, "Kubernetes")
