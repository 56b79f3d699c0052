"""What ran: models, data, versions and configuration, as the head of the report."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel

from llm_anatomy.artefacts.remake import remake_command
from llm_anatomy.config.root import ALL_STUDIES, Configuration
from llm_anatomy.errors import UserError
from llm_anatomy.model.source.record import read_record
from llm_anatomy.report.shown import TableReader, TableRecord

INTAKE_SUFFIX = ".intake.parquet"
_LINE_WIDTH = 88
_SOURCES = {
    "wheel": "Python wheel",
    "hub": "Hugging Face",
    "path": "folder",
    "gguf": "GGUF file",
}


@dataclass(frozen=True)
class ModelLine:
    """One model of the run, as its provenance record names it."""

    name: str
    source: str
    revision: str
    parameters: str
    precision: str
    licence: str
    weights_sha256: str


@dataclass(frozen=True)
class DatasetLine:
    """One data set of the run, with what became of its rows and the table that says so."""

    name: str
    source: str
    licence: str
    rows_in: int
    used: int
    set_aside: int
    reasons: str
    warnings: tuple[str, ...]
    intake: str


@dataclass(frozen=True)
class Package:
    """A package that numbers depend on; several versions where tables are of different age."""

    name: str
    version: str


@dataclass(frozen=True)
class Overview:
    """The head of the report."""

    models: tuple[ModelLine, ...]
    datasets: tuple[DatasetLine, ...]
    packages: tuple[Package, ...]
    seed: int
    lock_sha256: str
    configuration: str


def make_overview(
    configuration: Configuration,
    models: Sequence[Path],
    intakes: Sequence[Path],
    lock: Path,
    reader: TableReader,
) -> Overview:
    """Gather what ran.

    Args:
        configuration: The configuration of the run.
        models: `provenance.json` of every model.
        intakes: Intake table of every data set, named `{dataset}.intake.parquet`.
        lock: The file of locked package versions.
        reader: Reads the intake tables, and knows every table shown so far.

    Raises:
        UserError: A file is missing or damaged.
    """
    return Overview(
        models=tuple(_model_line(path, configuration) for path in models),
        datasets=tuple(_dataset_line(path, reader) for path in intakes),
        packages=_packages(reader.records),
        seed=configuration.seed,
        lock_sha256=hashlib.sha256(lock.read_bytes()).hexdigest(),
        configuration=configuration_yaml(configuration),
    )


def configuration_yaml(configuration: Configuration) -> str:
    """The configuration as YAML, without what changes no number and without studies left out."""
    left_out = {"compute"} | (set(ALL_STUDIES) - set(configuration.studies))
    values = configuration.model_dump(mode="json", exclude=left_out)
    return to_yaml(_without_empty_defaults(configuration, values))


def to_yaml(values: Mapping[str, Any]) -> str:
    """Values as readable YAML in their own order."""
    text: str = yaml.safe_dump(dict(values), sort_keys=False, allow_unicode=True, width=_LINE_WIDTH)
    return text


def _without_empty_defaults(model: BaseModel, values: dict[str, Any]) -> dict[str, Any]:
    """Leave out keys that hold nothing and are left out of a configuration file, too."""
    kept = {}
    for name, value in values.items():
        field, part = type(model).model_fields[name], getattr(model, name)
        if value in (None, []) and value == field.get_default(call_default_factory=True):
            continue
        if isinstance(part, BaseModel):
            value = _without_empty_defaults(part, value)
        elif isinstance(part, list):
            value = [
                _without_empty_defaults(item, plain) if isinstance(item, BaseModel) else plain
                for item, plain in zip(part, value, strict=True)
            ]
        kept[name] = value
    return kept


def _model_line(path: Path, configuration: Configuration) -> ModelLine:
    try:
        record = read_record(path)
        source = record["source"]
        adapter = f", with the adapter {record['adapter']['id']}" if "adapter" in record else ""
        precision = configuration.precision
        in_bits = "" if precision.quantisation == "none" else f", {precision.quantisation} weights"
        return ModelLine(
            name=record["model"],
            source=f"{_SOURCES[source['kind']]} {source['id']}" + adapter,
            revision=record["revision"],
            parameters=f"{record['parameters']:,}",
            precision=precision.dtype + in_bits,
            licence=record["licence"],
            weights_sha256=record["weights_sha256"],
        )
    except KeyError as error:
        raise UserError(
            f"{path} is of another version (it lacks {error}); remake it with: "
            f"{remake_command('prepare_model', path)}"
        ) from error


def _dataset_line(path: Path, reader: TableReader) -> DatasetLine:
    record = reader.record(path)
    rows = reader.read(path).to_pylist()
    counts = {
        outcome: sum(row["rows"] for row in rows if row["outcome"] == outcome)
        for outcome in ("in", "used", "set aside")
    }
    reasons = [f"{row['rows']} {row['reason']}" for row in rows if row["outcome"] == "set aside"]
    return DatasetLine(
        name=path.name.removesuffix(INTAKE_SUFFIX),
        source=str(record.provenance.get("source", "")),
        licence=", ".join(dict.fromkeys(_licences(record.provenance))),
        rows_in=counts["in"],
        used=counts["used"],
        set_aside=counts["set aside"],
        reasons="; ".join(reasons),
        warnings=tuple(row["reason"] for row in rows if row["outcome"] == "warning"),
        intake=record.source,
    )


def _licences(provenance: Mapping[str, Any]) -> Iterator[str]:
    """The licence of a data set, or of every part of a mixture that states one."""
    if "licence" in provenance:
        yield str(provenance["licence"])
    for part in provenance.get("parts", {}).values():
        yield from _licences(part)


def _packages(records: Sequence[TableRecord]) -> tuple[Package, ...]:
    versions: dict[str, set[str]] = {}
    for record in records:
        for name, version in record.provenance.get("packages", {}).items():
            versions.setdefault(name, set()).add(version)
    return tuple(
        Package(name, " and ".join(sorted(found))) for name, found in sorted(versions.items())
    )
