"""The cluster that a pod of an Indexed Job is told."""

import pytest
from cluster_variables import pod, refusal

from launch.cluster import resolve
from launch.cluster_common import Cluster


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
