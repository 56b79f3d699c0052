"""A stand-in for Kubernetes on the loopback interface: as much of its interface as Snakemake asks.

Every submitted job runs as a process in an empty folder, with the environment of a container whose
image was built as docs/cluster.md says; it shares nothing with other jobs but the network.
"""

import base64
import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

KUBECONFIG = {
    "apiVersion": "v1",
    "kind": "Config",
    "current-context": "loop",
    "contexts": [{"name": "loop", "context": {"cluster": "loop", "user": "nobody"}}],
    "users": [{"name": "nobody", "user": {}}],
}


class Pods:
    """`with Pods(folder, packages) as pods:` submit with `pods.kubeconfig` as KUBECONFIG.

    Args:
        folder: Where the pods' folders lie.
        packages: What an image holds beside the packages of this Python.
    """

    def __init__(self, folder: Path, packages: Path) -> None:
        self.folder, self.packages = folder, packages
        self.secrets: dict[str, dict[str, str]] = {}
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        self.started: list[str] = []
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self.kubeconfig = folder / "kubeconfig"

    def __enter__(self) -> "Pods":
        self.folder.mkdir(parents=True)
        address = f"http://127.0.0.1:{self.server.server_port}"
        clusters = [{"name": "loop", "cluster": {"server": address}}]
        self.kubeconfig.write_text(json.dumps(KUBECONFIG | {"clusters": clusters}))
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()
        for process in self.running.values():
            process.kill()
            process.wait()

    def start(self, job: dict[str, Any]) -> None:
        name = job["metadata"]["name"]
        (container,) = job["spec"]["template"]["spec"]["containers"]
        image = {
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.defpath]),
            "PYTHONPATH": os.pathsep.join(["workflow", str(self.packages)]),
            "OMP_NUM_THREADS": "1",
            # Every pod installs the storage plugin anew, whose own needs the image holds.
            "PIP_NO_DEPS": "1",
            **{k: v for k, v in os.environ.items() if k.startswith("PIP_") or k == "HOME"},
        }
        secrets = {
            entry["name"]: self.secrets[reference["name"]][reference["key"]]
            for entry in container["env"]
            for reference in [entry["valueFrom"]["secretKeyRef"]]
        }
        place = self.folder / name
        place.mkdir()
        with (place / "log").open("wb") as log:
            self.running[name] = subprocess.Popen(
                [*container["command"], *container["args"]],
                cwd=place,
                env=image | secrets,
                stdout=log,
                stderr=log,
            )
        self.started.append(name)

    def status(self, name: str) -> dict[str, int]:
        code = self.running[name].poll()
        return {"active" if code is None else "failed" if code else "succeeded": 1}

    def logs(self) -> str:
        return "\n".join((self.folder / name / "log").read_text()[-1500:] for name in self.started)


def _handler(pods: Pods) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if self.path.endswith("/secrets"):
                plain = {k: base64.b64decode(v).decode() for k, v in body["data"].items()}
                pods.secrets[body["metadata"]["name"]] = plain
            else:
                pods.start(body)
            self.answer(body, 201)

        def do_GET(self) -> None:
            if "/jobs/" in self.path:
                status = pods.status(self.path.split("/")[-2])
                self.answer({"kind": "Job", "apiVersion": "batch/v1", "status": status})
            else:
                self.answer({"kind": "PodList", "apiVersion": "v1", "items": []})

        def do_DELETE(self) -> None:
            self.answer({"kind": "Status", "apiVersion": "v1", "status": "Success"})

        def answer(self, body: dict[str, Any], code: int = 200) -> None:
            content = json.dumps(body).encode()
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Pods keep their own logs."""

    return Handler
