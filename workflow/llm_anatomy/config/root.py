"""The whole configuration: which studies, models and data, and every study's own settings."""

from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from llm_anatomy.config import references
from llm_anatomy.config.base import Compute, Precision, Settings
from llm_anatomy.config.datasets import DEFAULT_DATASETS, FACT_KINDS, Dataset
from llm_anatomy.config.facts import FactsSettings
from llm_anatomy.config.geometry import AnswerScorer, GeometrySettings
from llm_anatomy.config.models import DEFAULT_MODELS, Chat, ModelSource
from llm_anatomy.config.neurons import NeuronsSettings
from llm_anatomy.config.patching import PatchingSettings
from llm_anatomy.config.toxicity import HardNegatives, ToxicitySettings

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
        list(DEFAULT_DATASETS),
        description="Texts with labels, relations, and what else studies read (`kind`).",
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
        references.check_distinct([model.name for model in models], "model")
        return models

    @field_validator("datasets")
    @classmethod
    def _distinct_datasets(cls, datasets: list[Dataset]) -> list[Dataset]:
        references.check_distinct([dataset.name for dataset in datasets], "dataset")
        # A part of a mixture is a table of its own, so mixtures do not nest.
        known = [d.name for d in datasets if d.kind == "texts" and not d.parts]
        for dataset in datasets:
            for number, part in enumerate(dataset.parts):
                for name in filter(None, (part.dataset, part.insert)):
                    references.check_texts(f"{dataset.name}.parts[{number}]", name, known)
        return datasets

    @model_validator(mode="after")
    def _known_names(self) -> Self:
        texts = [dataset.name for dataset in self.texts]
        references.check_scorers(self.geometry.prompts, texts)
        references.check_named_data(
            self.studies, self.geometry, self.patching, self.facts, self.datasets
        )
        references.check_study_data(self.studies, self.dataset_names, self.labelled_datasets)
        references.check_toxicity(self.toxicity, texts)
        if "neurons" in self.studies:
            references.check_neurons(self.neurons, self.model_names, self.dataset_names)
            references.check_directions(self.neurons.directions, texts)
        return self

    @property
    def picked_studies(self) -> list[Study]:
        """The picked studies in reading order, whatever the order in the file."""
        return [study for study in ALL_STUDIES if study in self.studies]

    @property
    def model_names(self) -> list[str]:
        """Names of the models."""
        return [model.name for model in self.models]

    def chat(self, model: str) -> Chat:
        """How a model is asked in a chat; a tuned one as its base."""
        tuned = self.neurons.tuned(self.model_names, self.dataset_names)
        name = tuned.base if tuned is not None and tuned.name == model else model
        return next(source.chat for source in self.models if source.name == name)

    @property
    def texts(self) -> list[Dataset]:
        """The data sets of texts."""
        return [dataset for dataset in self.datasets if dataset.kind == "texts"]

    @property
    def dataset_names(self) -> list[str]:
        """Names of the texts that studies run on; the others serve mixtures and scorers."""
        return [dataset.name for dataset in self.texts if dataset.study]

    @property
    def labelled_datasets(self) -> list[str]:
        """Names of the texts that the toxicity study runs on."""
        return [dataset.name for dataset in self.texts if dataset.study and dataset.has_labels]

    @property
    def relation_names(self) -> list[str]:
        """Names of the relations, and of the prompts that studies take like them."""
        return [dataset.name for dataset in self.datasets if dataset.kind in FACT_KINDS]

    @property
    def scorers(self) -> list[AnswerScorer]:
        """The classifiers of answers; a user's own data of a default's name have other labels."""
        builtin = [dataset.name for dataset in self.texts if dataset.builtin == dataset.name]
        return self.geometry.prompts.scorers_among(builtin)

    @property
    def hard_negatives(self) -> list[HardNegatives]:
        """The comparisons of negatives whose data sets are both configured."""
        return self.toxicity.hard_negatives_among([dataset.name for dataset in self.texts])

    def shown(self) -> dict[str, Any]:
        """All that can change a number of the report, as plain values."""
        left_out = {"compute"} | (set(ALL_STUDIES) - set(self.studies))
        return self.model_dump(mode="json", exclude=left_out)
