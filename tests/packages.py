"""Packages that single suites need beside the locked environment."""

import subprocess
import sys
from pathlib import Path


def install_packages(folder: Path, *locks: str) -> None:
    """Install what lock files name into a folder of its own, so that no other test sees it."""
    install = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(folder)]
    for lock in locks:
        install += ["-r", lock]
    done = subprocess.run(install, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
