"""Fine-tune a model for a few steps, so that it has a counterpart of the same shapes."""

from pathlib import Path

from llm_anatomy.config.base import Precision, Settings
from llm_anatomy.config.neurons import FineTune
from llm_anatomy.model.run.loading import load_model
from llm_anatomy.model.source.memory import device_memory
from llm_anatomy.model.source.record import read_record
from llm_anatomy.model.source.tuned import write_tuned
from llm_anatomy.neurons.tuning import fine_tune, trained_blocks
from llm_anatomy.runner import compute_settings, run_stage
from llm_anatomy.tables.core import read_table, write_table
from llm_anatomy.tables.data import TEXTS
from llm_anatomy.tables.neurons import TRAINING


class TuneStage(Settings):
    """What this stage reads of the configuration."""

    seed: int
    fine_tune: FineTune


def run(settings: TuneStage, *, model: Path, texts: Path, provenance: Path, training: Path) -> None:
    """Read a model and texts; write the tuned model like any prepared one, and its loss curve."""
    # Training needs float32: bfloat16 loses steps of this size.
    loaded = load_model(model, Precision(), compute := compute_settings())
    decoder, tokenizer, tuning = loaded.decoder, loaded.tokenizer, settings.fine_tune
    lines = read_table(texts, TEXTS)["text"].tolist()
    name, memory = loaded.provenance["model"], device_memory(compute)
    blocks = trained_blocks(decoder, tuning, name, memory)
    named = str(texts)
    curve, counts = fine_tune(decoder.model, tokenizer, lines, tuning, settings.seed, named, blocks)
    write_table(training, TRAINING, curve, loaded.provenance | {"seed": settings.seed} | counts)
    recipe = {"seed": settings.seed, "settings": tuning.model_dump(mode="json")}
    write_tuned(provenance.parent, decoder, tokenizer, read_record(model), recipe)


if __name__ == "__main__":
    run_stage(run)
