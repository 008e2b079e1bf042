"""A run's folder: its files, and the check that this run may go on in it."""

import contextlib
import os
import secrets
import shutil
import time
from collections.abc import Collection
from pathlib import Path
from typing import Any

from absl import logging
from filelock import FileLock, Timeout

from trainer import config as config_lib
from trainer import sizing
from trainer.data.subwords import Subwords
from trainer.data.tokenizers import load_tokenizer
from trainer.errors import UserError
from trainer.evaluation.scores import better
from trainer.runtime.meeting import SECRET_FILE
from trainer.runtime.workers import Workers
from trainer.storage import contents, fields, sealed
from trainer.storage.checkpoint import DamagedCheckpoint, Store, newest_whole
from trainer.storage.contents import TOKENIZER_FILES
from trainer.storage.disk import check_place, replace, sha256_of
from trainer.storage.paths import below
from trainer.storage.writing import why_not_written
from trainer.tasks.stored import StoredTask
from trainer.tasks.task import unnamed
from trainer.trust import OTHER_VERSION, check_trusted

TOKEN = ".token"  # what the chief writes and every worker must read, for a moment
DERIVED = "derived"  # the key in config.json of what follows from the settings and the data
# NFS may show a host what another wrote as late as this (acdirmax, nfs(5)).
LISTING_SECONDS = 60.0


class NotYet(Exception):
    """The folder cannot be used now, which may mend itself; the message says what is in the way."""


