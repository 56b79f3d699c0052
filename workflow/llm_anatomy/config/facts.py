"""Settings of the facts study: which subvalues carry an answer, what activates them, knock-outs.

Source: Yu and Ananiadou, "Neuron-Level Knowledge Attribution in Large Language Models" (arXiv
2312.12141v4); equation and section numbers are that paper's.
"""

from typing import Literal

from pydantic import Field, field_validator, model_validator

from llm_anatomy.config.attribution import Grids, UnitAttribution
from llm_anatomy.config.attribution import VocabularyMethod as Method
from llm_anatomy.config.base import Settings
from llm_anatomy.config.templates import OpenSubjectTemplate

NormMode = Literal["frozen", "per_vector", "none"]
Subkey = Literal["up", "gate", "up+gate", "product"]


class FactRelation(Settings):
    """A relation of the configuration's `datasets`, and how its subjects are asked about."""

    relation: str = Field(description="Name of a relation in `datasets`, such as `capitals`.")
    templates: list[OpenSubjectTemplate] = Field(
        ["{subject}"],
        min_length=1,
        description="Prompts with `{subject}`. Of several, the one that leaves most facts after "
        "the filter is used and all are counted. A ready prompt in the data goes before them.",
    )
    max_facts: int | None = Field(
        None, ge=1, description="Facts to study, a seeded sample; null studies all that pass."
    )
    keep: list[str] = Field(
        [], description="Subjects that a sample of `max_facts` always contains, if they pass."
    )


class FactFilter(Settings):
    """Which facts a model knows well enough to study (section 4.1)."""

    top: int | None = Field(
        10, ge=1, description="Highest rank of the answer's token that passes; null passes all."
    )
    above_others: bool = Field(
        True, description="Whether the answer must be above every other answer of its relation."
    )
    multi_token: Literal["first_token", "set_aside"] = Field(
        "first_token",
        description="An answer of several tokens stands for its first (paper), or is set aside.",
    )
    ambiguous: Literal["set_aside", "keep"] = Field(
        "set_aside",
        description="What happens to an answer whose first token also begins another answer of "
        "the relation, so that the token does not tell them apart.",
    )


class Attribution(Settings):
    """Importance of layers, heads, positions and neurons (Eq. 13)."""

    norm: NormMode = Field(
        "frozen",
        description="Final norm before the LM head: `frozen` to the scale of the prompt's final "
        "state, which makes scores exactly additive; `per_vector`, each sum with its own scale "
        "(logit lens); `none`, Eq. 2 literally.",
    )
    target: Literal["gold", "argmax"] = Field(
        "gold", description="Token to explain: the answer's first, or the model's prediction."
    )
    token: str | None = Field(
        None, min_length=1, description="Explain this token instead, such as ` Paris`."
    )
    contrast: str | None = Field(
        None,
        min_length=1,
        description="Explain log p(target) - log p(this token), such as ` London`.",
    )
    search: Literal["certified", "exhaustive"] = Field(
        "certified",
        description="How the best neurons are found: by the concavity bound with a certificate, "
        "or by evaluating every neuron. Both give the same neurons and values.",
    )
    neurons: int = Field(
        100, ge=1, description="Most important FFN neurons kept of every fact (paper: 100 to 300)."
    )
    attention_neurons: int = Field(
        200, ge=0, description="Most important attention neurons (head, dimension, position) kept."
    )
    head_positions: int = Field(
        50, ge=0, description="Most important pairs of head and source position kept."
    )
    curve_points: int = Field(
        61, ge=2, description="Points of the interpolation from h^0 to h^L (section 4.1, Fig. 3)."
    )
    sums: int = Field(
        0,
        ge=0,
        description="Facts per relation whose neurons are all evaluated, for the sums over all "
        "and over positive neurons (Table 5).",
    )


class Queries(Settings):
    """What activates the value neurons (section 3.4)."""

    value_neurons: int = Field(
        100, ge=1, description="FFN value neurons per fact whose query layers are traced."
    )
    attention_value_neurons: int = Field(
        30, ge=1, description="Attention value neurons per fact whose query neurons are traced."
    )
    subkey: Subkey = Field(
        "product",
        description="Subkey of a gated FFN neuron: the row of `up`, of `gate`, both, or the "
        "gradient of gate times up (product rule). Without a gate it is always the row of fc1.",
    )
    query_neurons: int = Field(
        300, ge=1, description="Query FFN neurons kept of every fact (paper: 1,000; code: 300)."
    )
    min_denominator: float = Field(
        1e-3,
        gt=0,
        description="Smallest |sum of inner products| relative to the sum of their absolute "
        "values at which shares are taken; below, a neuron is left out and counted.",
    )


