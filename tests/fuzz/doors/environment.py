"""Environment variables: of Slurm, Kubernetes and TensorFlow, of Python and the libraries."""

import json
from pathlib import Path
from random import Random

from fuzz.doors import uses
from fuzz.doors.flags import without_data
from fuzz.inputs import DEEP, NUMBERS, TEXTS, Input, odd_json, of
from fuzz.samples import Samples

_SLURM = {
    **{"SLURM_JOB_ID": "7", "SLURM_STEP_ID": "0", "SLURM_PROCID": "0", "SLURM_STEP_NUM_TASKS": "2"},
    **{"SLURM_STEP_NODELIST": "n[1-2]", "SLURM_STEP_TASKS_PER_NODE": "1(x2)", "SLURM_NTASKS": "2"},
    **{"SLURM_NODEID": "0", "SLURM_LOCALID": "0", "SLURM_NNODES": "2", "SLURM_STEP_NUM_NODES": "2"},
    **{"SLURM_DISTRIBUTION": "block", "SLURM_DIST_PLANESIZE": "1", "SLURMD_NODENAME": "n1"},
}
_KUBERNETES = {
    **{"THAW_WORKERS": "2", "THAW_JOB": "imdb", "THAW_SERVICE": "imdb", "THAW_PORT": "2222"},
    "JOB_COMPLETION_INDEX": "0",
}
_PLACE = {
    "cluster": {"worker": ["127.0.0.1:1", "127.0.0.1:2"]},
    "task": {"type": "worker", "index": 0},
}
_LISTS = (
    *("n[0-9999999999]", "n[1-2", "n]", "n[[1]]", "[1-2]", "n[2-1]"),
    "n[1-9][1-9][1-9][1-9][1-9][1-9]",
    *("n[0-999999][0-999999]", "n1,,n2", ",", "a b", "n[" + "1," * 5000 + "1]", "n[\u0661-\u0662]"),
    "-n",
)
_COUNTS = (
    "1(x9999999999)",
    "1(x2",
    "(x2)",
    "9999999999",
    "0(x2)",
    "1,1,1",
    "",
    "2(x0)",
    "1(x" + "9" * 5000 + ")",
)
_ADDRESSES = (
    *([], [""], ["a"], ["a:b"], ["a:1", "a:1"], [5], None, {}, "a:1,b:2", ["[::1]:1", "b:2"]),
    *(["a:99999", "b:1"], ["x" * 300 + ":1", "b:2"], ["a:1"] * 100_000, ["\ud800:1", "b:2"]),
    *(["a\nb:1", "b:2"], [["a:1"], "b:2"]),
)
_PYTHON = (
    {"KERAS_BACKEND": "torch"},
    {"KERAS_BACKEND": "jax"},
    {"KERAS_BACKEND": "nosuch"},
    {"KERAS_HOME": "/dev/null"},
    {"PYTHONIOENCODING": "ascii"},
    {"PYTHONIOENCODING": "utf-16"},
    {"PYTHONIOENCODING": "latin-1:strict"},
    {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    {"LC_ALL": "POSIX", "LANG": "", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    {"LC_ALL": "tr_TR.UTF-8"},
    {"TMPDIR": "/proc/nowhere"},
    {"TMPDIR": "/proc", "TEMP": "/proc", "TMP": "/proc"},
    {"HOME": None},
    {"HOME": ""},
    {"HOME": "/proc/nowhere"},
    {"HOME": "/proc"},
    {"HF_HOME": "/proc/x"},
    {"HF_HUB_OFFLINE": "perhaps"},
    {"HF_ENDPOINT": "not a url"},
    {"HF_HUB_DOWNLOAD_TIMEOUT": "x"},
    {"TRANSFORMERS_VERBOSITY": "loud"},
    {"TF_CPP_MIN_LOG_LEVEL": "x"},
    {"CUDA_VISIBLE_DEVICES": "x,y"},
    {"OMP_NUM_THREADS": "-1"},
    {"TF_CPU_BFC_MEM_LIMIT_IN_MB": "x"},
    {"TF_XLA_FLAGS": "--nosuch"},
    {"MPLBACKEND": "nosuch"},
    {"MPLCONFIGDIR": "/proc/x"},
    {"COLUMNS": "0"},
    {"COLUMNS": "-5"},
    {"COLUMNS": "x"},
    {"TERM": "dumb", "NO_COLOR": "1", "FORCE_COLOR": "1"},
    {"PYTHONWARNINGS": "error"},
    {"XDG_CACHE_HOME": "/proc/x"},
    {"TOKENIZERS_PARALLELISM": "x"},
    {"http_proxy": "\udcff", "https_proxy": "x"},
)


def cluster(random: Random, folder: Path, samples: Samples) -> Input:
    """Variables that say where this worker stands, of which one or two are odd."""
    variables: dict[str, str | None] = {}
    kind = random.randrange(10)
    if kind < 4:
        variables |= _SLURM
    if kind in (3, 4, 5, 6):
        variables |= _KUBERNETES
    if kind > 5:
        place = json.loads(json.dumps(_PLACE))
        if random.random() < 0.3:
            place["cluster"]["worker"] = random.choice(_ADDRESSES)
        text = random.choice(
            [json.dumps(place), odd_json(random, place), odd_json(random, place), DEEP]
        )
        variables["TF_CONFIG"] = text.replace("\0", "").encode(errors="replace")[:120_000].decode()
    for name in random.sample(sorted(variables), random.choice([0, 1, 1, 2]) if kind < 7 else 0):
        odd = [of(random, NUMBERS), of(random, NUMBERS), of(random, TEXTS)]
        if "LIST" in name:
            odd = list(_LISTS)
        elif "PER_NODE" in name:
            odd = list(_COUNTS)
        variables[name] = random.choice([*odd, None])
    flags = [*without_data(samples.flags(folder), folder), "--start_seconds=1"]
    return Input(flags, environment=variables, allowed=(69,))


def python(random: Random, folder: Path, samples: Samples) -> Input:
    """Variables that act while Python and the libraries start, in a process of its own."""
    variables = dict(random.choice(_PYTHON))
    run = samples.copy_run(folder)
    name = random.choice(["predict", "predict", "tokenize", "report", "evaluate"])
    if name == "tokenize":
        case = Input(
            [f"--tokenizer={run / 'tokenizer'}", "gr\u00f6\u00dfe \U0001f642"], "launch.tokenize"
        )
    else:
        case = uses.command(random, name, folder, run)
    case.fresh, case.environment = True, variables
    case.nameless = random.random() < 0.1
    if random.random() < 0.15:
        keras = folder / "home" / ".keras"
        keras.mkdir(parents=True)
        settings = {"backend": random.choice(["torch", "jax", "x", 5]), "floatx": "float64"}
        (keras / "keras.json").write_text(
            random.choice([json.dumps(settings), "{", "[]", "\ufeff"])
        )
    return case
