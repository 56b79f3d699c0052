"""The SLURM cluster that these tests run on."""

import subprocess
import sys

import pytest

from tests.slurm.cluster import Cluster, missing_requirements


@pytest.fixture(scope="session")
def cluster(tmp_path_factory):
    """A one-node cluster; the tests are skipped where it cannot be had."""
    if reason := missing_requirements():
        pytest.skip(reason)
    with Cluster(tmp_path_factory.mktemp("slurm")) as running:
        yield running


@pytest.fixture(scope="session")
def plugin(tmp_path_factory):
    """Snakemake's SLURM plugin in a folder of its own.

    Installed beside Snakemake it would ask SLURM's tools at every start of every other test.
    """
    folder = tmp_path_factory.mktemp("plugin")
    install = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(folder)]
    done = subprocess.run([*install, "-r", "envs/slurm.lock"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder
