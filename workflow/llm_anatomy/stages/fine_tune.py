"""Fine-tune a model for a few steps, so that it has a counterpart of the same shapes."""

import hashlib
import math
from pathlib import Path

import pandas as pd

from llm_anatomy.artefacts.files import atomic_folder, sha256_file
from llm_anatomy.config.base import Precision, Settings
from llm_anatomy.config.neurons import FineTune
from llm_anatomy.errors import UserError
from llm_anatomy.model.run.loading import load_model
from llm_anatomy.model.source.checkpoint import architecture_json
from llm_anatomy.model.source.record import verified_record, write_record
from llm_anatomy.neurons.tuning import train
from llm_anatomy.progress import track
from llm_anatomy.runner import compute_settings, run_stage
from llm_anatomy.tables.core import read_table, write_table
from llm_anatomy.tables.data import TEXTS
from llm_anatomy.tables.neurons import TRAINING


class TuneStage(Settings):
    """What this stage reads of the configuration."""

    seed: int
    fine_tune: FineTune


def run(
    settings: TuneStage,
    *,
    model: Path,
    texts: Path,
    provenance: Path,
    architecture: Path,
    weights: Path,
    training: Path,
) -> None:
    """Read a model and texts; write the tuned model like any prepared one, and its loss curve."""
    asked = settings.fine_tune
    record = verified_record(model)
    # Training needs float32: bfloat16 loses steps of this size.
    loaded = load_model(model, Precision(), compute_settings())
    table = read_table(texts, TEXTS)
    encoded = loaded.tokenizer(list(table["text"]))["input_ids"]
    rows = [ids[: asked.max_tokens] for ids in encoded if len(ids) > 1]
    if len(rows) < 2:
        raise UserError(
            f"{texts}: fewer than two texts have two tokens or more, too few to fine-tune on; set "
            "neurons.fine_tune.dataset to another data set, or neurons.comparison.fine_tuned "
            "to false"
        )
    steps = track(
        train(loaded.decoder.model, rows, asked, settings.seed), asked.steps, "steps", "fine_tune"
    )
    curve = pd.DataFrame(list(steps)).astype({"held_loss": "float64"})
    if not all(math.isfinite(loss) for loss in curve["loss"]):
        raise UserError(
            f"the fine-tune diverged (neurons.fine_tune.learning_rate is {asked.learning_rate}); "
            "lower it"
        )
    with atomic_folder(weights) as folder:
        loaded.decoder.model.save_pretrained(folder)
        loaded.tokenizer.save_pretrained(folder)
        description = architecture_json(loaded.decoder, folder)
        files = {file.name: sha256_file(file) for file in sorted(folder.iterdir())}
    lines = [f"{k}:{v}\n" for k, v in files.items() if k.endswith(".safetensors")]
    weights_sha256 = hashlib.sha256("".join(lines).encode()).hexdigest()
    tuned = record | {
        "model": provenance.parent.name,
        "source": {
            "kind": "fine_tuned",
            "id": record["model"],
            "weights_sha256": record["weights_sha256"],
            "seed": settings.seed,
            "settings": asked.model_dump(mode="json"),
        },
        "revision": f"sha256:{weights_sha256[:16]}",
        "dtype": "float32",
        "files": files,
        "weights_sha256": weights_sha256,
    }
    table_provenance = loaded.provenance | {
        "seed": settings.seed,
        "texts": len(table),
        "texts_used": len(rows),
        "texts_too_short": len(table) - len(rows),
    }
    write_table(training, TRAINING, curve, table_provenance)
    write_record(provenance.parent, tuned, description)


if __name__ == "__main__":
    run_stage(run)
