"""Intrinsic dimension of prompts with growing prefixes, and the model's greedy answers."""

import logging
from pathlib import Path

import pandas as pd

from llm_anatomy.config.base import Precision, Settings
from llm_anatomy.config.geometry import PromptDimension
from llm_anatomy.errors import UserError
from llm_anatomy.geometry.extraction import Request, partitions, read_activations
from llm_anatomy.geometry.generation import greedy_answers
from llm_anatomy.geometry.intrinsic_dimension import summed_dimension
from llm_anatomy.geometry.prompts import build_prompts, formatted_ids, prompts_of
from llm_anatomy.model.run.batching import context_length, equal_length_batches
from llm_anatomy.model.run.loading import LoadedModel, load_model
from llm_anatomy.progress import Progress
from llm_anatomy.runner import compute_settings, run_stage
from llm_anatomy.tables.core import read_table, write_table
from llm_anatomy.tables.data import PROMPT_TEXTS
from llm_anatomy.tables.geometry import PROMPT_DIMENSION, PROMPTS

logger = logging.getLogger(__name__)


class PromptStage(Settings):
    """What this stage reads of the configuration."""

    seed: int
    precision: Precision
    prompts: PromptDimension
    relative_threshold: float
    absolute_threshold: float


def run(
    settings: PromptStage,
    *,
    model: Path,
    prompt_texts: tuple[Path, ...],
    prompts: Path,
    prompt_dimension: Path,
) -> None:
    """Build the prompts; write their greedy answers and the dimension at their last tokens."""
    tables = (read_table(path, PROMPT_TEXTS) for path in prompt_texts)
    categories, unrelated = prompts_of(settings.prompts, *tables)
    compute = compute_settings()
    loaded = load_model(model, settings.precision, compute)
    built = build_prompts(
        categories, unrelated, settings.prompts.conditions, loaded.tokenizer, settings.seed
    )
    rows = []
    for form in _formats(settings.prompts, loaded):
        for prompt in built:
            ids = formatted_ids(loaded.tokenizer, prompt.text, form)
            bare = formatted_ids(loaded.tokenizer, prompt.request, form)
            rows.append(
                {
                    "prompt_id": f"{prompt.category}.{prompt.condition}.{prompt.step}.{form}",
                    "category": prompt.category,
                    "condition": prompt.condition,
                    "step": prompt.step,
                    "format": form,
                    "prompt": prompt.text,
                    "context_length": len(ids),
                    "prefix_length": len(ids) - len(bare),
                    "ids": ids,
                }
            )
    table = pd.DataFrame(rows)
    token_ids: list[list[int]] = table.pop("ids").tolist()
    _check_context(loaded, table, settings.prompts.max_new_tokens)
    dimension = _dimensions(settings, loaded, list(table["prompt_id"]), token_ids)
    answers = greedy_answers(
        loaded.decoder,
        loaded.tokenizer,
        token_ids,
        settings.prompts.max_new_tokens,
        compute.batch_tokens,
    )
    table["answer"] = [
        loaded.tokenizer.decode(answer, skip_special_tokens=True) for answer in answers
    ]
    table["answer_tokens"] = [len(answer) for answer in answers]
    provenance = loaded.provenance | settings.model_dump(mode="json", exclude={"precision"})
    write_table(prompts, PROMPTS, table, provenance)
    write_table(prompt_dimension, PROMPT_DIMENSION, dimension, provenance)


def _formats(asked: PromptDimension, loaded: LoadedModel) -> list[str]:
    if loaded.tokenizer.chat_template is not None or "chat" not in asked.formats:
        return list(asked.formats)
    formats = [form for form in asked.formats if form != "chat"]
    if not formats:
        raise UserError(
            f"the model '{loaded.provenance['model']}' has no chat template, but 'chat' is the "
            "only entry of the key 'geometry.prompts.formats'; add 'raw', or use another model"
        )
    logger.warning("The model has no chat template; prompts are put as raw text only.")
    return list(formats)


def _check_context(loaded: LoadedModel, table: pd.DataFrame, max_new_tokens: int) -> None:
    limit = context_length(loaded.decoder.config)
    longest = table.iloc[int(table["context_length"].argmax())]
    needed = int(longest["context_length"]) + max_new_tokens
    if limit is not None and needed > limit:
        raise UserError(
            f"the prompt '{longest['prompt_id']}' and its answer need {needed} tokens, but the "
            f"model reads {limit}; shorten its sentences or 'geometry.prompts.max_new_tokens'"
        )


def _dimensions(
    settings: PromptStage, loaded: LoadedModel, names: list[str], ids: list[list[int]]
) -> pd.DataFrame:
    decoder = loaded.decoder
    request = Request(
        attention_tokens="last",
        relative_threshold=settings.relative_threshold,
        absolute_threshold=settings.absolute_threshold,
    )
    planes = partitions(decoder)
    parts = []
    with Progress(len(ids), "prompts", "prompt_dimension") as progress:
        budget = compute_settings().batch_tokens
        for batch in equal_length_batches(ids, budget, device=decoder.device):
            read = read_activations(decoder, planes, batch, request)
            assert read.relative_counts is not None
            assert read.absolute_counts is not None
            for threshold, counts in (
                ("relative", read.relative_counts),
                ("absolute", read.absolute_counts),
            ):
                # [layers, batch, 1, heads] -> [layers, batch]
                summed = summed_dimension(
                    counts[:, :, 0].numpy(),
                    "none",
                    decoder.blocks[0].head_dim,
                    decoder.d_model,
                )
                for index, row in enumerate(batch.rows):
                    part = {"layer": range(decoder.n_layers), "dimension": summed[:, index]}
                    parts.append(
                        pd.DataFrame(part).assign(prompt_id=names[row], threshold=threshold)
                    )
            progress.advance(len(batch.rows))
    columns = ["prompt_id", "layer", "threshold", "dimension"]
    return pd.concat(parts)[columns].sort_values(columns[:3], ignore_index=True)


if __name__ == "__main__":
    run_stage(run)
