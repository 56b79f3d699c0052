"""The S3 server that these tests run with."""

import pytest

from tests.packages import install_packages
from tests.storage.bucket import Server


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    """Snakemake's plugins and an S3 server, in a folder of their own.

    Installed beside Snakemake the plugins would slow down every start of every other test.
    """
    folder = tmp_path_factory.mktemp("storage")
    packages = folder / "packages"
    locks = ("envs/s3.lock", "envs/kubernetes.lock", "tests/storage/moto.lock")
    install_packages(packages, *locks)
    with Server(packages, folder / "server.log") as running:
        yield running
