"""Settings of unit attribution: gradient scores of units, put to the test (docs/attribution.md)."""

from typing import Literal

from pydantic import Field

from llm_anatomy.config.base import Settings, Unequal

UnitKind = Literal["ffn_neuron", "attention_neuron", "head"]
ActivationMethod = Literal[
    "attribution_patching", "denoising", "relevance_patching", "integrated_gradients", "activation"
]
# The eight of Yu and Ananiadou (arXiv 2312.12141v4, section 4.1).
VocabularyMethod = Literal[
    "log_prob_increase",
    "log_prob",
    "prob_increase",
    "norm",
    "coefficient",
    "inverse_rank",
    "coefficient_norm",
    "coefficient_rank",
]
UnitMethod = ActivationMethod | VocabularyMethod
Baseline = Literal["counterfactual", "mean", "zero"]
Positions = Literal["last", "all"]
Corruption = Literal["noise", "swap"]
Restored = Literal["state", "attention", "ffn"]


class UnitAttribution(Settings):
    """Which units carry the answers of a relation, by several scores, and how far that is true."""

    relations: list[str] = Field(
        ["capitals", "languages"],
        description="Relations among `facts.relations` whose units are scored; [] leaves it out.",
    )
    max_facts: int | None = Field(
        10,
        ge=4,
        description="Facts of a relation, the first of those studied: half make the rankings, the "
        "others judge them, and a counterfactual is a fact of the same half; null takes all.",
    )
    kinds: list[UnitKind] = Field(
        ["ffn_neuron", "head"],
        min_length=1,
        description="Kinds of units; each is ranked and exchanged apart.",
    )
    methods: list[UnitMethod] = Field(
        [
            "attribution_patching",
            "relevance_patching",
            "log_prob_increase",
            "prob_increase",
            "norm",
            "coefficient",
        ],
        min_length=1,
        description="Scores: by the gradient of the clean run, of the counterfactual run "
        "(`denoising`), by RelP's rules, by integrated gradients (30 times as long), by the size "
        "of what the unit writes at all positions (`activation`), or one of the paper's eight, "
        "which look at the last position alone. Heads have no norm, coefficient or rank.",
    )
    exact_increases: int | None = Field(
        200,
        ge=1,
        description="Units of a fact whose (log-)probability increase is computed, the best; the "
        "others take its upper bound to first order. null computes all, half a minute for a fact.",
    )
    baseline: Baseline = Field(
        "counterfactual",
        description="What activations are exchanged for: those of another fact's prompt, their "
        "mean over the positions of the facts that make the rankings, or zero. `denoising` needs "
        "the first.",
    )
    unequal: Unequal = Field(
        "skip_pair",
        description="What happens to a fact whose counterfactual has another number of tokens: it "
        "is set aside and counted, exchanged at its last token only, or aligned right with the "
        "counterfactual's first activations repeated to the left.",
    )
    positions: Positions = Field("all", description="Positions at which scores exchange them.")
    contrast: bool = Field(
        True,
        description="Whether the answer's logit is held against the other fact's answer's; else "
        "its log-probability counts.",
    )
    steps: int = Field(8, ge=1, description="Points of integrated gradients.")
    exact_facts: int = Field(2, ge=0, description="Facts whose units are exchanged one by one.")
    exact_top: int = Field(10, ge=0, description="Best units of every score that are exchanged.")
    exact_sample: int = Field(
        30,
        ge=0,
        description="Other units that are exchanged, rounded up to as many of every layer.",
    )
    kept: int = Field(100, ge=1, description="Units of every score that are written.")
    resamples: int = Field(1000, ge=1, description="Bootstrap resamples of the facts.")


class Grids(Settings):
    """Layers by positions of a relation's prompts: the logit lens, and causal tracing."""

    relations: list[str] = Field(
        ["capitals"],
        description="Relations among `facts.relations` that grids are made of; [] leaves them out.",
    )
    max_facts: int | None = Field(
        5, ge=1, description="Facts of a relation, the first of those studied; null takes all."
    )
    corruptions: list[Corruption] = Field(
        ["noise", "swap"],
        min_length=1,
        description="How a run is corrupted before states are restored: by `noise` on the "
        "subject, or by a `swap` for the counterfactual prompt, of equal length.",
    )
    samples: int = Field(2, ge=1, description="Draws of noise for every fact (ROME: 10).")
    noise: float = Field(
        3.0,
        gt=0,
        description="Standard deviation of the noise, in those of the entries of the first block's "
        "input over the facts.",
    )
    restored: list[Restored] = Field(
        ["state", "attention", "ffn"],
        min_length=1,
        description="What is restored at one position: the state behind a layer, or what "
        "attention or the FFN adds.",
    )
    window: int = Field(
        10, ge=1, description="Layers whose attention or FFN is restored together (ROME: 10)."
    )
    resamples: int = Field(1000, ge=1, description="Bootstrap resamples of the facts.")
