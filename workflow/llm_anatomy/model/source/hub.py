"""Fetch one pinned revision of a model from the Hugging Face hub: safetensors only.

The token comes from the environment variable HF_TOKEN alone, is handed to huggingface_hub and
never written. Offline mode (HF_HUB_OFFLINE=1) uses what the hub cache holds.
"""

import json
import logging
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from llm_anatomy.config.models import ModelSource
from llm_anatomy.errors import UserError
from llm_anatomy.model.source.adapter import ADAPTER_WEIGHTS
from llm_anatomy.model.source.folder import PICKLES

logger = logging.getLogger(__name__)

TOKEN_VARIABLE = "HF_TOKEN"
CONFIGURATION_FILES = ["*.json", "*.model", "*.txt", "*.jinja", "*.tiktoken", "README.md"]

HTTP_LIBRARIES = ("httpx", "httpcore", "requests", "urllib3")


@dataclass(frozen=True)
class Snapshot:
    """A hub revision in the local cache.

    Attributes:
        folder: Where its files lie.
        commit: The commit that the configured revision means.
        licence: The licence that its model card states.
    """

    folder: Path
    commit: str
    licence: str


def fetch_configuration(source: ModelSource) -> Snapshot:
    """Resolve a hub model's revision and fetch everything but its weights.

    Raises:
        UserError: No network, no such model or revision, no access, or pickled weights only.
    """
    return _fetch(source, [])


def fetch_weights(source: ModelSource, commit: str) -> Path:
    """Fetch the safetensors files of a commit; returns the folder with the complete model.

    Raises:
        UserError: As `fetch_configuration`, or the disk is too small.
    """
    pinned = source.model_copy(update={"revision": commit})
    return _fetch(pinned, ["*.safetensors"]).folder


def fetch_adapter(source: ModelSource) -> Snapshot:
    """Fetch a model's adapter.

    Raises:
        UserError: As `fetch_weights`.
    """
    adapter = ModelSource(name=source.name, hub=source.adapter, revision=source.adapter_revision)
    return _fetch(adapter, [ADAPTER_WEIGHTS])


def _fetch(source: ModelSource, weights: list[str]) -> Snapshot:
    import huggingface_hub

    if source.hub is None or source.revision is None:
        raise ValueError(f"{source.name} is not a hub model")
    # `False` keeps huggingface_hub from reading a token that some login left on disk.
    token: str | bool = os.environ.get(TOKEN_VARIABLE) or False
    patterns = [*CONFIGURATION_FILES, *(["*.py"] if source.trust_remote_code else [])]
    licence = "unknown"
    try:
        offline = huggingface_hub.is_offline_mode()
        if not offline:
            api = huggingface_hub.HfApi(token=token)
            info = api.model_info(source.hub, revision=source.revision, files_metadata=True)
            licence = _licence(info)
            files = {s.rfilename: s.size or 0 for s in info.siblings or []}
            wanted = _weight_names(source, files)
            if weights:
                _check_disk(source, sum(files[name] for name in wanted))
        patterns += weights
        logger.info("fetching %s at %s", source.hub, source.revision)
        folder = huggingface_hub.snapshot_download(
            source.hub,
            # Asked for by its name, a branch or tag is found again in offline mode.
            revision=source.revision,
            token=token,
            local_files_only=offline,
            allow_patterns=patterns,
            # Folders inside a repository hold other formats (onnx, original), never the model.
            ignore_patterns=["*/*"],
        )
    except UserError:
        raise
    except Exception as error:  # which HTTP library raises depends on huggingface_hub's version
        _explain(source, error)
    return Snapshot(Path(folder), Path(folder).name, licence)


def _weight_names(source: ModelSource, files: dict[str, int]) -> list[str]:
    top = [name for name in files if "/" not in name]
    found = [name for name in top if name.endswith(".safetensors")]
    if found:
        return found
    pickled = [name for name in top if name.endswith(PICKLES)]
    what = f"pickled weights only ({pickled[0]})" if pickled else "no safetensors weights"
    raise UserError(
        f"the model '{source.name}': {source.hub} at {source.revision} has {what}; name a revision "
        "with safetensors files (many models have one under refs/pr), or convert it yourself and "
        "give the folder under 'path'"
    )


def _check_disk(source: ModelSource, needed: int) -> None:
    from huggingface_hub import constants

    cache = Path(constants.HF_HUB_CACHE)
    existing = next(p for p in (cache, *cache.parents) if p.exists())
    free = shutil.disk_usage(existing).free
    if needed > free:
        raise UserError(
            f"the model '{source.name}': {source.hub} needs {needed / 1e9:.1f} GB on disk but "
            f"{cache} has {free / 1e9:.1f} GB free; set HF_HOME to a larger disk"
        )


def _licence(info: Any) -> str:
    card = info.card_data
    stated = card.get("license") if card is not None else None
    return stated if isinstance(stated, str) else json.dumps(stated) if stated else "unknown"


def _explain(source: ModelSource, error: Exception) -> NoReturn:
    """Turn what huggingface_hub raises into one sentence for the user."""
    from huggingface_hub import errors

    who = f"the model '{source.name}'"
    has_token = bool(os.environ.get(TOKEN_VARIABLE))
    if isinstance(error, errors.GatedRepoError):
        remedy = (
            "the token in HF_TOKEN has no access: ask for it on the model's page"
            if has_token
            else "accept its terms on its page and put a token into the variable HF_TOKEN"
        )
        message = f"{who}: {source.hub} is gated; {remedy}"
    elif isinstance(error, errors.RevisionNotFoundError):
        message = (
            f"{who}: {source.hub} has no revision '{source.revision}'; take a commit, tag or "
            "branch from its page"
        )
    elif isinstance(error, errors.RepositoryNotFoundError):
        message = (
            f"{who}: the hub has no model '{source.hub}'"
            + ("" if has_token else ", or it is private and HF_TOKEN is not set")
            + "; check the id"
        )
    elif isinstance(error, errors.OfflineModeIsEnabled | errors.LocalEntryNotFoundError):
        message = (
            f"{who}: {source.hub} at '{source.revision}' is not in the hub cache and cannot be "
            "fetched (offline mode, or no network); fetch it once with the network, or give a "
            "folder under 'path'"
        )
    elif isinstance(error, errors.HfHubHTTPError):
        status = error.response.status_code if error.response is not None else "no"
        message = f"{who}: the hub answered with status {status} for {source.hub}; try again later"
    elif isinstance(error, errors.HFValidationError):
        message = f"{who}: '{source.hub}' is no valid hub id; it looks like organisation/model"
    elif isinstance(error, OSError) or type(error).__module__.startswith(HTTP_LIBRARIES):
        message = (
            f"{who}: the hub cannot be reached ({type(error).__name__}); check the network, set "
            "HF_HUB_OFFLINE=1 to use what is cached, or give a folder under 'path'"
        )
    else:
        raise error
    raise UserError(message) from error
