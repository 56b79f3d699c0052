"""Settings of the neuron study (Davies, arXiv 2501.02688): map, search, compare, clamp."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import Field, field_validator, model_validator

from llm_anatomy.config.base import Settings
from llm_anatomy.config.contexts import Contexts, Neighbours
from llm_anatomy.config.directions import Directions
from llm_anatomy.config.mlp import Matrix as Matrix
from llm_anatomy.config.mlp import Site as Site
from llm_anatomy.config.templates import OpenText

Normalisation = Literal["raw", "final_gain", "rms", "input_gain", "cosine"]
Operation = Literal["set", "add", "scale"]
Positions = Literal["all", "last", "generated"]


class VocabularyMap(Settings):
    """Decoding of neuron weights into tokens through the LM head (paper section 1)."""

    matrices: list[Matrix] = Field(
        ["up", "gate", "down"],
        min_length=1,
        description="Weight matrices to decode: rows of `up` (the paper's) and `gate`, columns "
        "of `down`.",
    )
    normalisation: Normalisation = Field(
        "raw",
        description="What the vectors go through before the LM head: `raw` nothing, `final_gain` "
        "the gain of the final norm, `rms` the whole final norm, `input_gain` the gain of the "
        "norm before the MLP (rows only), `cosine` unit vectors and unit head rows.",
    )
    top_k: int = Field(10, ge=1, description="Tokens kept at each end of every neuron's logits.")
    screen: Literal["none", "bfloat16"] = Field(
        "none",
        description="`bfloat16` finds candidates in bfloat16, ranks them in float32: up to twice "
        "as fast on a processor that multiplies bfloat16; `none` computes all in float32. On a "
        "card with Triton logits are float32 either way, at bfloat16's speed.",
    )
    parts: int = Field(
        1,
        ge=1,
        description="Jobs that share the layers of a model; as many as layers: a table per layer.",
    )


class Concept(Settings):
    """A concept: the words whose tokens stand for it."""

    name: str = Field(
        description="Short name, used in tables and figures.", pattern=r"^[A-Za-z0-9_.-]+$"
    )
    words: list[str] = Field(
        description="Words for the concept. Each is looked up with and without a leading space, in "
        "lower case, with a capital and in capitals; variants that are one token are merged."
    )

    @field_validator("words")
    @classmethod
    def _has_words(cls, words: list[str]) -> list[str]:
        if not any(word.strip() for word in words):
            raise ValueError("an empty concept; give at least one word")
        return words


class ConceptSearch(Settings):
    """From a concept to its neurons."""

    concepts: list[Concept] = Field(
        [
            Concept(name="dog", words=["dog", "dogs"]),
            Concept(name="cat", words=["cat", "cats"]),
            Concept(name="California", words=["California"]),
            Concept(name="Monday", words=["Monday"]),
            Concept(name="blue", words=["blue"]),
            Concept(name="Paris", words=["Paris"]),
        ],
        min_length=1,
        description="The concepts to look for.",
    )
    neurons: int = Field(20, ge=1, description="Neurons kept per concept, most specific first.")
    token_rank: int = Field(
        20,
        ge=1,
        description="A neuron has a concept where one of the concept's tokens is among so many at "
        "the top of its decoded list; neurons without it stand behind all that have it.",
    )
    reference_tokens: int = Field(
        2048,
        ge=16,
        description="Seeded samples of this many words and of as many word fragments that a "
        "neuron's specificity is measured against.",
    )
    neighbours: int = Field(
        10,
        ge=1,
        description="Nearest reference tokens whose mean cosine is a neuron's hubness.",
    )

    @field_validator("concepts")
    @classmethod
    def _distinct(cls, concepts: list[Concept]) -> list[Concept]:
        names = [concept.name for concept in concepts]
        if len(set(names)) < len(names):
            raise ValueError("two concepts share a name; give each its own")
        return concepts


class Neuron(Settings):
    """One MLP neuron."""

    layer: int = Field(ge=0, description="Layer, counted from 0.")
    neuron: int = Field(ge=0, description="Neuron within the layer, counted from 0.")


class ClampTarget(Settings):
    """What to clamp, where to look."""

    concept: str = Field(description="Name of one of the concepts.")
    prompt: OpenText = Field(description="Text whose next token is observed.")
    neuron: Neuron | None = Field(
        None, description="Neuron to clamp; without one, the concept's most specific neuron."
    )


class Clamping(Settings):
    """Fixing a neuron's activation and watching the next token."""

    targets: list[ClampTarget] = Field(
        [
            ClampTarget(concept="dog", prompt="My favourite animal is the"),
            ClampTarget(concept="California", prompt="Last summer we travelled to"),
        ],
        description="Concepts, prompts and neurons to clamp.",
    )
    sites: list[Site] = Field(
        ["up", "gate", "activation"],
        min_length=1,
        description="Tensors to clamp: output of the up projection, of the gate projection before "
        "its non-linearity, or the activation that enters the down projection.",
    )
    operations: list[Operation] = Field(
        ["set"],
        min_length=1,
        description="`set` replaces the value, `add` adds to it, `scale` multiplies it.",
    )
    positions: list[Literal["all", "last"]] = Field(
        ["all", "last"], min_length=1, description="Positions of the prompt that are clamped."
    )
    values: list[float] = Field(
        [-40.0, -20.0, -10.0, -5.0, -2.0, 0.0, 2.0, 5.0, 10.0, 20.0, 40.0],
        min_length=1,
        description="Values to sweep, both signs.",
    )
    kl_targets: list[float] = Field(
        [0.25, 0.5],
        description="KL divergences from the clean model, in nats, to which clamps are calibrated "
        "in both directions (bisection).",
    )
    kl_bound: float = Field(
        1000.0, gt=0, description="Largest absolute value tried while calibrating to a KL target."
    )
    held_text: str = Field(
        "The river rises in the hills north of the town and flows through two lakes before it "
        "reaches the sea. In spring the water is high, and the mills along its banks used to run "
        "day and night.",
        description="Text whose perplexity under the clamp shows how much fluency is lost.",
        min_length=1,
    )
    top_tokens: int = Field(10, ge=1, description="Most probable next tokens kept per clamp.")


