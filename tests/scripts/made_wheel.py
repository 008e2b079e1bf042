"""A wheel on a package index of one folder, for pip itself to download."""

import zipfile
from pathlib import Path

import pytest

from trainer.storage.disk import sha256_of

METADATA = {
    "METADATA": "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n",
    "WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    "RECORD": "",
}


def make_wheel(index: Path, members: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> str:
    """Makes `tiny==1.0` the one package that pip can reach; returns the sha256 of its wheel."""
    index.mkdir()
    path = index / "tiny-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        for name, content in members.items():
            wheel.writestr(name, content)
        for name, text in METADATA.items():
            wheel.writestr(f"tiny-1.0.dist-info/{name}", text)
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(index))
    return sha256_of(path)
