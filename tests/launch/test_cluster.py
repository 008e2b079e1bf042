"""The cluster that flags and TF_CONFIG state, sources beside each other, and the secret."""

import json
import re
import subprocess
import sys

import pytest
from cluster_variables import BATCH, HOSTS, PAIR, pod, refusal, slurm_task, tf_config
from programs import ROOT

from launch.cluster import resolve, secret
from launch.cluster_common import Cluster
from trainer.errors import UserError


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
