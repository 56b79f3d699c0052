"""Run texts through a model and keep what every neuron of every layer is strongest on."""

from pathlib import Path

from pydantic import Field

from llm_anatomy.config.base import Precision, Settings
from llm_anatomy.config.contexts import Contexts
from llm_anatomy.model.run.loading import load_model
from llm_anatomy.model.run.vocabulary import Vocabulary
from llm_anatomy.neurons.contexts import (
    context_texts,
    contexts_provenance,
    join_activity,
    join_contexts,
    watch_neurons,
)
from llm_anatomy.runner import compute_settings, run_stage
from llm_anatomy.tables.contexts import ACTIVITY, ACTIVITY_PART, CONTEXTS, CONTEXTS_PART
from llm_anatomy.tables.core import open_table, read_table
from llm_anatomy.tables.data import TEXTS


class ContextStage(Settings):
    """What this stage reads of the configuration."""

    seed: int
    precision: Precision
    contexts: Contexts
    datasets: list[str] = Field(description="Names of the data sets, in the order of the tables.")
    shard: int = Field(ge=1, description="Which part of the texts, from 1.")


def run(
    settings: ContextStage, *, model: Path, texts: tuple[Path, ...], contexts: Path, activity: Path
) -> None:
    """Read one part of the texts; write the strongest of every neuron, and its activity."""
    asked, compute = settings.contexts, compute_settings()
    frames = {n: read_table(p, TEXTS) for n, p in zip(settings.datasets, texts, strict=True)}
    loaded = load_model(model, settings.precision, compute)
    read = context_texts(loaded, frames, asked, settings.seed)
    part, layers = read.shard(settings.shard, asked.shards), loaded.decoder.n_layers
    words = Vocabulary(model.parent / "weights").texts
    seen = watch_neurons(loaded.decoder, words, part, asked, loaded.batch_tokens)
    provenance = loaded.provenance | contexts_provenance(read, asked, layers, settings.seed)
    whole = asked.shards == 1
    with (
        open_table(contexts, CONTEXTS if whole else CONTEXTS_PART, provenance) as found,
        open_table(activity, ACTIVITY if whole else ACTIVITY_PART, provenance) as sums,
    ):
        for layer in range(layers):
            strongest, active = seen.contexts(layer), seen.activity(layer)
            found.write(join_contexts([strongest], asked.count) if whole else strongest)
            sums.write(join_activity([active]) if whole else active)


if __name__ == "__main__":
    run_stage(run)
