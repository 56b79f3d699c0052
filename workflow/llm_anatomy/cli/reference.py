"""Pages written from the code: tables, configuration, list of modules, conda environment.

`python -m llm_anatomy.cli.reference` rewrites them; a test checks that they are in sync.
"""

import json
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from llm_anatomy.cli.modules import modules_section
from llm_anatomy.config.root import Configuration
from llm_anatomy.tables.core import TableSchema
from llm_anatomy.tables.registry import ALL_TABLES

LONGEST_DEFAULT = 70
ARCHITECTURE = Path("docs/architecture.md")
# Between these lines of that page stands what is generated.
MODULES, MODULES_END = "<!-- modules: `make docs` -->\n", "<!-- end of modules -->\n"


def reference_pages() -> dict[Path, str]:
    """The generated pages, by their path from the root of the project."""
    return {
        ARCHITECTURE: architecture_page(ARCHITECTURE.read_text(encoding="utf-8")),
        Path("docs/tables.md"): tables_page(list(ALL_TABLES.values())),
        Path("config/README.md"): configuration_page(),
        Path("envs/llm_anatomy.yaml"): conda_environment(Path("envs/requirements.lock")),
    }


def tables_page(schemas: list[TableSchema]) -> str:
    """Every table with its path, rule, columns, types and units, as Markdown."""
    lines = [
        "# Tables",
        "",
        "Written from the code by `make docs`. Every table is Parquet (zstd, page checksums) and",
        "carries in its metadata what its numbers depend on: model, revision, weights hash,",
        "settings, seed and versions. Layers, neurons and positions count from 0.",
        "",
        "| table | what one row is |",
        "|---|---|",
    ]
    lines += [f"| [`{s.path}`](#{_anchor(s.name)}) | {_cell(s.description)} |" for s in schemas]
    for schema in schemas:
        lines += [
            "",
            f"## {schema.name}",
            "",
            f"`{schema.path}`, made by the rule `{schema.rule}`. {schema.description}",
            "",
            "| column | type | unit | meaning |",
            "|---|---|---|---|",
        ]
        for column in schema.columns:
            kind = f"{column.type}{', may be missing' if column.nullable else ''}"
            cells = (f"`{column.name}`", kind, column.unit, column.meaning)
            lines.append(f"| {' | '.join(map(_cell, cells))} |")
    return "\n".join(lines) + "\n"


def configuration_page() -> str:
    """Every configuration key with its type, default and meaning, as Markdown."""
    lines = [
        "# Configuration",
        "",
        "Written from the code by `make docs`. A run reads `config/config.yaml`, or the file of",
        "`--configfile mine.yaml`, which then stands alone: nothing of the default file is added.",
        "Keys that are left out take the defaults below. Single values are changed on the command",
        "line: `--config seed=1`. Of several files, later ones win.",
        "",
        "`config/full.yaml` is the default model at full depth; `config/papers/` holds the four",
        "papers' own runs. A wrong key or value stops the run before any job, with one sentence.",
        "",
        "A changed value reruns exactly the stages that read it; `compute` reruns nothing.",
    ]
    for title, model, place in _sections(Configuration, "", set()):
        lines += ["", f"## {title}", "", _cell(model.__doc__ or "")]
        if place.endswith("[]"):
            lines += ["", f"One entry of `{place[:-2]}`."]
        lines += ["", "| key | value | default | meaning |", "|---|---|---|---|"]
        for name, field in model.model_fields.items():
            key = f"{place}.{name}" if place and not place.endswith("[]") else name
            lines.append(
                f"| `{key}` | {_cell(_type(field))} | {_cell(_default(field))} | "
                f"{_cell(field.description or '')} |"
            )
    return "\n".join(lines) + "\n"


def architecture_page(text: str) -> str:
    """The page on the architecture, with the list of modules brought up to date."""
    before, _, rest = text.partition(MODULES)
    return f"{before}{MODULES}{modules_section()}\n{MODULES_END}{rest.partition(MODULES_END)[2]}"


