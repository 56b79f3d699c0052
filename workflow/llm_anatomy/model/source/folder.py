"""A model folder as files: what belongs to the model, and what is wrong with the folder.

Standard library only, so that a mistake is found while the workflow is being read.
"""

import json
from pathlib import Path
from typing import Any

from llm_anatomy.config.models import ModelSource
from llm_anatomy.errors import UserError
from llm_anatomy.model.source.adapter import ADAPTER_CONFIG, ADAPTER_FILES, check_adapter
from llm_anatomy.model.source.quantised import check_unquantised
from llm_anatomy.model.source.shards import read_header

INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"
GENERATION = "generation_config.json"
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")
TOKENIZERS = (
    "tokenizer.json",
    "tokenizer.model",
    "vocab.json",
    "vocab.txt",
    "spiece.model",
    "sentencepiece.bpe.model",
    "tokenizer.tiktoken",
)
GGUF_MAGIC = b"GGUF"
# What the families call the number of their layers.
DEPTH_KEYS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")


def check_source(source: ModelSource) -> None:
    """Check of a configured model what can be checked without loading it or using the network.

    Raises:
        UserError: The file or folder is missing, incomplete, or holds pickled weights only.
    """
    if source.path is not None:
        check_folder(Path(source.path), source.name)
    if source.gguf is not None:
        _check_gguf(Path(source.gguf), source.name)
    if source.adapter_folder is not None:
        check_adapter(Path(source.adapter_folder), source.name)


def configured_depth(source: ModelSource) -> int | None:
    """Layers of a model by its folder's `config.json`; None where that is not said there."""
    if source.path is None:
        return None
    config = read_config(Path(source.path), source.name)
    # A model that also reads pictures keeps its language model's sizes in a section of their own.
    sizes = {**config, **config.get("text_config", {})}
    return next((sizes[key] for key in DEPTH_KEYS if isinstance(sizes.get(key), int)), None)


def source_files(source: ModelSource) -> list[str]:
    """The user's own files that a model depends on; none for a wheel or a hub id."""
    own = []
    if source.adapter_folder is not None:
        own = [str(Path(source.adapter_folder) / name) for name in ADAPTER_FILES]
    if source.gguf is not None:
        return [source.gguf, *own]
    if source.path is None:
        return own
    folder = Path(source.path)
    names = model_files(folder, source.trust_remote_code)
    return [*(str(folder / name) for name in names), *own]


def check_folder(folder: Path, name: str) -> None:
    """Check that a folder holds a configuration, safetensors weights and a tokenizer.

    Args:
        folder: The model folder.
        name: The model's configured name, for the message.

    Raises:
        UserError: It does not; one sentence says what is missing and what to do.
    """
    where = f"the model '{name}': the folder {folder}"
    if not folder.is_dir():
        raise UserError(f"the model '{name}': there is no folder {folder}; correct its 'path'")
    config = read_config(folder, name)
    if (folder / ADAPTER_CONFIG).exists():
        raise UserError(
            f"{where} holds a model and an adapter ({ADAPTER_CONFIG}), and whether the adapter "
            "counts is unclear; move the adapter into a folder of its own and give that under "
            "'adapter', or remove it"
        )
    check_unquantised(config, {}, name)
    files = weight_files(folder, name)
    stored = [read_header(folder / file).tensors for file in files]
    types = {tensor: str(entry["dtype"]) for own in stored for tensor, entry in own.items()}
    check_unquantised({}, types, name)
    _check_generation(folder / GENERATION, name)
    if not any((folder / file).exists() for file in TOKENIZERS):
        raise UserError(
            f"{where} has no tokenizer (such as tokenizer.json); save the model's tokenizer into "
            "it with tokenizer.save_pretrained"
        )


def read_config(folder: Path, name: str) -> dict[str, Any]:
    """The `config.json` of a model folder.

    Raises:
        UserError: It is missing or not a JSON object.
    """
    file = folder / "config.json"
    if not file.exists():
        if (folder / ADAPTER_CONFIG).exists():
            raise UserError(
                f"the model '{name}': {folder} holds an adapter without its base model; give the "
                "base model here and this one under 'adapter'"
            )
        raise UserError(f"the model '{name}': the folder {folder} has no config.json")
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise UserError(f"the model '{name}': {file} is not readable JSON ({error})") from error
    if not isinstance(config, dict):
        raise UserError(f"the model '{name}': {file} holds no JSON object")
    return config


