"""launch.kubernetes: manifests against the API's schemas, and that they mean what they should."""

import copy
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from manifests import VERSIONS, Refused, check
from programs import ROOT, environment, run

from launch import cluster, kubernetes
from launch import main as program
from launch.restarts import End, decide
from trainer.errors import UserError

TRAIN = ("--config=configs/smoke.py", "--workdir=/runs/imdb")
KINDS = ("job", "jobset")


def settings(**changed):
    values = {
        "name": "imdb",
        "image": "registry.example/thaw:gpu",
        "volume": "runs",
        "mount": "/runs",
        "namespace": "",
        "kind": "job",
        "workers": 2,
        "gpus": 0,
        "cpus": 4,
        "memory": "16Gi",
        "max_restarts": 3,
        "grace_seconds": 120,
        "tensorboard": True,
        "train": TRAIN,
    }
    made = kubernetes.Run(**{**values, **changed})
    made.check()
    return made


def rendered(**changed):
    """The documents as kubectl would read them, by kind."""
    text = kubernetes.to_yaml(kubernetes.manifests(settings(**changed)))
    return {document["kind"]: document for document in yaml.safe_load_all(text)}


def job_of(documents):
    """The spec of the Job, or of the one in the JobSet."""
    if "Job" in documents:
        return documents["Job"]["spec"]
    (only,) = documents["JobSet"]["spec"]["replicatedJobs"]
    return only["template"]["spec"]


def variables_of(documents):
    """The environment of a worker, as Kubernetes makes it."""
    secret = documents["Secret"]
    made = {}
    for each in container_of(documents)["env"]:
        if "value" in each:
            made[each["name"]] = each["value"]
        else:
            wanted = each["valueFrom"]["secretKeyRef"]
            assert wanted["name"] == secret["metadata"]["name"]
            made[each["name"]] = secret["stringData"][wanted["key"]]
    return made


def container_of(documents):
    (container,) = job_of(documents)["template"]["spec"]["containers"]
    return container


# The schemas


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("workers", [1, 2, 8])
@pytest.mark.parametrize("gpus", [0, 8])
@pytest.mark.parametrize("kind", KINDS)
def test_every_variant_is_valid(kind, gpus, workers, version):
    documents = rendered(kind=kind, gpus=gpus, workers=workers, namespace="team")
    first = {"job": {"Service", "Job"}, "jobset": {"JobSet"}}[kind]
    assert set(documents) == {"Secret", "NetworkPolicy", *first, "Deployment"}
    for document in documents.values():
        check(document, version)
        assert document["metadata"]["namespace"] == "team"
    assert "Deployment" not in rendered(kind=kind, tensorboard=False)


def rename(place, old, new):
    place[new] = place.pop(old)


@pytest.mark.parametrize(
    ("kind", "spoil", "said"),
    [
        ("Job", lambda d: d.update(kind="Jobb"), "Couldn't find schema for kind Jobb"),
        ("Job", lambda d: d.update(apiVersion="batch/v3"), "Couldn't find schema"),
        ("JobSet", lambda d: d.update(kind="JobSett"), "Couldn't find schema for kind JobSett"),
        ("JobSet", lambda d: d.update(apiVersion="jobset.x-k8s.io/v9"), "Couldn't find schema"),
        ("Job", lambda d: rename(d["spec"], "completions", "completion"), "completion"),
        ("Job", lambda d: d["spec"].update(parallelism="2"), "spec.parallelism: '2' is not"),
        ("Job", lambda d: d["spec"].update(completionMode="indexed"), "completionMode"),
        ("Service", lambda d: d["spec"].update(publishNotReadyAddresses="yes"), "'yes' is not"),
        ("Deployment", lambda d: d["spec"].pop("selector"), "'selector' is a required"),
        ("JobSet", lambda d: rename(d["spec"], "network", "networks"), "networks"),
        ("JobSet", lambda d: d["spec"]["failurePolicy"].update(maxRestarts="3"), "maxRestarts"),
        (
            "JobSet",
            lambda d: d["spec"]["failurePolicy"]["rules"][0].update(action="StopJobSet"),
            "'StopJobSet' is not a choice",
        ),
    ],
)
def test_a_wrong_manifest_is_refused(kind, spoil, said):
    documents = {**rendered(kind="job"), **rendered(kind="jobset")}
    check(documents[kind])
    document = copy.deepcopy(documents[kind])
    spoil(document)
    with pytest.raises(Refused, match=re.escape(said)):
        check(document)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda pod: pod.update(restart="Never"), "restart"),
        (lambda pod: pod["containers"][0].update(commands=[]), "commands"),
        (lambda pod: pod["containers"][0]["env"][0].update(values="2"), "values"),
        (lambda pod: pod["volumes"][0]["persistentVolumeClaim"].update(claim="a"), "claim"),
        (lambda pod: pod.update(terminationGracePeriodSeconds="long"), "long"),
        (lambda pod: pod.update(restartPolicy="Sometimes"), "Sometimes"),
    ],
)
def test_a_wrong_word_deep_inside_is_refused(kind, spoil, said):
    documents = rendered(kind=kind)
    spoil(job_of(documents)["template"]["spec"])
    with pytest.raises(Refused, match=said):
        check(documents[{"job": "Job", "jobset": "JobSet"}[kind]])