def conda_environment(lock: Path) -> str:
    """The locked packages as an environment for `--sdm conda`.

    They are listed and not referred to, because Snakemake copies the file to another folder.
    """
    pins = [line for line in lock.read_text().splitlines() if line and line[0] != "#"]
    lines = [
        "# Software of every rule, for `--sdm conda`: envs/requirements.lock, by `make docs`.",
        "channels:",
        "  - conda-forge",
        "  - nodefaults",
        "dependencies:",
        "  - python =3.11",
        "  - pip",
        "  - pip:",
        *(f"      - {pin}" for pin in pins),
    ]
    return "\n".join(lines) + "\n"


def _sections(
    model: type[BaseModel], place: str, seen: set[type[BaseModel]]
) -> Iterator[tuple[str, type[BaseModel], str]]:
    """A class of settings and those inside it, each once, with the key they lie under."""
    if model in seen:
        return
    seen.add(model)
    yield (f"`{place.replace('[]', '')}`" if place else "Top level"), model, place
    for name, field in model.model_fields.items():
        path = f"{place}.{name}" if place else name
        for inner, many in _models_in(field.annotation):
            yield from _sections(inner, f"{path}[]" if many else path, seen)


def _models_in(annotation: Any, many: bool = False) -> Iterator[tuple[type[BaseModel], bool]]:
    origin = typing.get_origin(annotation)
    if origin is None and isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation, many
    for part in typing.get_args(annotation):
        yield from _models_in(part, many or origin in (list, tuple, dict))


def _type(field: FieldInfo) -> str:
    limits = [_limit(item) for item in field.metadata]
    return ", ".join([_type_name(field.annotation), *(text for text in limits if text)])


def _limit(item: Any) -> str:
    words = {
        "ge": "at least {}",
        "gt": "above {}",
        "le": "at most {}",
        "lt": "below {}",
        "min_length": "at least {} long",
        "max_length": "at most {} long",
        "pattern": "like `{}`",
    }
    found = [
        text.format(v) for k, text in words.items() if (v := getattr(item, k, None)) is not None
    ]
    return ", ".join(found)


def _type_name(annotation: Any) -> str:
    origin, parts = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Literal:
        return " or ".join(f"`{json.dumps(value) if value is None else value}`" for value in parts)
    if origin in (typing.Union, types.UnionType):
        return " or ".join("`null`" if part is type(None) else _type_name(part) for part in parts)
    if origin in (list, tuple):
        return f"list of {_type_name(parts[0])}"
    if origin is dict:
        return f"map of {_type_name(parts[0])} to {_type_name(parts[1])}"
    if origin is typing.Annotated:
        return _type_name(parts[0])
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "keys below"
    simple = {str: "text", int: "whole number", float: "number", bool: "`true` or `false`"}
    return simple.get(annotation, "path" if annotation is Path else "value")


def _default(field: FieldInfo) -> str:
    # The entry of a list that says which kind it is: its default serves the code alone.
    tag = typing.get_origin(field.annotation) is Literal and len(typing.get_args(field.annotation))
    if field.is_required() or tag == 1:
        return "**required**"
    value = field.get_default(call_default_factory=True)
    if value is PydanticUndefined or isinstance(value, BaseModel):
        return ""
    if isinstance(value, list | tuple) and value and isinstance(value[0], BaseModel):
        names = [getattr(item, "name", None) for item in value]
        if all(names):
            return ", ".join(f"`{name}`" for name in names)
        return f"{len(value)} entries"
    text = json.dumps(value, ensure_ascii=False, default=str)
    if len(text) > LONGEST_DEFAULT:
        text = f"{text[: LONGEST_DEFAULT - 1]}…"
    return f"`{text}`"


def _anchor(name: str) -> str:
    """The fragment that GitHub gives to a heading."""
    return "".join(c for c in name.lower().replace(" ", "-") if c.isalnum() or c in "-_")


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())


if __name__ == "__main__":
    for path, text in reference_pages().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
