"""A tuned copy of a prepared model, written like any prepared model."""

from pathlib import Path
from typing import Any

from llm_anatomy.artefacts.files import atomic_folder
from llm_anatomy.model.parts.architecture import Decoder
from llm_anatomy.model.source.checkpoint import architecture_json
from llm_anatomy.model.source.record import weight_hashes, write_record


def write_tuned(
    folder: Path, decoder: Decoder, tokenizer: Any, base: dict[str, Any], recipe: dict[str, Any]
) -> None:
    """Write `weights/`, `architecture.json` and, last, `provenance.json`.

    Args:
        folder: The tuned model's folder in the results, which has its name.
        decoder: The tuned model, in float32.
        tokenizer: Its tokenizer.
        base: The provenance record of the model that was tuned.
        recipe: Seed and settings of the tuning.
    """
    with atomic_folder(folder / "weights") as target:
        decoder.model.save_pretrained(target)
        tokenizer.save_pretrained(target)
        architecture = architecture_json(decoder, target)
        files, weights_sha256 = weight_hashes(target)
    record = base | {
        "model": folder.name,
        "source": {
            "kind": "fine_tuned",
            "id": base["model"],
            "weights_sha256": base["weights_sha256"],
            **recipe,
        },
        "revision": f"sha256:{weights_sha256[:16]}",
        "dtype": "float32",
        "files": files,
        "weights_sha256": weights_sha256,
    }
    write_record(folder, record, architecture)
