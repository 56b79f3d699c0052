"""Settings of unit attribution: gradient scores of units, put to the test (docs/attribution.md)."""

from typing import Literal

from pydantic import Field

from llm_anatomy.config.base import Settings

UnitKind = Literal["ffn_neuron", "attention_neuron", "head"]
UnitMethod = Literal[
    "attribution_patching", "denoising", "relevance_patching", "integrated_gradients", "activation"
]
Baseline = Literal["counterfactual", "mean", "zero"]
Positions = Literal["last", "all"]


class UnitAttribution(Settings):
    """Which units carry the answers of a relation, by several scores, and how far that is true."""

    relations: list[str] = Field(
        ["capitals", "languages"],
        description="Relations among `facts.relations` whose units are scored; [] leaves it out.",
    )
    max_facts: int | None = Field(
        12,
        ge=4,
        description="Facts of a relation, the first of those studied: half make the rankings, the "
        "others judge them; null takes all.",
    )
    kinds: list[UnitKind] = Field(
        ["ffn_neuron", "head"],
        min_length=1,
        description="Kinds of units; each is ranked and exchanged apart.",
    )
    methods: list[UnitMethod] = Field(
        ["attribution_patching", "denoising", "relevance_patching", "activation"],
        min_length=1,
        description="Scores: by the gradient of the clean run, of the counterfactual run, by "
        "RelP's rules, by integrated gradients (30 times as long), or by what the unit writes, "
        "without a gradient.",
    )
    baseline: Baseline = Field(
        "counterfactual",
        description="What activations are exchanged for: those of another fact's prompt, their "
        "mean over the positions of the facts that make the rankings, or zero. `denoising` needs "
        "the first.",
    )
    positions: Positions = Field("all", description="Positions at which scores exchange them.")
    contrast: bool = Field(
        True,
        description="Whether the answer's logit is held against the other fact's answer's; else "
        "its log-probability counts.",
    )
    steps: int = Field(8, ge=1, description="Points of integrated gradients.")
    exact_facts: int = Field(2, ge=0, description="Facts whose units are exchanged one by one.")
    exact_top: int = Field(20, ge=0, description="Best units of every score that are exchanged.")
    exact_sample: int = Field(60, ge=0, description="Other units, the same number in every layer.")
    kept: int = Field(100, ge=1, description="Units of every score that are written.")
    resamples: int = Field(1000, ge=1, description="Bootstrap resamples of the facts.")
