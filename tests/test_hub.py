"""Names on the hub: a hub on this machine is asked, then its cache; what goes wrong is one line."""

import hashlib
import http.server
import json
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import huggingface_hub
import pytest
from programs import ROOT, environment

from trainer import hub
from trainer.errors import UserError

COMMIT = "0123456789abcdef0123456789abcdef01234567"
FILES = {
    "config.json": b'{"model_type": "bert"}',
    "vocab.txt": b"[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\n",
}
SHOW = """
import sys
from trainer import hub
from trainer.errors import UserError
try:
    folder = hub.folder_of(sys.argv[1], ["config.json", "vocab.*"], "tokenizer")
    print(*sorted(path.name for path in folder.iterdir()))
except UserError as error:
    print(error)
"""


class Hub(http.server.BaseHTTPRequestHandler):
    """As much of the hub as a download asks for: one model, own/tiny, and one that is gated."""

    def do_GET(self):
        path = self.path.partition("?")[0]
        if path.startswith("/api/models/own/gated"):
            return self._answer(403, b"", {"X-Error-Code": "GatedRepo"})
        if re.fullmatch(r"/api/models/own/tiny(/revision/\w+)?", path):
            return self._answer(200, json.dumps({"id": "own/tiny", "sha": COMMIT}).encode())
        if path.startswith("/api/models/own/tiny/tree/"):
            entries = [
                {"type": "file", "path": name, "size": len(content), "oid": _oid(content)}
                for name, content in {**FILES, "pytorch_model.bin": b"pickled"}.items()
            ]
            return self._answer(200, json.dumps(entries).encode())
        content = FILES.get(path.removeprefix(f"/own/tiny/resolve/{COMMIT}/"))
        if content is None:
            return self._answer(404, b"", {"X-Error-Code": "RepoNotFound"})
        return self._answer(200, content, {"ETag": f'"{_oid(content)}"', "X-Repo-Commit": COMMIT})

    do_HEAD = do_GET

    def log_message(self, *args):
        """Says nothing."""

    def _answer(self, status: int, content: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)


def _oid(content: bytes) -> str:
    return hashlib.sha1(content).hexdigest()


@pytest.fixture
def server() -> Iterator[http.server.ThreadingHTTPServer]:
    served = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    thread = threading.Thread(target=served.serve_forever)
    thread.start()
    yield served
    served.shutdown()
    served.server_close()
    thread.join()


def ask(name: str, endpoint: str, home: Path, **variables: str) -> str:
    """Environment of a process of its own: the libraries read their variables on import."""
    variables = {"HF_ENDPOINT": endpoint, "HF_HOME": str(home), "NO_PROXY": "*", **variables}
    environ = {key: v for key, v in environment().items() if key != "HF_HUB_OFFLINE"} | variables
    command = [sys.executable, "-c", SHOW, name]
    done = subprocess.run(
        command, cwd=ROOT, env=environ, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


@pytest.mark.long
def test_a_download_and_the_cache_without_the_hub(server, tmp_path):
    here = f"http://127.0.0.1:{server.server_address[1]}"
    nowhere = "http://127.0.0.1:9"  # nobody listens
    missing = ask("own/tiny", nowhere, tmp_path)
    assert re.fullmatch(
        r"tokenizer 'own/tiny': there is no such folder, and it is not in the hub's cache, and the"
        r" hub cannot be used \(ConnectError: .*\): connect to it, or give a folder",
        missing,
    )
    assert "HF_HUB_OFFLINE is set: unset it" in ask("own/tiny", here, tmp_path, HF_HUB_OFFLINE="1")
    assert ask("own/tiny", here, tmp_path) == "config.json vocab.txt"
    assert ask("own/tiny", nowhere, tmp_path) == "config.json vocab.txt"
    assert ask("own/tiny", here, tmp_path, HF_HUB_OFFLINE="1") == "config.json vocab.txt"
    assert "the hub has no such model" in ask("own/other", here, tmp_path)
    assert "gives it only to those who asked" in ask("own/gated", here, tmp_path)


@pytest.mark.long
def test_a_hub_that_never_answers_is_given_up(monkeypatch, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setattr(
            huggingface_hub.constants, "ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}"
        )
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
        monkeypatch.setenv("NO_PROXY", "*")
        monkeypatch.setattr(hub, "TIMEOUT", 0.2)
        began = time.monotonic()
        with pytest.raises(UserError, match=r"cannot be used \(ReadTimeout"):
            hub.folder_of("own/tiny", ["*"], "tokenizer")
        assert time.monotonic() - began < 5


def test_names_that_are_no_hubs(tmp_path):
    assert hub.folder_of(str(tmp_path), [], "model") == tmp_path
    (tmp_path / "vocab.txt").touch()
    with pytest.raises(UserError, match="it is a file: give the folder that it is in"):
        hub.folder_of(str(tmp_path / "vocab.txt"), [], "model")
    for name in (
        *(f"{tmp_path}/none", "../none", "a/../b", "a..b", "a--b", "a/b/c", "a b", " ", "", "-a"),
        *("~nobody-of-this-name/model", "a\0b", "a\nb", "\udcff", "größe", "a/", "a:b"),
    ):
        with pytest.raises(UserError) as caught:
            hub.folder_of(name, [], "model")
        assert str(caught.value) == f"model {name!r}: there is no such folder"
    for name in ("a" * 97, "a" * 10000, "a/" * 5000, f"{tmp_path}/" + "x" * 300):
        with pytest.raises(UserError, match=r"there is no such folder$") as caught:
            hub.folder_of(name, [], "model")
        assert len(str(caught.value)) < 500
    for name in ("https://huggingface.co/own/tiny", "gs://bucket/model", "hf://own/tiny"):
        with pytest.raises(UserError, match=r"it is a URL: give a name on the hub, such as"):
            hub.folder_of(name, [], "model")


def test_the_home_of_a_person(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "model").mkdir()
    assert hub.folder_of("~/model", [], "model") == tmp_path / "model"