class FavouriteTest(Settings):
    """Does the clamped model name the concept when asked for its favourite (paper's dog test)?"""

    concept: str = Field("dog", description="Name of one of the concepts.")
    neuron: Neuron | None = Field(
        None, description="Neuron to clamp; without one, the concept's most specific neuron."
    )
    site: Site = Field("up", description="Tensor to clamp.")
    values: list[float] = Field(
        [10.0, 20.0],
        min_length=1,
        description="Values to clamp to, in the direction that promotes the concept.",
    )
    positions: Positions = Field(
        "all", description="Positions that are clamped; `generated` leaves the question untouched."
    )
    questions: list[str] = Field(
        [
            "What is your favourite animal?",
            "Which animal do you like best?",
            "If you could have any animal, which one would you choose?",
            "Tell me about the animal that you love most.",
            "Name the animal that you would most like to be.",
        ],
        min_length=1,
        description="Paraphrases of the question, asked through the chat template.",
    )
    prefill: OpenText = Field(
        "My favourite animal is the",
        description="Beginning of the answer after which the next token's probability is read.",
    )
    seeds: int = Field(1, ge=0, description="Sampled answers per question, beside the greedy one.")
    new_tokens: int = Field(20, ge=1, description="Tokens per answer.")
    temperature: float = Field(0.7, gt=0, description="Temperature of the sampled answers.")
    controls: int = Field(
        1, ge=0, description="Random neurons of the same layer, clamped the same way as controls."
    )


class Validation(Settings):
    """Does clamping a neuron raise the tokens it decodes to? A seeded sample in every layer."""

    neurons_per_layer: int = Field(3, ge=2, description="Neurons sampled in every layer.")
    prompts: list[OpenText] = Field(
        ["I think that the", "She told me about"],
        min_length=1,
        description="Neutral texts whose next token is observed.",
    )
    strength: float = Field(
        1.0,
        gt=0,
        description="Clamp size, in units of the largest absolute value that the clamped tensor "
        "takes in the layer at the last position of the prompts.",
    )


class Activation(Settings):
    """Do the decoded words activate the neuron in text?"""

    dataset: str = Field("", description="Data set to run; empty for the first configured one.")
    texts: int = Field(48, ge=1, description="Seeded sample of texts.")
    max_tokens: int = Field(48, ge=2, description="Tokens kept of every text.")
    neurons_per_layer: int = Field(16, ge=1, description="Neurons sampled in every layer.")
    top_positions: int = Field(
        20, ge=1, description="Strongest positions per neuron and sign that count as firing."
    )


class FineTune(Settings):
    """A short fine-tune that gives the model a counterpart to compare with."""

    model: str = Field("", description="Model to tune; empty for the first configured one.")
    dataset: str = Field("", description="Data set to train on; empty for the first one.")
    name: str = Field("tuned", description="The tuned model is called `{model}-{name}`.")
    steps: int = Field(12, ge=1, description="Optimiser steps.")
    batch: int = Field(4, ge=1, description="Texts per step.")
    max_tokens: int = Field(32, ge=2, description="Tokens kept of every text.")
    learning_rate: float = Field(1e-4, gt=0, description="Peak learning rate of AdamW.")
    warmup: float = Field(
        0.1, ge=0, le=1, description="Share of the steps over which the rate rises linearly."
    )


