"""Steer a model by directions of concepts, beside clamps of their neurons."""

from pathlib import Path

from pydantic import Field

from llm_anatomy.config.base import Precision, Settings
from llm_anatomy.config.directions import Directions
from llm_anatomy.config.neurons import Concept
from llm_anatomy.model.run.loading import load_model
from llm_anatomy.model.run.vocabulary import Vocabulary
from llm_anatomy.neurons.concepts import ConceptIndex
from llm_anatomy.neurons.steering import steer_concepts
from llm_anatomy.runner import compute_settings, run_stage
from llm_anatomy.tables.core import read_table, write_table
from llm_anatomy.tables.data import TEXTS
from llm_anatomy.tables.directions import DIRECTIONS, EQUAL_FLUENCY, STEERING
from llm_anatomy.tables.neurons import CONCEPTS


class SteerStage(Settings):
    """What this stage reads of the configuration."""

    seed: int
    precision: Precision
    named: list[Concept]
    directions: Directions
    held_text: str
    datasets: list[str] = Field(description="Names of the data sets, in the order of the tables.")


def run(
    settings: SteerStage,
    *,
    model: Path,
    concepts: Path,
    texts: tuple[Path, ...],
    directions: Path,
    steering: Path,
    equal_fluency: Path,
) -> None:
    """Read the concepts' neurons and texts; write what directions and clamps make of the model."""
    asked, compute, seed = settings.directions, compute_settings(), settings.seed
    vocabulary = Vocabulary(model.parent / "weights")
    index = ConceptIndex(settings.named, vocabulary, read_table(concepts, CONCEPTS))
    tables = {n: read_table(p, TEXTS) for n, p in zip(settings.datasets, texts, strict=True)}
    loaded = load_model(model, settings.precision, compute)
    budget = loaded.batch_tokens
    found = steer_concepts(loaded, index, tables, asked, settings.held_text, seed, budget)
    said = {"directions": asked.model_dump(mode="json"), "held_text": settings.held_text}
    provenance = loaded.provenance | {"seed": seed} | said
    write_table(directions, DIRECTIONS, found.directions, provenance)
    write_table(steering, STEERING, found.steering, provenance)
    write_table(equal_fluency, EQUAL_FLUENCY, found.equal_fluency, provenance)


if __name__ == "__main__":
    run_stage(run)
