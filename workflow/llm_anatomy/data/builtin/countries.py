"""Relations between countries and their capitals, languages, currencies and continents.

The facts come out of the pinned wheel countryinfo; the rules by which a country is left out are
below and in docs/data.md.
"""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from llm_anatomy.data.builtin import country_names as names
from llm_anatomy.data.builtin.domains import COUNTRYINFO
from llm_anatomy.data.intake import Intake
from llm_anatomy.data.relations import Example, accepted, without_accents
from llm_anatomy.data.wheels import members, read_json, wheel_for

FOLDER = "countryinfo/data/"
SHARED_LETTERS = 5

# A country's accepted answers, or the reason why it is left out.
Answers = tuple[str, ...] | str


def capitals(paths: tuple[Path, ...], intake: Intake) -> Iterator[Example]:
    """Countries and their capitals; left out where the answer could be copied from the name."""
    yield from _relation("capitals", _capital, paths, intake)


def languages(paths: tuple[Path, ...], intake: Intake) -> Iterator[Example]:
    """Countries with one official language, and that language."""
    yield from _relation("languages", _language, paths, intake)


def currencies(paths: tuple[Path, ...], intake: Intake) -> Iterator[Example]:
    """Countries with one currency, and the noun for it, such as `yen`."""
    yield from _relation("currencies", _currency, paths, intake)


def continents(paths: tuple[Path, ...], intake: Intake) -> Iterator[Example]:
    """Countries and their continents, the Americas apart."""
    yield from _relation("continents", _continent, paths, intake)


def copies_name(answer: str, country: str) -> bool:
    """Whether an answer repeats (part of) the country's name, as Mexico City or Tunis do.

    A model that copies would then be taken for one that recalls. Compared are words without
    accents: one begins with the other, or both begin with the same `SHARED_LETTERS` letters.
    """

    def words(text: str) -> list[str]:
        found = re.findall(r"[a-z]+", without_accents(text).lower())
        return [word for word in found if len(word) >= SHARED_LETTERS]

    return any(
        a[:SHARED_LETTERS] == b[:SHARED_LETTERS] for a in words(answer) for b in words(country)
    )


def _relation(
    relation: str,
    answer: Callable[[str, str, dict[str, Any]], Answers],
    paths: tuple[Path, ...],
    intake: Intake,
) -> Iterator[Example]:
    wheel = wheel_for(COUNTRYINFO, paths)
    found: dict[str, Example] = {}
    for number, member in enumerate(members(wheel, FOLDER, ".json"), start=1):
        record = read_json(wheel, member)
        intake.read()
        code = record["ISO"]["alpha2"]
        country = names.COUNTRY_NAMES.get(code, record["name"].removeprefix("The "))
        if code in names.NOT_A_STATE:
            intake.set_aside("no sovereign state", country)
            continue
        if code in found or not record.get("population"):
            intake.set_aside("second record of the same country", country)
            continue
        answers = answer(code, country, record)
        if isinstance(answers, str):
            intake.set_aside(answers, country)
            continue
        example_id = f"{relation}-{code.lower()}"
        found[code] = Example(number, country, example_id, country, accepted(answers))
    yield from sorted(found.values(), key=lambda example: without_accents(example.subject))


def _capital(code: str, country: str, record: dict[str, Any]) -> Answers:
    if code in names.CAPITAL_UNCLEAR:
        return "no single capital in law and in fact, or moved since"
    spellings = (*names.CAPITAL_SPELLINGS.get(code, ()), record["capital"])
    if copies_name(spellings[0], country):
        return "the answer repeats the country's name"
    return spellings


def _language(code: str, country: str, record: dict[str, Any]) -> Answers:
    codes = [names.LANGUAGE_OF.get(c, c) for c in record.get("languages") or []]
    if len(set(codes)) != 1:
        return "no or several official languages"
    if code in names.LANGUAGE_UNCLEAR or codes[0] not in names.LANGUAGE_NAMES:
        return "its record lacks languages or is out of date"
    return names.LANGUAGE_NAMES[codes[0]]


def _currency(code: str, country: str, record: dict[str, Any]) -> Answers:
    codes = record.get("currencies") or []
    if len(codes) != 1:
        return "no or several currencies"
    if code in names.CURRENCY_CHANGED or codes[0] not in names.CURRENCY_NOUNS:
        return "its record lacks the currency or is out of date"
    nouns = names.CURRENCY_NOUNS[codes[0]]
    if copies_name(nouns[0], country):
        return "the answer repeats the country's name"
    demonym = record.get("demonym") or ""
    # Of a currency that several countries share, nobody says "Austrian euro".
    own = () if codes[0] in ("EUR", "USD") or "," in demonym or not demonym else (demonym,)
    return (*nouns, *(f"{adjective} {nouns[0]}" for adjective in own))


def _continent(code: str, country: str, record: dict[str, Any]) -> Answers:
    if code in names.CONTINENT_UNCLEAR:
        return "on two continents, or a matter of convention"
    region = record["region"]
    if region == "Americas":
        region = "South America" if code in names.SOUTH_AMERICA else "North America"
    return names.CONTINENTS[region]
