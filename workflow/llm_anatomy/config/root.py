"""The whole configuration: which studies, models and data, and every study's own settings."""

import difflib
from collections.abc import Sequence
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from llm_anatomy.config.base import Compute, Precision, Settings
from llm_anatomy.config.datasets import DEFAULT_DATASETS, Dataset
from llm_anatomy.config.facts import FactsSettings
from llm_anatomy.config.geometry import GeometrySettings
from llm_anatomy.config.models import DEFAULT_MODELS, ModelSource
from llm_anatomy.config.neurons import NeuronsSettings
from llm_anatomy.config.patching import PatchingSettings, RelationTask
from llm_anatomy.config.toxicity import ToxicitySettings

Study = Literal["geometry", "toxicity", "neurons", "patching", "facts"]
ALL_STUDIES: tuple[Study, ...] = ("geometry", "toxicity", "neurons", "patching", "facts")


class Configuration(Settings):
    """The configuration file. A key that is left out takes the default that is shown here."""

    seed: int = Field(
        0, ge=0, lt=2**32, description="Seed of everything that is random, in every study."
    )
    studies: list[Study] = Field(
        list(ALL_STUDIES), min_length=1, description="The studies that a plain run makes."
    )
    models: list[ModelSource] = Field(
        list(DEFAULT_MODELS), min_length=1, description="The language models to take apart."
    )
    datasets: list[Dataset] = Field(
        list(DEFAULT_DATASETS), description="Texts, with labels, and relations with answers."
    )
    precision: Precision = Field(
        Precision(), description="How numbers are computed; a change reruns what it changes."
    )
    compute: Compute = Field(
        Compute(), description="Where and how fast things run; a change reruns nothing."
    )
    geometry: GeometrySettings = Field(
        default_factory=GeometrySettings, description="Spline features and intrinsic dimension."
    )
    toxicity: ToxicitySettings = Field(
        default_factory=ToxicitySettings, description="Classifiers on the spline features."
    )
    neurons: NeuronsSettings = Field(
        default_factory=NeuronsSettings, description="Neurons as words, concepts and clamps."
    )
    patching: PatchingSettings = Field(
        default_factory=PatchingSettings, description="What later layers still need of a prompt."
    )
    facts: FactsSettings = Field(
        default_factory=FactsSettings, description="Where factual answers come from."
    )

    @field_validator("models")
    @classmethod
    def _distinct_models(cls, models: list[ModelSource]) -> list[ModelSource]:
        _distinct([model.name for model in models], "model")
        return models

    @field_validator("datasets")
    @classmethod
    def _distinct_datasets(cls, datasets: list[Dataset]) -> list[Dataset]:
        _distinct([dataset.name for dataset in datasets], "dataset")
        # A part of a mixture is a table of its own, so mixtures do not nest.
        known = [d.name for d in datasets if d.kind == "texts" and not d.parts]
        for dataset in datasets:
            for number, part in enumerate(dataset.parts):
                for name in filter(None, (part.dataset, part.insert)):
                    _check_known(f"{dataset.name}.parts[{number}]", name, known)
        return datasets

    @model_validator(mode="after")
    def _known_scorers(self) -> Self:
        known = [dataset.name for dataset in self.datasets if dataset.kind == "texts"]
        for scorer in self.geometry.prompts.scorers or []:
            _check_known("geometry.prompts.scorers", scorer.dataset, known)
        return self

    @model_validator(mode="after")
    def _known_relations(self) -> Self:
        """Every relation that a picked study asks for is one of the datasets."""
        known = [dataset.name for dataset in self.datasets if dataset.kind == "relation"]
        asked: list[tuple[str, str | None]] = []
        if "patching" in self.studies:
            for number, task in enumerate(self.patching.tasks):
                key = f"patching.tasks[{number}].relation"
                asked.append((key, task.relation if isinstance(task, RelationTask) else None))
        if "facts" in self.studies:
            for number, relation in enumerate(self.facts.relations):
                asked.append((f"facts.relations[{number}].relation", relation.relation))
        for key, name in asked:
            if name is not None and name not in known:
                raise ValueError(
                    f"the key '{key}' is '{name}', which is no relation of 'datasets' (there are "
                    f"{', '.join(known) or 'none'}); add it there, such as {{name: {name}, kind: "
                    f"relation, ...}}, or set '{key.partition('[')[0]}', or leave "
                    f"'{key.partition('.')[0]}' out of 'studies'"
                )
        return self


def _distinct(names: Sequence[str], what: str) -> None:
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ValueError(f"two entries are named '{twice}'; give every {what} its own name")


def _check_known(key: str, name: str, known: Sequence[str]) -> None:
    if name not in known:
        close = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean '{close[0]}'?" if close else f"known are {', '.join(known) or 'none'}"
        raise ValueError(
            f"the key '{key}' names the data set of texts '{name}', which is not configured; {hint}"
        )