# What Kubernetes makes of it


@pytest.mark.parametrize("workers", [1, 2, 12])
@pytest.mark.parametrize("kind", KINDS)
def test_workers_find_each_other(kind, workers):
    """Each pod's own name and service, as Kubernetes composes them, is what the others call it."""
    documents = rendered(kind=kind, workers=workers)
    job, pod = job_of(documents), job_of(documents)["template"]
    assert job["completions"] == job["parallelism"] == workers
    if kind == "jobset":
        spec = documents["JobSet"]["spec"]
        (only,) = spec["replicatedJobs"]
        assert only["replicas"] == 1
        assert spec["network"]["enableDNSHostnames"]
        assert spec["network"]["publishNotReadyAddresses"]
        hosts = f"{documents['JobSet']['metadata']['name']}-{only['name']}-0"
        service = spec["network"]["subdomain"]
    else:
        spec = documents["Service"]["spec"]
        assert spec["clusterIP"] == "None"
        assert spec["publishNotReadyAddresses"]
        assert spec["selector"].items() <= pod["metadata"]["labels"].items()
        hosts = documents["Job"]["metadata"]["name"]
        service = documents["Service"]["metadata"]["name"]
    assert pod["spec"]["subdomain"] == service
    variables = variables_of(documents)
    expected = tuple(f"{hosts}-{i}.{service}:2222" for i in range(workers))
    for index in range(workers):
        found = cluster.resolve({**variables, "JOB_COMPLETION_INDEX": str(index)})
        assert found.addresses == (expected if workers > 1 else ())
        assert (found.index, found.source) == (index, "Kubernetes")


@pytest.mark.parametrize("kind", KINDS)
def test_only_workers_of_the_run_reach_a_worker(kind):
    documents = rendered(kind=kind)
    policy = documents["NetworkPolicy"]["spec"]
    labels = job_of(documents)["template"]["metadata"]["labels"]
    assert labels["app.kubernetes.io/instance"] == "imdb"
    assert policy == {
        "podSelector": {"matchLabels": labels},
        "policyTypes": ["Ingress"],
        "ingress": [{"from": [{"podSelector": {"matchLabels": labels}}]}],
    }
    board = documents["Deployment"]["spec"]["template"]["metadata"]["labels"]
    assert not labels.items() <= board.items()
    # The policy is made before the pods.
    order = list(documents)
    assert order.index("NetworkPolicy") < order.index("Job" if kind == "job" else "JobSet")


@pytest.mark.parametrize("kind", KINDS)
def test_each_manifest_has_a_secret_of_its_own(kind):
    seen = {cluster.secret(variables_of(rendered(kind=kind))) for _ in range(2)}
    assert len(seen) == 2
    assert all(re.fullmatch("[0-9a-f]{64}", each) for each in seen)


def consequence(documents, status, disrupted=False):
    """Kubernetes's answer to a worker that ends so: "stop", "restart" or "restart, counted"."""
    job, matched = job_of(documents), None
    for i, rule in enumerate(job["podFailurePolicy"]["rules"]):
        codes = rule.get("onExitCodes", {"values": ()})
        conditions = rule.get("onPodConditions", ())
        wanted = {"type": "DisruptionTarget", "status": "True"}
        if status in codes["values"] or (disrupted and wanted in conditions):
            matched = rule["action"]
            message = f"failed with exit code {status} matching {matched} rule at index {i}"
            break
    if "JobSet" not in documents:
        assert job["backoffLimitPerIndex"] == 3
        assert job["maxFailedIndexes"] == 0
        return {"FailJob": "stop", "Ignore": "restart", None: "restart, counted"}[matched]
    policy = documents["JobSet"]["spec"]["failurePolicy"]
    assert policy["maxRestarts"] == 3
    assert job["backoffLimit"] == 0  # the first failure is the Job's
    reason = {"FailJob": "PodFailurePolicy", None: "BackoffLimitExceeded"}[matched]
    for rule in policy["rules"]:
        patterns = rule.get("onJobFailureMessagePatterns", [""])
        if reason in rule["onJobFailureReasons"] and re.search("|".join(patterns), message):
            actions = {"FailJobSet": "stop", "RestartJobSetAndIgnoreMaxRestarts": "restart"}
            return actions[rule["action"]]
    return "restart, counted"


