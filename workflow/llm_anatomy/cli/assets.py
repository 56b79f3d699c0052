"""Fetch the atlas's libraries again from npm: `python -m llm_anatomy.cli.assets`.

What is fetched must be, byte for byte, what `report/vendor/vendored.json` pins.
"""

import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any

from llm_anatomy.artefacts.files import atomic_path
from llm_anatomy.errors import UserError
from llm_anatomy.report.vendored import VENDOR, differences, libraries


def main() -> None:
    """Fetch every library, and say in one sentence what is not as pinned."""
    try:
        for library in libraries():
            fetch(library, VENDOR)
        if found := list(differences()):
            raise UserError("; ".join(found))
    except UserError as error:
        sys.exit(f"Error: {error}")


def fetch(library: dict[str, Any], folder: Path) -> None:
    """Fetch one library's files through npm.

    Raises:
        UserError: npm is missing or fails, or the package lacks a file.
    """
    package = f"{library['package']}@{library['version']}"
    with tempfile.TemporaryDirectory() as place:
        command = ["npm", "pack", "--silent", "--pack-destination", place, package]
        try:
            subprocess.run(command, check=True, capture_output=True, text=True)
        except FileNotFoundError as error:
            raise UserError("npm is missing; install Node.js to fetch the libraries") from error
        except subprocess.CalledProcessError as error:
            raise UserError(f"npm cannot fetch {package}: {error.stderr.strip()}") from error
        (archive,) = Path(place).glob("*.tgz")
        with tarfile.open(archive) as packed:
            for file in library["files"]:
                member = packed.extractfile(f"package/{file['path']}")
                if member is None:
                    raise UserError(f"{package} has no file {file['path']}")
                with atomic_path(folder / file["name"]) as temporary:
                    temporary.write_bytes(member.read())


if __name__ == "__main__":
    main()