class KnockOut(Settings):
    """What switching units off does to the answer (sections 4.1 and 4.2)."""

    methods: list[Method] = Field(
        [
            "log_prob_increase",
            "log_prob",
            "prob_increase",
            "norm",
            "coefficient",
            "coefficient_norm",
        ],
        min_length=1,
        description="Methods whose best FFN neurons are switched off (Table 2). The two with "
        "ranks project every neuron to the vocabulary, once per relation.",
    )
    signed_rank: bool = Field(
        False, description="Rank the answer in m·v instead of v, for the two methods with ranks."
    )
    neurons: int = Field(10, ge=1, description="FFN neurons switched off per fact and method.")
    value_neurons: tuple[int, int] = Field(
        (200, 100), description="Attention and FFN value neurons switched off together (Table 13)."
    )
    query_neurons: int = Field(
        300, ge=1, description="Query FFN neurons switched off per fact (Table 7)."
    )
    head_share: float = Field(
        0.01, gt=0, le=1, description="Share of all heads switched off per relation (Table 11)."
    )
    layers: int = Field(
        1,
        ge=0,
        description="Most important layers of a relation whose whole output is switched off: of "
        "attention, of the FFN, of both. 0 leaves this out.",
    )
    operation: Literal["zero", "scale", "replace"] = Field(
        "zero",
        description="What happens to the switched units' coefficients; whole layers are zeroed, "
        "or scaled too.",
    )
    value: float = Field(
        0.0, description="Factor for `scale`, or the coefficient that `replace` sets."
    )


class CaseStudy(Settings):
    """One fact looked at closely."""

    relation: str = Field("capitals", description="Relation of the fact.")
    subject: str = Field("France", description="Its subject.")
    contrasts: list[str] = Field(
        [" London", " Lyon"],
        description="Tokens to contrast the answer with: another capital, a city of the country.",
    )
    units: int = Field(15, ge=1, description="Heads, positions and neurons shown of each kind.")
    tokens: int = Field(10, ge=1, description="Top and bottom tokens shown of every vector.")


DEFAULT_RELATIONS: tuple[FactRelation, ...] = (
    FactRelation(
        relation="capitals",
        templates=["The capital of {subject} is"],
        max_facts=37,
        keep=["France", "Germany", "Italy", "Japan", "Russia", "Spain"],
    ),
    FactRelation(
        relation="languages", templates=["The official language of {subject} is"], max_facts=32
    ),
    FactRelation(
        relation="continents",
        templates=["{subject} is a country on the continent of"],
        max_facts=25,
    ),
    FactRelation(relation="months", templates=["After {subject} comes the month of"]),
)


class FactsSettings(Settings):
    """The facts study."""

    relations: list[FactRelation] = Field(
        default_factory=lambda: list(DEFAULT_RELATIONS),
        min_length=1,
        description="Relations to study; those that are not among `datasets` are an error.",
    )
    filter: FactFilter = Field(FactFilter(), description="Which facts are studied.")
    attribution: Attribution = Field(Attribution(), description="Importance of every unit.")
    queries: Queries = Field(Queries(), description="What activates the value neurons.")
    knock_out: KnockOut = Field(KnockOut(), description="Interventions.")
    case_study: CaseStudy | None = Field(CaseStudy(), description="A fact to look at; or null.")
    units: UnitAttribution = Field(
        UnitAttribution(), description="Scores of units by gradients, put to the test."
    )
    grids: Grids = Field(
        Grids(), description="Logit lens and causal tracing, by layer and position."
    )

    @field_validator("relations")
    @classmethod
    def _distinct(cls, relations: list[FactRelation]) -> list[FactRelation]:
        names = [item.relation for item in relations]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"the relation '{twice}' appears twice")
        return relations

    @model_validator(mode="after")
    def _case_is_studied(self) -> "FactsSettings":
        names = [item.relation for item in self.relations]
        given = self.case_study if "case_study" in self.model_fields_set else None
        if given is not None and given.relation not in names:
            raise ValueError(
                f"case_study.relation is '{given.relation}', which is none of the relations "
                f"({', '.join(names)})"
            )
        return self

    @model_validator(mode="after")
    def _units_are_of_relations(self) -> "FactsSettings":
        names = [item.relation for item in self.relations]
        for key, part in (("units", self.units), ("grids", self.grids)):
            given = part.relations if "relations" in part.model_fields_set else []
            unknown = next((name for name in given if name not in names), None)
            if unknown is not None:
                raise ValueError(
                    f"{key}.relations names '{unknown}', which is none of the relations "
                    f"({', '.join(names)})"
                )
        if "denoising" in self.units.methods and self.units.baseline != "counterfactual":
            raise ValueError(
                f"units.baseline is '{self.units.baseline}', but the method 'denoising' restores "
                "units in the counterfactual's run; take it out of units.methods"
            )
        return self

    @property
    def unit_relations(self) -> list[str]:
        """Relations whose units are scored, in the order of the relations."""
        return [r.relation for r in self.relations if r.relation in self.units.relations]

    @property
    def grid_relations(self) -> list[str]:
        """Relations that grids are made of, in the order of the relations."""
        return [r.relation for r in self.relations if r.relation in self.grids.relations]

    def relation(self, name: str) -> FactRelation:
        """The settings of one relation."""
        return next(item for item in self.relations if item.relation == name)
