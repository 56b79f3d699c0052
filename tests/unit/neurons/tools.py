"""A small concept search, map and clamps of a tiny model, for several tests."""

from pathlib import Path

from llm_anatomy.config.base import Precision, Settings
from llm_anatomy.config.neurons import (
    Clamping,
    ClampTarget,
    Concept,
    ConceptSearch,
    Edit,
    FavouriteTest,
    VocabularyMap,
)
from llm_anatomy.stages import clamp_neurons, join_neurons, map_neurons

SEARCH = ConceptSearch(
    concepts=[Concept(name="Paris", words=["Paris"]), Concept(name="Rome", words=["Rome"])],
    neurons=5,
    reference_tokens=16,
    neighbours=3,
)
PRECISION = Precision()
CLAMPING = Clamping(
    targets=[ClampTarget(concept="Paris", prompt="The capital of France is")],
    values=[2],
    kl_targets=[],
    held_text="The city of Rome is the capital.",
)
FAVOURITE = FavouriteTest(
    concept="Paris", questions=["Which city?"], values=[50.0], seeds=1, new_tokens=4, controls=1
)
EDIT = Edit(concepts=["Paris"], rows=[4], prompts=["The capital is"])


def run_clamps(model: Path, concepts: Path, folder: Path, **settings: Settings) -> dict[str, Path]:
    """Run the stage `clamp_neurons` with small settings; returns its tables by name."""
    chosen = {"clamping": CLAMPING, "favourite": FAVOURITE, "edit": EDIT} | settings
    stage = clamp_neurons.ClampStage(seed=0, precision=PRECISION, named=SEARCH.concepts, **chosen)
    tables = {name: folder / f"{name}.parquet" for name in ("clamping", "favourite", "edits")}
    clamp_neurons.run(stage, model=model, concepts=concepts, **tables)
    return tables


def make_map(model: Path, folder: Path, parts: int = 2, **settings: object) -> tuple[Path, Path]:
    """Map a model, in several parts that are joined or in one that is the whole map."""
    chosen = VocabularyMap(parts=parts, **settings)
    vocabulary, statistics = folder / "vocabulary.parquet", folder / "statistics.parquet"
    made = [
        (folder / f"{part}.vocabulary.parquet", folder / f"{part}.statistics.parquet")
        for part in range(parts)
    ]
    for part, paths in enumerate(made if parts > 1 else [(vocabulary, statistics)]):
        stage = map_neurons.VocabularyStage(map=chosen, part=part)
        map_neurons.run(stage, model=model, vocabulary=paths[0], statistics=paths[1])
    if parts == 1:
        return vocabulary, statistics
    join_neurons.run(
        join_neurons.JoinStage(),
        vocabulary_parts=tuple(p[0] for p in made),
        statistics_parts=tuple(p[1] for p in made),
        vocabulary=vocabulary,
        statistics=statistics,
    )
    return vocabulary, statistics
