"""A stand-in for the Hugging Face hub below its client library: HTTP requests in, answers out."""

import hashlib
import json
from pathlib import Path

import huggingface_hub
from huggingface_hub.errors import HfHubHTTPError

# Whatever HTTP library the installed huggingface_hub is built on.
http = __import__(HfHubHTTPError.__mro__[1].__module__.split(".")[0])


class FakeHub:
    """Serves folders as repositories, each at one commit with one branch, `main`."""

    def __init__(self) -> None:
        self.repositories: dict[str, tuple[str, dict[str, bytes]]] = {}
        self.gated: set[str] = set()
        self.requests: list[tuple[str, str]] = []
        self.tokens: set[str] = set()
        self.down = False

    def add(self, name: str, folder: Path, **extra: bytes) -> str:
        """Serve a folder's files (and `extra` ones) under a repository id; returns its commit."""
        files = {p.name: p.read_bytes() for p in folder.iterdir() if p.is_file()} | extra
        commit = hashlib.sha1(name.encode()).hexdigest()
        self.repositories[name] = (commit, files)
        return commit

    def client(self) -> object:
        """An HTTP client whose every request ends here."""
        return http.Client(transport=http.MockTransport(self.answer), follow_redirects=True)

    def answer(self, request: object) -> object:
        """What the hub answers."""
        path = request.url.path
        self.requests.append((request.method, path))
        token = request.headers.get("authorization")
        if token:
            self.tokens.add(token)
        if self.down:
            raise http.ConnectError("name resolution failed", request=request)
        parts = path.removeprefix("/api/models").strip("/").split("/")
        name = "/".join(parts[:2])
        if name not in self.repositories:
            return self.error(401, "RepoNotFound")
        if name in self.gated and not token:
            return self.error(401, "GatedRepo")
        commit, files = self.repositories[name]
        kind, revision, *rest = parts[2:]
        if revision not in (commit, "main"):
            return self.error(404, "RevisionNotFound")
        if kind == "revision":
            siblings = [{"rfilename": k, "size": len(v)} for k, v in files.items()]
            return http.Response(
                200,
                json={
                    "id": name,
                    "sha": commit,
                    "siblings": siblings,
                    "cardData": {"license": "apache-2.0"},
                },
            )
        if kind == "tree":
            tree = [
                {"type": "file", "path": k, "size": len(v), "oid": hashlib.sha1(v).hexdigest()}
                for k, v in files.items()
            ]
            return http.Response(200, content=json.dumps(tree))
        content = files["/".join(rest)]
        headers = {
            "X-Repo-Commit": commit,
            "ETag": f'"{hashlib.sha1(content).hexdigest()}"',
            "Content-Length": str(len(content)),
        }
        body = b"" if request.method == "HEAD" else content
        return http.Response(200, content=body, headers=headers)

    def error(self, status: int, code: str) -> object:
        return http.Response(status, headers={"X-Error-Code": code, "X-Error-Message": code})

    def install(self, monkeypatch, cache: Path) -> None:
        """Send huggingface_hub's requests here and its cache to a temporary folder."""
        from huggingface_hub import constants

        huggingface_hub.set_client_factory(self.client)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.delenv("HF_TOKEN", raising=False)
