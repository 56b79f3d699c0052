"""A small concept search and a map of a tiny model, for several tests."""

from pathlib import Path

from llm_anatomy.config.base import Precision
from llm_anatomy.config.neurons import Concept, ConceptSearch, VocabularyMap
from llm_anatomy.stages import join_neurons, map_neurons

SEARCH = ConceptSearch(
    concepts=[Concept(name="Paris", words=["Paris"]), Concept(name="Rome", words=["Rome"])],
    neurons=5,
    reference_tokens=16,
    neighbours=3,
)
PRECISION = Precision()


def make_map(model: Path, folder: Path, **settings: object) -> tuple[Path, Path]:
    """Map a model in two parts and join them."""
    chosen = VocabularyMap(parts=2, **settings)
    parts = []
    for part in range(2):
        paths = folder / f"{part}.vocabulary.parquet", folder / f"{part}.statistics.parquet"
        stage = map_neurons.MapStage(map=chosen, part=part)
        map_neurons.run(stage, model=model, vocabulary=paths[0], statistics=paths[1])
        parts.append(paths)
    vocabulary, statistics = folder / "vocabulary.parquet", folder / "statistics.parquet"
    join_neurons.run(
        join_neurons.JoinStage(),
        vocabulary_parts=tuple(p[0] for p in parts),
        statistics_parts=tuple(p[1] for p in parts),
        vocabulary=vocabulary,
        statistics=statistics,
    )
    return vocabulary, statistics
