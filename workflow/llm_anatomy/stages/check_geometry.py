"""The experiments on a few texts: the theory checked, inserted passages traced, prompts asked."""

from pathlib import Path

from llm_anatomy.config.base import Precision, Settings
from llm_anatomy.config.geometry import (
    InsertedText,
    Inserts,
    PromptCategory,
    PromptDimension,
    RegionChecks,
)
from llm_anatomy.config.models import Chat
from llm_anatomy.geometry.experiment import (
    ask_prompts,
    check_regions,
    prompt_formats,
    trace_inserts,
)
from llm_anatomy.geometry.extraction import Request
from llm_anatomy.geometry.inserts import inserts_of
from llm_anatomy.geometry.prompts import prompts_of
from llm_anatomy.model.run.loading import LoadedModel, load_model
from llm_anatomy.model.run.prompts import chat_provenance
from llm_anatomy.runner import compute_settings, run_stage
from llm_anatomy.tables.collection import Collection
from llm_anatomy.tables.core import TableSchema, read_table, write_table
from llm_anatomy.tables.data import INSERTS, PROMPT_TEXTS, TEXTS
from llm_anatomy.tables.geometry import (
    HULL_CHECKS,
    INSERT_STARTS,
    PREFIX_FEATURES,
    PROMPT_DIMENSION,
    PROMPTS,
    REGION_CHECKS,
)


class ExperimentStage(Settings):
    """What this stage reads of the configuration."""

    seed: int
    precision: Precision
    checks: RegionChecks
    inserts: Inserts
    prompts: PromptDimension
    relative_threshold: float
    absolute_threshold: float
    chat: Chat = Chat()


def run(
    settings: ExperimentStage,
    *,
    model: Path,
    texts: tuple[Path, ...],
    insert_texts: tuple[Path, ...],
    prompt_texts: tuple[Path, ...],
    hull_checks: tuple[Path, ...],
    region_checks: tuple[Path, ...],
    prefix_features: Path,
    insert_starts: Path,
    prompts: Path,
    prompt_dimension: Path,
) -> None:
    """Load the model once; write the checks of every dataset, the inserts and the prompts."""
    passages = inserts_of(settings.inserts, *(read_table(path, INSERTS) for path in insert_texts))
    requests = prompts_of(settings.prompts, *(read_table(p, PROMPT_TEXTS) for p in prompt_texts))
    loaded = _loaded(settings, model)
    datasets, regions = Collection(texts, [TEXTS]), _by_dataset(REGION_CHECKS, region_checks)
    for dataset, hulls in _by_dataset(HULL_CHECKS, hull_checks).items():
        _check(settings, loaded, datasets.path(TEXTS, dataset=dataset), hulls, regions[dataset])
    _trace(settings, loaded, passages, prefix_features, insert_starts)
    _ask(settings, loaded, requests, prompts, prompt_dimension)


def _loaded(settings: ExperimentStage, model: Path) -> LoadedModel:
    """The model, after a look at its chat template: one that cannot be used ends the stage."""
    loaded = load_model(model, settings.precision, compute_settings())
    prompt_formats(settings.prompts, loaded, settings.chat)
    return loaded


def _by_dataset(schema: TableSchema, paths: tuple[Path, ...]) -> dict[str, Path]:
    """The files of one table by the dataset that each belongs to."""
    return {(schema.owner(path) or {})["dataset"]: path for path in paths}


def _check(
    settings: ExperimentStage, loaded: LoadedModel, texts: Path, hulls: Path, regions: Path
) -> None:
    rows, threshold = read_table(texts, TEXTS), settings.relative_threshold
    checked = check_regions(loaded, rows, settings.checks, threshold, str(texts))
    recorded = settings.model_dump(include={"checks", "relative_threshold"})
    write_table(hulls, HULL_CHECKS, checked[0], loaded.provenance | recorded)
    write_table(regions, REGION_CHECKS, checked[1], loaded.provenance | recorded)


def _trace(
    settings: ExperimentStage,
    loaded: LoadedModel,
    passages: list[InsertedText],
    features: Path,
    starts: Path,
) -> None:
    batch_tokens = loaded.batch_tokens
    traced = trace_inserts(loaded, passages, settings.seed, batch_tokens)
    recorded = settings.model_dump(mode="json", include={"seed", "inserts"})
    write_table(features, PREFIX_FEATURES, traced[0], loaded.provenance | recorded)
    write_table(starts, INSERT_STARTS, traced[1], loaded.provenance | recorded)


def _ask(
    settings: ExperimentStage,
    loaded: LoadedModel,
    requests: tuple[list[PromptCategory], list[str]],
    prompts: Path,
    dimension: Path,
) -> None:
    attention = Request(
        attention_tokens="last",
        relative_threshold=settings.relative_threshold,
        absolute_threshold=settings.absolute_threshold,
    )
    batch_tokens = loaded.batch_tokens
    answered = ask_prompts(
        loaded, *requests, settings.prompts, attention, settings.seed, batch_tokens, settings.chat
    )
    thresholds = {"relative_threshold", "absolute_threshold"}
    recorded = settings.model_dump(mode="json", include={"seed", "prompts", *thresholds})
    recorded["chat"] = chat_provenance(loaded.tokenizer, settings.chat)
    write_table(prompts, PROMPTS, answered[0], loaded.provenance | recorded)
    write_table(dimension, PROMPT_DIMENSION, answered[1], loaded.provenance | recorded)


if __name__ == "__main__":
    run_stage(run)
