"""Settings of what makes neurons fire: contexts, words against contexts, neighbours."""

from typing import Literal

from pydantic import Field

from llm_anatomy.config.base import Settings
from llm_anatomy.config.mlp import Site


class Contexts(Settings):
    """The texts on which every neuron of every layer is strongest."""

    datasets: list[str] = Field(
        [], description="Data sets of texts to read; empty for all that studies run on."
    )
    tokens: int = Field(
        6000,
        ge=1,
        description="Most tokens that are read: texts are taken in a seeded order until the next "
        "one would go beyond. 50,000 and more give better contexts; a default run is kept short.",
    )
    max_length: int = Field(128, ge=2, description="Tokens kept of every text.")
    count: int = Field(5, ge=1, description="Contexts per neuron and sign, one per text.")
    site: Site = Field(
        "activation",
        description="What counts as a neuron's activation: `activation` enters the down "
        "projection; `gate` and `up` are the outputs of those projections.",
    )
    first_positions: int = Field(
        1,
        ge=0,
        description="Positions at the start of every text that do not count: on the first token, "
        "a begin-of-sequence token or not, most neurons are strongest whatever it is.",
    )
    threshold: float = Field(
        0.1, ge=0, description="A neuron is active where its activation is beyond this value."
    )
    before: int = Field(10, ge=0, description="Tokens of the window in front of the strongest.")
    after: int = Field(5, ge=1, description="Tokens of the window behind it.")
    shards: int = Field(
        1, ge=1, description="Parts that the texts are split into, one job and one file each."
    )
    shuffles: int = Field(
        20,
        ge=1,
        description="How often words are exchanged among the neurons of a layer, for the overlap "
        "of words and contexts that is due to chance.",
    )
    resamples: int = Field(200, ge=1, description="Bootstrap resamples of that overlap.")

    @property
    def shard_names(self) -> list[str]:
        """The shards' names, in order."""
        return [f"{k}-of-{self.shards}" for k in range(1, self.shards + 1)]


class Neighbours(Settings):
    """The neurons most like a neuron."""

    count: int = Field(5, ge=1, description="Neighbours per neuron and measure.")
    scope: Literal["layer", "model"] = Field(
        "layer",
        description="Where neighbours are looked for: in the neuron's `layer`, or in the whole "
        "`model`, which multiplies the work by the number of layers.",
    )
    tokens: int = Field(
        1024,
        ge=0,
        description="Token positions over which activations are correlated, of texts in a seeded "
        "order; 0 leaves the correlations out.",
    )
    max_length: int = Field(32, ge=2, description="Tokens kept of every such text.")