@pytest.mark.parametrize("status", [1, 2, 20, 75, 134, 137, 143])
@pytest.mark.parametrize("kind", KINDS)
def test_exit_codes_mean_what_they_mean_to_the_other_launchers(kind, status):
    ends = [End("worker 1", status, 40)]
    if not decide(ends, max_restarts=3).restart:
        expected = "stop"
    elif decide(ends, max_restarts=0).restart:
        expected = "restart"
    else:
        expected = "restart, counted"
    assert consequence(rendered(kind=kind), status) == expected
    if status == program.USER_ERROR:
        assert expected == "stop"


@pytest.mark.parametrize("kind", KINDS)
def test_an_eviction_is_not_counted(kind):
    documents = rendered(kind=kind)
    for status in (program.INTERRUPTED, 137):  # saved in time, or not
        assert consequence(documents, status, disrupted=True) == "restart"
    job = job_of(documents)
    assert job["template"]["spec"]["terminationGracePeriodSeconds"] == 120
    assert job["template"]["spec"]["restartPolicy"] == "Never"
    rules = job["podFailurePolicy"]["rules"]
    named = {rule["onExitCodes"]["containerName"] for rule in rules if "onExitCodes" in rule}
    assert named == {container_of(documents)["name"]}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("gpus", [0, 8])
def test_resources_and_volumes(kind, gpus):
    train = ("--config=a.py", "--workdir=/data/runs/imdb/")
    documents = rendered(
        kind=kind, gpus=gpus, cpus=12, memory="96Gi", mount="/data/runs", train=train
    )
    resources = {"cpu": "12", "memory": "96Gi", **({"nvidia.com/gpu": "8"} if gpus else {})}
    assert container_of(documents)["resources"] == {"requests": resources, "limits": resources}
    board = documents["Deployment"]["spec"]["template"]["spec"]
    for pod in (job_of(documents)["template"]["spec"], board):
        (container,) = pod["containers"]
        mounts = {each["name"]: each["mountPath"] for each in container["volumeMounts"]}
        assert set(mounts) == {volume["name"] for volume in pod["volumes"]}
        assert mounts.pop("runs") == "/data/runs"
        assert mounts == ({"shm": "/dev/shm"} if gpus and pod is not board else {})
    (container,) = board["containers"]
    assert container["command"][-1] == "--logdir=/data/runs/imdb/tensorboard"
    assert "--host=127.0.0.1" in container["command"]
    spec = documents["Deployment"]["spec"]
    assert spec["selector"]["matchLabels"] == spec["template"]["metadata"]["labels"]
    # Nor is it one of the pods that the service gives names to.
    assert spec["template"]["metadata"] != job_of(documents)["template"]["metadata"]