class Workdir:
    """The folder of one run, which may come from a stranger: every file is checked when it is read.

    config.json, tokenizer/, checkpoints/, best/, logs; when it has ended scores/, calibration.json,
    result.json.
    """

    def __init__(self, path: Path):
        self.path = Path(path)
        self.config_file = self.path / "config.json"
        self.tokenizer = self.path / "tokenizer"
        self.checkpoints = Store(self.path / "checkpoints")
        self.best = Store(self.path / "best")
        self.result_file = self.path / "result.json"
        self.failure_file = self.path / "failure.txt"
        self.calibration_file = self.path / "calibration.json"
        self.scores = self.path / "scores"
        self._lock = FileLock(self.path / ".lock")  # held until `release`, or this process ends

    @property
    def started(self) -> bool:
        """True if a run has begun here."""
        return self.config_file.is_file()

    def check(self, config: config_lib.Experiment) -> None:
        """Refuses a folder that cannot be written, or that holds something else.

        Raises:
          UserError: the reason, and for another run the fields that differ.
        """
        places = (self.path, *self.path.absolute().parents)
        existing = next(p for p in places if os.path.lexists(p))  # a link to nowhere is in the way
        if existing.is_file():
            raise UserError(f"--workdir={self.path}: {existing} is a file: choose another folder")
        if not existing.is_dir() or not os.access(existing, os.R_OK | os.W_OK | os.X_OK):
            raise UserError(f"--workdir={self.path} is not writable: choose another folder")
        if not self.started:
            # A run that was killed while it began left no more than these.
            half = f"{self.config_file.name}.tmp"
            begun = (".lock", TOKEN, SECRET_FILE, self.tokenizer.name, half)
            there = self.path.iterdir() if self.path.exists() else ()
            if any(p.name not in begun or p.is_symlink() for p in there):
                raise UserError(
                    f"--workdir={self.path} is not empty and holds no run: choose an empty folder"
                )
            return
        different = config_lib.differences(self.read(config)[0], config)
        if different:
            raise UserError(
                f"--workdir={self.path} holds another run ({'; '.join(different)}): use its"
                " settings, or another --workdir"
            )

    def as_begun(self, config: config_lib.Experiment) -> config_lib.Experiment:
        """The settings, with what they leave to the rows as the run here has chosen it, if any."""
        return sizing.as_begun(config, self.read(config)[0]) if self.started else config

    def read(
        self, like: config_lib.Experiment | None = None
    ) -> tuple[config_lib.Experiment, dict[str, Any]]:
        """The run's settings, and what followed from them (fingerprints, facts).

        Args:
          like: see `config_lib.from_dict`.

        Raises:
          UserError: there is no run, or its config.json is not what a run of this version wrote.
        """
        try:
            values = sealed.read(self.config_file)
            derived = contents.derived(values)
            del values[DERIVED]
            config = config_lib.from_dict(values, like)
            config_lib.validate(config)
            for split in config_lib.set_names(config.data):
                fields.text(derived["data_fingerprint"], split)
            if left := [*sizing.unsized(config), *(c.field for c in unnamed(config.task))]:
                raise ValueError(f"{left[0]} was never chosen")
            config.task.check_facts(derived["facts"])
            return config, derived
        except FileNotFoundError as error:
            raise UserError(
                f"--workdir={self.path} holds no run: {self.config_file} is missing"
            ) from error
        except OSError as error:
            raise UserError(f"cannot read {self.config_file}: {error.strerror}") from error
        except sealed.Damaged as error:
            raise UserError(
                f"cannot read {self.config_file}: {str(error)[:300]}; it was damaged or edited:"
                " restore it from a backup"
            ) from error
        except (ValueError, UserError) as error:
            raise self._of_another_version(error) from error

    def read_to_run(self, trusted: Collection[str]) -> tuple[config_lib.Experiment, dict[str, Any]]:
        """Reads as `read`, to run the code that the settings name, or to show what it computed.

        Args:
          trusted: packages or modules, beside this library's own, that the settings may name.

        Raises:
          UserError: see `read`; or they name others.
        """
        config, derived = self.read()
        check_trusted(config, trusted, str(self.config_file))
        if isinstance(config.task, StoredTask):
            config.task = config.task.imported()
            try:
                config_lib.validate(config)
                config.task.check_facts(derived["facts"])
            except (ValueError, UserError) as error:
                raise self._of_another_version(error) from error
            check_trusted(config, trusted, str(self.config_file))  # its fields may name code
        return config, derived

    def _of_another_version(self, error: Exception) -> UserError:
        return UserError(f"cannot read {self.config_file}: {str(error)[:300]}; {OTHER_VERSION}")

    def load_tokenizer(self) -> Subwords:
        """The run's tokenizer.

        Raises:
          UserError: a file of tokenizer/ is not what was written, or it cannot be loaded.
        """
        written = self.read()[1][TOKENIZER_FILES]
        try:
            there = _digests(self.tokenizer)
        except OSError as error:
            raise UserError(f"cannot read {self.tokenizer}: {error}") from error
        names = sorted(written.keys() | there.keys())
        different = [name for name in names if written.get(name) != there.get(name)]
        if different:
            raise UserError(
                f"{self.tokenizer / different[0]} is not what was written: restore"
                f" {self.tokenizer} from a backup"
            )
        return load_tokenizer(self.tokenizer)

    def check_shared(self, workers: Workers, patience: float = LISTING_SECONDS) -> None:
        """Waits until every worker sees in its workdir what the chief sees there.

        A worker with a folder of its own would start afresh beside a chief that goes on.

        Args:
          workers: all, who have met.
          patience: seconds to wait for a network's file system.

        Raises:
          UserError: on every worker: the one that does not read what the chief wrote.
          NotYet: on every worker: the one that sees an old state of the folder.
        """
        if workers.count == 1:
            return
        path, token, said = self.path / TOKEN, secrets.token_hex(16), ""
        folders = (*self.path.absolute().parents[::-1], self.path.absolute())
        made = [folder for folder in folders if not _exists(folder)]
        if workers.is_chief:
            try:
                self.path.mkdir(parents=True, exist_ok=True)
                path.unlink(missing_ok=True)  # a link would lead elsewhere
                path.write_text(token, encoding="utf-8")
            except OSError as error:
                said = f"cannot write to --workdir={self.path}: {error.strerror}"
        values = [token, said, str(self.path), "" if said else self._state()]
        token, said, place, state = workers.exchange(values, lambda all_: bool(all_[0][1]))[0]
        if said:
            raise UserError(said)
        lacks = "" if workers.is_chief else self._lacks(token, state, patience)
        all_lack = workers.exchange(lacks, any)
        if workers.is_chief:
            path.unlink(missing_ok=True)
            with contextlib.suppress(OSError):
                for folder in reversed(made):
                    folder.rmdir()
        for index, lacks in enumerate(all_lack):
            if lacks == TOKEN:
                raise UserError(
                    f"{workers.name(index)} does not share the --workdir={place} of"
                    f" {workers.name(0)}: put it on a file system that all workers see"
                )
            if lacks:
                raise NotYet(
                    f"{workers.name(index)} still sees another {lacks} in --workdir={place} than"
                    f" {workers.name(0)}, after {patience:g} s: its file system shows an old state"
                )

    def _state(self) -> dict[str, Any]:
        """The facts that decide how a run goes on here."""
        return {
            self.config_file.name: self.started,
            self.checkpoints.folder.name: self.checkpoints.steps(),
            self.best.folder.name: self.best.steps(),
        }

    def _lacks(self, token: str, state: dict[str, Any], patience: float) -> str:
        """First item still differing from the chief's at the deadline; empty if none is."""
        deadline, lacks = time.monotonic() + patience, TOKEN
        while True:
            for folder in (self.path.parent, self.path):
                with contextlib.suppress(OSError):
                    list(folder.iterdir())  # an old listing may be kept until it is asked for
            with contextlib.suppress(OSError):
                if (self.path / TOKEN).read_text(encoding="utf-8") == token:
                    own = self._state()
                    lacks = next((name for name in state if own[name] != state[name]), "")
            if not lacks or time.monotonic() >= deadline:
                return lacks
            time.sleep(0.5)

    def check_derived(self, derived: dict[str, Any]) -> None:
        """Refuses to go on with other data, other labels or another tokenizer.

        Raises:
          UserError: what differs.
        """
        before = self.read()[1]
        different = [key for key in derived if before.get(key) != derived[key]]
        if different:
            raise UserError(
                f"--workdir={self.path} holds a run on other data ({', '.join(different)} differ):"
                " use the same data, or another --workdir"
            )

    def begin(
        self,
        config: config_lib.Experiment,
        derived: dict[str, Any],
        tokenizer: Subwords,
        patience: float = 0.0,
    ) -> None:
        """Makes the folder; config.json comes last, so that a run that has one is complete.

        Args:
          config, derived, tokenizer: what is kept in it.
          patience: seconds to wait for another process that trains here: on a network's file
            system the lock of a host that died may outlive it by a minute or two.

        Raises:
          UserError: it cannot be written, or another process trains here and there is no patience.
          NotYet: another one still holds the lock, or has trained on meanwhile.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._check_places()
            before = self._state()
            self._take_lock(patience)
            if self._state() != before:
                raise NotYet(f"another process trained in --workdir={self.path} until now")
            if self.started:
                files = self.read()[1][TOKENIZER_FILES]
            else:
                shutil.rmtree(self.tokenizer, ignore_errors=True)  # of a start that was killed
                self._save_tokenizer(tokenizer)
                files = _digests(self.tokenizer)
            derived = derived | {TOKENIZER_FILES: files}
            sealed.write(self.config_file, config_lib.to_dict(config) | {DERIVED: derived})
            for path in (self.result_file, self.calibration_file, *self.scores.glob("*.npz")):
                path.unlink(missing_ok=True)
        except OSError as error:
            raise UserError(f"cannot write to --workdir={self.path}: {error.strerror}") from error

    def release(self) -> None:
        """Lets another run, of this process or another, train here."""
        self._lock.release(force=True)

    def _check_places(self) -> None:
        """Refuses what stands in the way of files that a run writes, and links out of its folder.

        Through a link in a stranger's workdir, files elsewhere would be written and removed.
        """
        board, stores = self.path / "tensorboard", (self.checkpoints.folder, self.best.folder)
        for folder in (self.scores, self.tokenizer, *stores, board):
            if folder.is_symlink():
                raise UserError(f"{folder} is a link: move the folder itself there")
            if _exists(folder) and not folder.is_dir():
                raise UserError(f"{folder} is no folder: remove it")
        places = [self.path / name for name in (*contents.PROJECTOR, contents.LOG)]
        entries = [entry for store in stores if store.is_dir() for entry in store.iterdir()]
        written = list(below(board)) if board.is_dir() else []  # by TensorBoard's plugins as well
        for path in (*entries, *written):
            if path.is_symlink():
                raise UserError(f"{path} is a link: move what it leads to there, or remove it")
        for path in (*places, *(path for path in written if not path.is_dir())):
            try:
                check_place(path)
            except OSError as error:
                raise UserError(f"{error.filename}: {error.strerror}: remove it") from error

    def _save_tokenizer(self, tokenizer: Subwords) -> None:
        try:
            tokenizer.save_pretrained(self.tokenizer)
        except Exception as error:  # the tokenizers library raises a plain one for a full disk
            if not (reason := why_not_written(error)):
                raise
            shutil.rmtree(self.tokenizer, ignore_errors=True)
            raise UserError(
                f"cannot write the tokenizer to --workdir={self.path}: {reason}"
            ) from error

    def _take_lock(self, patience: float) -> None:
        text = f"another process trains in --workdir={self.path}: wait for it"
        try:
            self._lock.acquire(timeout=0)
        except Timeout as error:
            if not patience:
                raise UserError(text) from error
            logging.warning("%s, here for up to %g s", text, patience)
            try:
                self._lock.acquire(timeout=patience)
            except Timeout:
                raise NotYet(
                    f"{text} ({patience:g} s were not enough); if its host is gone, delete"
                    f" {self._lock.lock_file}"
                ) from error

    def failed_before(self, what: str) -> bool:
        """Notes a failure; True if it is the very one that ended the run the last time."""
        try:
            before = ""
            if self.failure_file.is_file():
                with self.failure_file.open() as file:
                    before = file.read(len(what) + 1)
            replace(self.failure_file, what)
        except (OSError, ValueError):
            return False
        return before == what

    def result(self) -> dict[str, Any] | None:
        """The contents of result.json; None if the run has not ended.

        Raises:
          UserError: it is not what was written.
        """
        try:
            result = contents.result(sealed.read(self.result_file))
            config, derived = self.read()
            for split in {"validation", "test"} & derived["data_fingerprint"].keys():
                fields.mapping(result, split)
            config.task.check_results(result)
            return result
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise UserError(
                f"cannot read {self.result_file}: {error}; delete it, and the command of the run"
                " writes it again"
            ) from error

    def best_weights(self) -> tuple[Store, int]:
        """The place of the weights that validation chose; of the latest if nothing was chosen yet.

        Raises:
          UserError: there are none, one of the best is damaged, or all of the latest are.
        """
        chosen: tuple[int, float] | None = None
        for step in self.best.steps():
            try:
                meta = self.best.verify(step)
                lower = fields.flag(meta, "lower_is_better")
                value = fields.number_or_nan(meta, "value")
            except (DamagedCheckpoint, fields.Invalid) as error:
                raise UserError(
                    f"weights that validation chose are damaged ({error}): restore"
                    f" {self.best.path(step)} from a backup, or delete it to do without them"
                ) from error
            if chosen is None or better(lower, value, chosen[1]):
                chosen = step, value
        if chosen:
            return self.best, chosen[0]
        latest = newest_whole(self.checkpoints, logging.warning)
        if latest:
            return self.checkpoints, latest[0]
        raise UserError(f"--workdir={self.path} holds no weights yet: train first")

    def finished_weights(self) -> tuple[Store, int]:
        """`best_weights` of a run of which at least one phase has ended.

        Raises:
          UserError: none has, or there are no weights.
        """
        weights = self.best_weights()
        phases = [meta.get("phase") for meta in self.checkpoints.metas()]
        if not self.result() and not any(type(phase) is int and phase > 0 for phase in phases):
            raise UserError(
                f"--workdir={self.path} holds a run of which no phase has ended: let it go on"
                " first, the command that began it does so"
            )
        return weights


def _digests(folder: Path) -> dict[str, str]:
    """The sha256 in hex of each file in a folder, by its path there; hidden ones are nobody's."""
    paths = {path.relative_to(folder).as_posix(): path for path in below(folder)}
    return {
        name: sha256_of(path) if path.is_file() else "no regular file"
        for name, path in sorted(paths.items())
        if not name.startswith(".") and not path.is_dir()
    }


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a name too long, or in a folder that may not be looked into
        return False