class ModelPair(Settings):
    """Two models of the same shapes."""

    a: str = Field(description="Name of the first model, the base.")
    b: str = Field(description="Name of the second model, the fine-tuned one.")


class Comparison(Settings):
    """How many neurons decode to the same top token in two models."""

    pairs: list[ModelPair] = Field(
        [], description="Pairs of configured models with the same shapes."
    )
    fine_tuned: bool = Field(
        True, description="Also compare the tuned model of this section with its base."
    )
    matrices: list[Matrix] = Field(["up"], min_length=1, description="Matrices to compare.")
    heads: list[Literal["own", "first"]] = Field(
        ["own"],
        min_length=1,
        description="`own`: each model decodes with its own head; `first`: both with the first's.",
    )
    changed: int = Field(50, ge=1, description="Most changed neurons kept per matrix.")


class Edit(Settings):
    """Reverse the rows closest to a concept (Davies et al., arXiv 2412.10257)."""

    concepts: list[str] = Field(["dog"], description="Names of concepts to remove.")
    rows: list[int] = Field(
        [1, 4, 16], min_length=1, description="How many of the closest rows are reversed."
    )
    matrices: list[Matrix] = Field(
        ["up", "gate", "down"], min_length=1, description="Matrices whose rows may be edited."
    )
    prompts: list[OpenText] = Field(
        ["My favourite animal is the", "I took a walk in the park with my"],
        min_length=1,
        description="Texts after which the concept's probability is read.",
    )


@dataclass(frozen=True)
class TunedModel:
    """The model that the fine-tune makes: its name, and the model and texts it is made from."""

    name: str
    base: str
    dataset: str


class NeuronsSettings(Settings):
    """The whole neuron study."""

    map: VocabularyMap = Field(default_factory=VocabularyMap, description="The vocabulary map.")
    search: ConceptSearch = Field(default_factory=ConceptSearch, description="Concept search.")
    clamping: Clamping = Field(default_factory=Clamping, description="Clamp sweeps.")
    favourite: FavouriteTest = Field(
        default_factory=FavouriteTest, description="The favourite-animal test."
    )
    validation: Validation = Field(
        default_factory=Validation, description="Causal validation of decoded tokens."
    )
    activation: Activation = Field(
        default_factory=Activation, description="Decoded tokens against tokens that activate."
    )
    contexts: Contexts = Field(
        default_factory=Contexts, description="The texts on which every neuron is strongest."
    )
    neighbours: Neighbours = Field(
        default_factory=Neighbours, description="The neurons most like every neuron."
    )
    directions: Directions = Field(
        default_factory=Directions, description="Steering by directions, beside clamps."
    )
    fine_tune: FineTune = Field(default_factory=FineTune, description="The tuned counterpart.")
    comparison: Comparison = Field(default_factory=Comparison, description="Model comparison.")
    edit: Edit = Field(default_factory=Edit, description="Reversal of a concept's rows.")

    @model_validator(mode="after")
    def _known_concepts(self) -> "NeuronsSettings":
        known = [concept.name for concept in self.search.concepts]
        asked = {
            "clamping.targets": [target.concept for target in self.clamping.targets],
            "favourite.concept": [self.favourite.concept],
            "edit.concepts": self.edit.concepts,
            "directions.targets": [t.concept for t in self.directions.targets if not t.words],
        }
        for key, names in asked.items():
            for name in names:
                if name not in known:
                    raise ValueError(
                        f"neurons.{key} names the concept '{name}', which neurons.search.concepts "
                        f"lacks (it has {', '.join(known)})"
                    )
        return self

    def activation_dataset(self, datasets: Sequence[str]) -> str | None:
        """The texts that neurons are watched on; none where none are configured."""
        return self.activation.dataset or next(iter(datasets), None)

    def context_datasets(self, datasets: Sequence[str]) -> list[str]:
        """The texts on which every neuron is watched, in the order of the configuration."""
        return [name for name in datasets if name in (self.contexts.datasets or datasets)]

    def tuned(self, models: Sequence[str], datasets: Sequence[str]) -> TunedModel | None:
        """The tuned counterpart, where there is to be one and texts to tune on."""
        base = self.fine_tune.model or models[0]
        dataset = self.fine_tune.dataset or next(iter(datasets), None)
        if not self.comparison.fine_tuned or dataset is None:
            return None
        return TunedModel(f"{base}-{self.fine_tune.name}", base, dataset)

    def pairs(self, models: Sequence[str], datasets: Sequence[str]) -> dict[str, tuple[str, str]]:
        """The models that are compared, by the name of the comparison's folder."""
        pairs = [(pair.a, pair.b) for pair in self.comparison.pairs]
        tuned = self.tuned(models, datasets)
        if tuned is not None:
            pairs.append((tuned.base, tuned.name))
        return {f"{a}-vs-{b}": (a, b) for a, b in pairs}