@pytest.mark.slow
@pytest.mark.end_to_end
def test_what_a_pod_would_run_trains(tmp_path, few):
    """Command, arguments and environment of the manifest, in a process on this machine."""
    mount = tmp_path / "runs"
    flags = [flag for flag in few.flags if not flag.startswith(("--workdir", "--cache_dir"))]
    train = (*flags, f"--workdir={mount}/one", "--config.phases[0].train=(^.*$$|$(HOME))")
    documents = rendered(workers=1, mount=str(mount), train=train)
    container = container_of(documents)
    variables = variables_of(documents)
    python, *command = container["command"]
    assert python == "python"
    # As Kubernetes reads them: $$ is a dollar, $(NAME) a variable.
    arguments = [argument.replace("$$", "$") for argument in container["args"]]
    assert arguments == list(train)
    done = subprocess.run(
        [sys.executable, *command, *arguments[:-1]],
        cwd=ROOT,
        env={**environment(), **variables, "JOB_COMPLETION_INDEX": "0"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert (mount / "one" / "result.json").is_file()
    assert list((mount / ".cache" / "thaw").iterdir())


# The program


def flags_of(**changed):
    values = {"name": "imdb", "image": "a/thaw:gpu", "volume": "runs", **changed}
    return [f"--{flag}={value}" for flag, value in values.items() if value is not None]


def test_the_program_prints_it():
    ended = run(*flags_of(workers=3, kind="jobset"), "--", *TRAIN, program="launch.kubernetes")
    assert ended.status == 0, ended.stderr
    assert ended.stderr == ""
    documents = {each["kind"]: each for each in yaml.safe_load_all(ended.stdout)}
    assert job_of(documents)["completions"] == 3
    assert container_of(documents)["args"] == list(TRAIN)
    assert container_of(documents)["command"][:3] == ["python", "-m", "launch.train"]
    assert "&id" not in ended.stdout


@pytest.mark.parametrize(
    ("changed", "train", "said"),
    [
        ({"name": "IMDB"}, TRAIN, "--name='IMDB': give a-z"),
        ({"name": "1st"}, TRAIN, "--name='1st'"),
        ({"name": "a-"}, TRAIN, "--name='a-'"),
        ({"name": "a" * 56}, TRAIN, "too long by 1"),
        ({"name": "a" * 46, "kind": "jobset"}, TRAIN, "too long by 1"),
        ({"name": "a" * 55, "workers": 11}, TRAIN, "too long by 1"),
        ({"workers": 0}, TRAIN, "workers"),
        ({"gpus": -1}, TRAIN, "gpus"),
        ({"kind": "pod"}, TRAIN, "kind"),
        ({"image": None}, TRAIN, "image"),
        ({"volume": "My Volume"}, TRAIN, "--volume"),
        ({"namespace": "a b"}, TRAIN, "--namespace"),
        ({"image": "a\x07b"}, TRAIN, "'a\\x07b' holds a line break or odd character"),
        ({"name": "a\n"}, TRAIN, "holds a line break or odd character"),
        ({"mount": "/runs/\u202e"}, TRAIN, "holds a line break or odd character"),
        ({}, (*TRAIN, "--config.x=a\nb"), "'--config.x=a\\nb' holds a line break"),
        ({}, (*TRAIN, os.fsdecode(b"--config.x=\xff")), "holds bytes that are not UTF-8"),
        ({"name": "a" * 5000}, TRAIN, "too long by"),
        ({"image": "a" * 5000}, TRAIN, "--image='aaa"),
        ({"memory": "9" * 5000 + "Gi"}, TRAIN, "--memory='999"),
        ({"workers": 10**9}, TRAIN, "workers"),
        ({"memory": "16"}, TRAIN, "--memory='16': give a number with a unit"),
        ({"mount": "runs"}, TRAIN, "--mount='runs'"),
        ({"mount": "/"}, TRAIN, "--mount='/'"),
        ({}, (), "--config is missing"),
        ({}, TRAIN[1:], "--config is missing"),
        ({}, TRAIN[:1], "give the flags of launch.train after `--`: --workdir is missing"),
        ({}, ("python", *TRAIN), "'python' after `--` is no flag of launch.train"),
        ({}, (TRAIN[0], "--workdir", "runs/imdb"), "--workdir=runs/imdb after `--`"),
        ({}, (TRAIN[0], "--workdir=/runs"), "--workdir=/runs after `--`"),
        ({}, (TRAIN[0], "--workdir=/runsome/a"), "--workdir=/runsome/a after `--`"),
        ({}, (TRAIN[0], "--workdir=/runs/../a"), "--workdir=/runs/../a after `--`"),
        ({}, (*TRAIN, "--index=0"), "--index after `--`"),
        ({}, (*TRAIN, "--hosts", "a:1,b:1"), "--hosts after `--`"),
    ],
)
def test_a_mistake_is_one_line(launch, changed, train, said):
    ended = launch(*flags_of(**changed), "--", *train, program="launch.kubernetes")
    assert (ended.status, ended.stdout) == (2, "")
    assert ended.stderr.startswith("error: ")
    assert said in ended.stderr
    assert len(ended.stderr.splitlines()) == 1
    assert len(ended.stderr) < 400


def test_the_longest_names_pass():
    for kind, length in (("job", 55), ("jobset", 45)):
        for document in rendered(kind=kind, name="a" * length, workers=10).values():
            check(document)
        with pytest.raises(UserError, match="too long by 1"):
            settings(kind=kind, name="a" * length, workers=11)


def test_tensorflow_is_not_waited_for():
    code = (
        "import runpy, sys\n"
        "try: runpy.run_module('launch.kubernetes', run_name='__main__')\n"
        "finally: print([m for m in ('tensorflow', 'keras') if m in sys.modules])"
    )
    command = [sys.executable, "-c", code, *flags_of(), "--", *TRAIN]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment())
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("[]\n")


# The page


def test_the_page_holds_what_works():
    page = (ROOT / "docs" / "clusters" / "kubernetes.md").read_text()
    blocks = re.findall(r"^```(\w*)\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    written = [yaml.safe_load(text) for language, text in blocks if language == "yaml"]
    assert [document["kind"] for document in written] == ["PersistentVolumeClaim"]
    claim = written[0]["metadata"]["name"]
    commands = [
        command.partition("|")[0]
        for language, text in blocks
        for command in re.sub(r"\\\n", "", text).splitlines()
        if not language and "launch.kubernetes" in command
    ]
    assert len(commands) == 3
    for command in commands:
        shown = ["bash", "-c", command.replace(".venv/bin/python", sys.executable)]
        done = subprocess.run(shown, capture_output=True, text=True, cwd=ROOT, env=environment())
        assert done.returncode == 0, done.stderr
        documents = {each["kind"]: each for each in yaml.safe_load_all(done.stdout)}
        volume = job_of(documents)["template"]["spec"]["volumes"][0]
        assert volume["persistentVolumeClaim"]["claimName"] == claim
        config = re.search(r"--config=(\S+)", command)[1]
        assert (ROOT / config).is_file()
        written += documents.values()
    for document in written:
        check(document)


# The image


def instructions():
    """(instruction, rest) of each line of the Dockerfile."""
    lines = re.sub(r"\\\n", "", (ROOT / "Dockerfile").read_text()).splitlines()
    return [line.split(maxsplit=1) for line in lines if line and not line.startswith("#")]


@pytest.fixture
def image(tmp_path):
    """Files that the Dockerfile copies into the image and .dockerignore lets through."""
    allowed = (ROOT / ".dockerignore").read_text().splitlines()
    assert [line for line in allowed if not line.startswith(("#", "!"))] == ["*", "**/__pycache__"]
    folder = tmp_path / "opt"
    folder.mkdir()
    for name, rest in instructions():
        if name == "COPY":
            *sources, target = rest.split()
            for source in sources:
                assert f"!{source}" in allowed
                assert target in ("./", source)
                (folder / source).symlink_to(ROOT / source)
    return folder


def test_the_image_holds_all_that_runs(image):
    code = (
        "import glob, runpy, launch.train, trainer.errors\n"
        "paths = glob.glob('configs/*.py')\n"
        "for path in paths: runpy.run_path(path)['get_config']()\n"
        "print(len(paths), launch.train.__file__, trainer.errors.__file__)"
    )
    command = [sys.executable, "-c", code]
    variables = {**environment(), "PYTHONPATH": str(image)}
    done = subprocess.run(command, capture_output=True, text=True, cwd=image, env=variables)
    assert done.returncode == 0, done.stderr
    count, *modules = done.stdout.split()
    assert int(count) == len(list((ROOT / "configs").glob("*.py")))
    assert modules == [f"{image}/launch/train.py", f"{image}/trainer/errors.py"]


@pytest.mark.parametrize(
    ("extra", "installs"), [("", "."), ("gpu", ".[gpu]"), ("cuda", None), ("dev", None)]
)
def test_the_image_installs_the_pins_and_the_extra_that_is_asked_for(image, extra, installs):
    (script,) = (rest for name, rest in instructions() if name == "RUN" and "pip" in rest)
    tools = image / "bin"
    tools.mkdir()
    pip = tools / "pip"
    pip.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    pip.chmod(0o755)
    variables = {"PATH": f"{tools}:/usr/bin:/bin", "EXTRA": extra}
    done = subprocess.run(
        ["/bin/sh", "-c", script], capture_output=True, text=True, cwd=image, env=variables
    )
    if installs is None:
        assert done.returncode == 2
        assert done.stdout == f"EXTRA is '{extra}': it must be empty or gpu\n"
        return
    assert done.returncode == 0, done.stderr
    command, *options, what = done.stdout.splitlines()
    assert command == "install"
    assert what == installs
    assert "--constraint=constraints.txt" in options
    assert (image / "constraints.txt").is_file()


def test_the_image_runs_as_the_user_that_the_manifest_names():
    last = dict(instructions())
    assert int(last["USER"]) == kubernetes.USER
    creates = next(rest for name, rest in instructions() if "useradd" in rest)
    assert f"--uid={kubernetes.USER} " in creates
    # Lists, not a line for a shell: signals reach Python.
    assert last["ENTRYPOINT"] == '["python", "-m", "launch.train"]'
    order = [rest for name, rest in instructions() if name in ("COPY", "RUN")]
    code = next(i for i, rest in enumerate(order) if rest.startswith("trainer"))
    assert any("pip install" in rest for rest in order[:code])  # a change of code keeps that layer
    assert Path(last["WORKDIR"]) == Path(last["ENV"].partition("PYTHONPATH=")[2])
