"""An S3 server on the loopback interface, and a project whose results lie in a bucket there."""

import os
import socket
import subprocess
import sys
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote
from xml.etree import ElementTree

from tests.workflow.project import ROOT, Project

BUCKET = "anatomy"
# The server takes any.
CREDENTIALS = {"SNAKEMAKE_STORAGE_S3_ACCESS_KEY": "any", "SNAKEMAKE_STORAGE_S3_SECRET_KEY": "any"}


class Server:
    """`with Server(packages, log) as server:` talk to `server.endpoint`.

    Args:
        packages: The folder that holds moto.
        log: File for what the server says.
    """

    def __init__(self, packages: Path, log: Path) -> None:
        self.packages, self.log = packages, log
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.endpoint = f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> "Server":
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port)],
                env=os.environ | {"PYTHONPATH": str(self.packages)},
                stdout=log,
                stderr=log,
            )
        end = time.monotonic() + 60
        while time.monotonic() < end and self.process.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
            except OSError:
                time.sleep(0.2)
            else:
                return self
        self.__exit__()
        raise RuntimeError(f"no S3 server\n{self.log.read_text()[-2000:]}")

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait()

    def objects(self, folder: str) -> dict[str, bytes]:
        """Every object of the bucket below a folder, by its name there."""
        listing = self._get(f"?list-type=2&prefix={quote(folder)}/")
        page = ElementTree.fromstring(listing)
        name = page.tag.removesuffix("ListBucketResult")
        assert page.findtext(f"{name}IsTruncated") == "false", "more objects than one page holds"
        keys = [item.findtext(f"{name}Key") for item in page.iter(f"{name}Contents")]
        return {key.removeprefix(f"{folder}/"): self._get(f"/{quote(key)}") for key in keys}

    def _get(self, what: str) -> bytes:
        # Objects are private, and any signature will do.
        signed = {"Authorization": "AWS any:any"}
        request = urllib.request.Request(f"{self.endpoint}/{BUCKET}{what}", headers=signed)
        with urllib.request.urlopen(request) as answer:
            return answer.read()


@dataclass(frozen=True)
class StoredProject(Project):
    """A copy of the project that keeps its results in the bucket."""

    server: Server | None = None
    profile: str = "s3"
    place: str = "some/run"

    def command(self, *arguments: str) -> list[str]:
        stored = [
            *("--profile", str(ROOT / "profiles" / self.profile)),
            *("--default-storage-prefix", f"s3://{BUCKET}/{self.place}"),
        ]
        return super().command(*stored, *arguments)

    def environment(self) -> dict[str, str]:
        own = super().environment()
        places = os.pathsep.join([own["PYTHONPATH"], str(self.server.packages)])
        endpoint = {"SNAKEMAKE_STORAGE_S3_ENDPOINT_URL": self.server.endpoint}
        return own | CREDENTIALS | endpoint | {"PYTHONPATH": places}

    def results(self) -> dict[str, bytes]:
        return self.server.objects(f"{self.place}/results")
