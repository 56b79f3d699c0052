"""The SLURM cluster that these tests run on."""

import pytest

from tests.packages import install_packages
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
    install_packages(folder, "envs/slurm.lock")
    return folder
