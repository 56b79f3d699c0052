"""Files as bytes: hashes, and files and folders that appear whole or not at all."""

import hashlib
import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path
from types import TracebackType

READ_BYTES = 1 << 22


def sha256_file(path: Path) -> str:
    """Hash of a file's bytes, read in pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while piece := stream.read(READ_BYTES):
            digest.update(piece)
    return digest.hexdigest()


class atomic_path:  # noqa: N801 - a context manager, used like a function
    """Yield a temporary name beside `path`; rename it on success, remove it on any failure."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> Path:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(
            dir=self.path.parent, prefix=f".{self.path.name}.", suffix=".partial"
        )
        os.close(handle)
        self.temporary = Path(name)
        return self.temporary

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                # mkstemp makes private files; results follow the user's umask like any other file.
                umask = os.umask(0)
                os.umask(umask)
                self.temporary.chmod(0o666 & ~umask)
                with self.temporary.open("rb") as file:
                    os.fsync(file.fileno())
                self.temporary.replace(self.path)
        finally:
            with suppress(FileNotFoundError):
                self.temporary.unlink()


class atomic_folder:  # noqa: N801 - a context manager, used like a function
    """Yield a temporary folder beside `path`; rename it on success, remove it on any failure.

    What lies at `path` already is replaced: it is renamed before the new folder takes its name and
    removed afterwards, so that a process that is killed leaves the old folder there, the new one,
    or none, and never a part of one.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> Path:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.temporary = Path(
            tempfile.mkdtemp(dir=self.path.parent, prefix=f".{self.path.name}.", suffix=".partial")
        )
        return self.temporary

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if kind is None:
                # mkdtemp makes private folders; results follow the user's umask.
                umask = os.umask(0)
                os.umask(umask)
                self.temporary.chmod(0o777 & ~umask)
                self._replace()
        finally:
            shutil.rmtree(self.temporary, ignore_errors=True)

    def _replace(self) -> None:
        old = self.temporary.with_suffix(f".old{self.temporary.suffix}")
        there = self.path.is_symlink() or self.path.exists()
        if there:
            self.path.rename(old)
        try:
            self.temporary.rename(self.path)
        except OSError:
            if there:
                old.rename(self.path)
            raise
        if old.is_symlink() or old.is_file():
            old.unlink()
        elif there:
            shutil.rmtree(old)
