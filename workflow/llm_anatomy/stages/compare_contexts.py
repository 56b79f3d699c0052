"""Compare the words of every neuron with the contexts on which it fires."""

from pathlib import Path

from llm_anatomy.config.base import Settings
from llm_anatomy.config.contexts import Contexts
from llm_anatomy.neurons.overlap import (
    CONTEXT_COLUMNS,
    VOCABULARY_COLUMNS,
    compare_layer,
    overlap_table,
)
from llm_anatomy.runner import run_stage
from llm_anatomy.tables.contexts import CONTEXT_OVERLAP, CONTEXT_WORDS, CONTEXTS
from llm_anatomy.tables.core import open_table, read_arrow, read_provenance, write_table
from llm_anatomy.tables.neurons import VOCABULARY


class CompareContextsStage(Settings):
    """What this stage reads of the configuration."""

    seed: int
    contexts: Contexts


def run(
    settings: CompareContextsStage,
    *,
    vocabulary: Path,
    contexts: Path,
    context_words: Path,
    context_overlap: Path,
) -> None:
    """Read decoded words and contexts; write how they agree, by neuron and by layer."""
    asked, seed = settings.contexts, settings.seed
    read = read_provenance(contexts)
    provenance = read | {"shuffles": asked.shuffles, "resamples": asked.resamples, "seed": seed}
    layers = []
    with open_table(context_words, CONTEXT_WORDS, provenance) as table:
        for layer in range(int(read["layers"])):
            own = [("layer", "=", layer)]
            words = read_arrow(vocabulary, VOCABULARY, VOCABULARY_COLUMNS, own)
            fires = read_arrow(contexts, CONTEXTS, CONTEXT_COLUMNS, own)
            rows, overlap = compare_layer(layer, words, fires, asked, seed)
            table.write(rows)
            layers.append(overlap)
    shares = overlap_table(layers, asked.resamples, seed)
    write_table(context_overlap, CONTEXT_OVERLAP, shares, provenance)


if __name__ == "__main__":
    run_stage(run)