def _check_generation(file: Path, name: str) -> None:
    """Check the file that names a model's end tokens; transformers passes over one it cannot read.

    Raises:
        UserError: It is there, and no JSON object.
    """
    if not file.exists():
        return
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(
            f"the model '{name}': {file} is not readable JSON ({error}), so where its answers end "
            "is unknown; mend it, or remove it where config.json names the end token"
        ) from error
    if not isinstance(content, dict):
        raise UserError(f"the model '{name}': {file} holds no JSON object")


def weight_files(folder: Path, name: str) -> list[str]:
    """Names of the safetensors files that hold a model's weights, checked for completeness.

    Raises:
        UserError: There are only pickled weights or none, a shard is missing, or one is cut short.
    """
    index = folder / INDEX
    if index.exists():
        try:
            content = json.loads(index.read_text(encoding="utf-8"))
            shards = sorted(set(content["weight_map"].values()))
            if "metadata" not in content:  # which transformers reads
                raise KeyError("metadata")
        except (ValueError, KeyError, AttributeError, TypeError) as error:
            raise UserError(
                f"the model '{name}': {index} is not a readable index (a JSON object with "
                "'metadata' and 'weight_map'); save the model again (save_pretrained)"
            ) from error
        if (folder / SINGLE).exists() and SINGLE not in shards:
            raise UserError(
                f"the model '{name}': {folder} holds {SINGLE} and the shards of {INDEX}, and which "
                "of them is the model is unclear; remove those that are not"
            )
        missing = [shard for shard in shards if not (folder / shard).exists()]
        if missing:
            raise UserError(
                f"the model '{name}': {folder} lacks {len(missing)} of {len(shards)} weight "
                f"shards, first {missing[0]}; copy or download the folder again"
            )
    elif (folder / SINGLE).exists():
        shards = [SINGLE]
    else:
        raise UserError(_no_weights(folder, name))
    for shard in shards:
        check_complete(folder / shard, name)
    return shards


def check_complete(file: Path, name: str) -> None:
    """Check that a safetensors file is as long as its header says.

    Raises:
        UserError: It is shorter or longer, or has no readable header.
    """
    try:
        complete = read_header(file).n_bytes
    except ValueError as error:
        raise UserError(
            f"the model '{name}': {file} is not a readable safetensors file; copy or "
            "download it again"
        ) from error
    if file.stat().st_size < complete:
        raise UserError(
            f"the model '{name}': {file} is cut short ({file.stat().st_size} of {complete} "
            "bytes); copy or download it again"
        )
    if file.stat().st_size > complete:
        raise UserError(
            f"the model '{name}': {file} has {file.stat().st_size - complete} bytes behind its "
            "last tensor, so it is damaged or two files in one; copy or download it again"
        )


def model_files(folder: Path, with_code: bool = False) -> list[str]:
    """Names of the files that make up a model: weights, configuration, tokenizer, no pickles."""
    suffixes = {".json", ".model", ".txt", ".jinja", ".tiktoken"} | (
        {".py"} if with_code else set()
    )
    names = {p.name for p in folder.iterdir() if p.is_file() and p.suffix in suffixes}
    if (folder / INDEX).exists():
        names.update(
            json.loads((folder / INDEX).read_text(encoding="utf-8"))["weight_map"].values()
        )
    elif (folder / SINGLE).exists():
        names.add(SINGLE)
    return sorted(names - {"provenance.json", "architecture.json"})


def _no_weights(folder: Path, name: str) -> str:
    found = sorted(p.name for p in folder.iterdir() if p.is_file())
    pickled = [f for f in found if f.endswith(PICKLES) and not f.startswith("training_args")]
    if pickled:
        return (
            f"the model '{name}': {folder} holds pickled weights ({pickled[0]}), which can run "
            "code when read and are refused; save them as safetensors (save_pretrained does)"
        )
    other = [f for f in found if f.endswith(".safetensors")]
    if other:
        return (
            f"the model '{name}': {folder} holds {other[0]} but neither {SINGLE} nor {INDEX}; save "
            "the model with save_pretrained"
        )
    gguf = [f for f in found if f.endswith(".gguf")]
    if gguf:
        return f"the model '{name}': {folder} holds {gguf[0]}; give that file under 'gguf'"
    return f"the model '{name}': {folder} holds no safetensors weights"


def _check_gguf(file: Path, name: str) -> None:
    if not file.is_file():
        raise UserError(f"the model '{name}': there is no file {file}; correct its 'gguf'")
    with file.open("rb") as stream:
        if stream.read(4) != GGUF_MAGIC:
            raise UserError(f"the model '{name}': {file} is not a GGUF file")
