"""Find the neurons most like every neuron, by weights and by activations on texts."""

from itertools import chain
from pathlib import Path

from pydantic import Field

from llm_anatomy.config.base import Precision, Settings
from llm_anatomy.config.contexts import Neighbours
from llm_anatomy.model.run.loading import load_model
from llm_anatomy.neurons.neighbours import (
    activation_neighbours,
    neighbour_texts,
    recorded_activations,
    weight_neighbours,
)
from llm_anatomy.neurons.weights import ModelWeights
from llm_anatomy.runner import compute_settings, run_stage
from llm_anatomy.tables.contexts import NEIGHBOURS
from llm_anatomy.tables.core import open_table, read_table
from llm_anatomy.tables.data import TEXTS


class NeighbourStage(Settings):
    """What this stage reads of the configuration."""

    seed: int
    precision: Precision
    neighbours: Neighbours
    datasets: list[str] = Field(description="Names of the data sets, in the order of the tables.")


def run(
    settings: NeighbourStage, *, model: Path, texts: tuple[Path, ...], neighbours: Path
) -> None:
    """Read weights and texts; write the closest neurons of every neuron."""
    asked, compute, seed = settings.neighbours, compute_settings(), settings.seed
    loaded = load_model(model, settings.precision, compute)
    found = [weight_neighbours(ModelWeights(model.parent), asked)]
    provenance = loaded.provenance | {"seed": seed, "neighbours": asked.model_dump(mode="json")}
    if texts and asked.tokens:
        frames = {n: read_table(p, TEXTS) for n, p in zip(settings.datasets, texts, strict=True)}
        read = neighbour_texts(loaded, frames, asked, seed)
        active = recorded_activations(loaded, read, loaded.batch_tokens)
        found.append(activation_neighbours(active, asked))
        provenance["read"] = read.counts | {"positions": len(active[0])}
    with open_table(neighbours, NEIGHBOURS, provenance) as table:
        for frame in chain(*found):
            table.write(frame)


if __name__ == "__main__":
    run_stage(run)
