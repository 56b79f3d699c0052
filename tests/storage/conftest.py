"""The S3 server that these tests run with."""

import subprocess
import sys

import pytest

from tests.storage.bucket import Server


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    """Snakemake's plugins and an S3 server, in a folder of their own.

    Installed beside Snakemake the plugins would slow down every start of every other test.
    """
    folder = tmp_path_factory.mktemp("storage")
    packages = folder / "packages"
    install = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(packages)]
    for lock in ("envs/s3.lock", "envs/kubernetes.lock", "tests/storage/moto.lock"):
        install += ["-r", lock]
    done = subprocess.run(install, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    with Server(packages, folder / "server.log") as running:
        yield running
