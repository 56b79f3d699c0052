"""The experiments on a few texts: the theory's statements, inserted passages, growing prompts.

Each takes a loaded model and what to run it on, and returns the rows of its tables.
"""

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from numpy import ndarray
from torch import Tensor

from llm_anatomy.config.geometry import InsertedText, PromptCategory, PromptDimension, RegionChecks
from llm_anatomy.config.models import Chat
from llm_anatomy.errors import UserError
from llm_anatomy.geometry.extraction import Request, partitions, read_activations
from llm_anatomy.geometry.hull import relative_distance
from llm_anatomy.geometry.inserts import insert_passage, inserted_span, jump_at
from llm_anatomy.geometry.intrinsic_dimension import summed_dimension
from llm_anatomy.geometry.last_token import LastToken, read_last_token
from llm_anatomy.geometry.partition import arrangement_regions_log10, segment_regions
from llm_anatomy.geometry.prompts import Prompt, build_prompts
from llm_anatomy.geometry.regions import dense_mlp, mlp_output, towards_boundary
from llm_anatomy.geometry.spline import N_FEATURES, prefix_features
from llm_anatomy.model.parts.architecture import Decoder
from llm_anatomy.model.run.answers import end_tokens
from llm_anatomy.model.run.batching import (
    context_length,
    encode,
    equal_length_batches,
    readable_tokens,
)
from llm_anatomy.model.run.generation import greedy_answers
from llm_anatomy.model.run.loading import LoadedModel
from llm_anatomy.model.run.prompts import chat_ids, has_chat, raw_ids
from llm_anatomy.progress import Progress, track
from llm_anatomy.statistics.random import Purpose, keyed_generator
from llm_anatomy.tables.geometry import (
    HULL_CHECKS,
    INSERT_STARTS,
    PREFIX_FEATURES,
    PROMPTS,
    REGION_CHECKS,
)

logger = logging.getLogger(__name__)


def check_regions(
    loaded: LoadedModel,
    texts: pd.DataFrame,
    settings: RegionChecks,
    relative_threshold: float,
    source: str,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Check the hull and the region statement at the last tokens of some texts.

    Args:
        loaded: The model.
        texts: Rows of `TEXTS`, of which some are taken, evenly spaced.
        settings: How many texts, and how many tokens of each.
        relative_threshold: Share of a head's largest attention that the soft dimension keeps.
        source: Where the texts come from, for the message of the error.

    Returns:
        Rows of `HULL_CHECKS` (Lemma 3.1, Theorem 3.2) and of `REGION_CHECKS`.

    Raises:
        UserError: There are fewer than 2 texts.
    """
    if len(texts) < 2:
        raise UserError(f"{source} has {len(texts)} texts; the checks need at least 2")
    decoder = loaded.decoder
    chosen = texts.iloc[evenly_spaced(len(texts), settings.texts)]
    text_ids = list(chosen["text_id"])
    max_length = readable_tokens(decoder.config, settings.max_length)
    encoded = encode(loaded.tokenizer, list(chosen["text"]), max_length)
    read = [
        read_last_token(decoder, ids, relative_threshold)
        for ids in track(encoded.ids, len(encoded.ids), "texts", "check_regions")
    ]
    hulls = [
        {
            "text_id": text_id,
            "layer": layer,
            "n_tokens": len(ids),
            "head_dim": decoder.blocks[layer].head_dim,
            "n_heads": decoder.blocks[layer].n_heads,
            **vars(check),
        }
        for text_id, ids, token in zip(text_ids, encoded.ids, read, strict=True)
        for layer, check in sorted(token.hulls.items())
    ]
    regions = [
        row
        for layer in track(range(decoder.n_layers), decoder.n_layers, "layers", "check_regions")
        for row in _region_rows(decoder, layer, text_ids, read)
    ]
    return HULL_CHECKS.frame(hulls), REGION_CHECKS.frame(regions)


def evenly_spaced(rows: int, count: int) -> list[int]:
    """At most `count` row numbers, evenly spaced over `rows`."""
    count = min(rows, count)
    return [index * rows // count for index in range(count)]


def _region_rows(
    decoder: Decoder, layer: int, text_ids: list[str], read: list[LastToken]
) -> list[dict[str, Any]]:
    """Rows of `REGION_CHECKS` for one layer; `read` has the last token of every text."""
    block = decoder.blocks[layer]
    mlp = dense_mlp(block)
    inputs = torch.stack([token.mlp_inputs[layer] for token in read])
    h = mlp.preactivations(inputs)
    code = h > 0
    rebuilt = mlp.region_map(inputs, code)
    neighbours = towards_boundary(mlp, inputs, 0.5)
    rebuilt_there = mlp.region_map(neighbours, code)
    rows = []
    for name, activation in (("model", block.activation), ("relu", torch.relu)):
        expected: Tensor = (
            torch.stack([token.mlp_outputs[layer] for token in read])
            if name == "model"
            else mlp_output(block, inputs, activation, decoder.dtype)
        )
        at_neighbours = mlp_output(block, neighbours, activation, decoder.dtype)
        for index, text_id in enumerate(text_ids):
            dimension = read[index].hulls[layer].relative_count
            rows.append(
                {
                    "text_id": text_id,
                    "layer": layer,
                    "activation": name,
                    "gated": mlp.gated,
                    "active_units": int(code[index].sum()),
                    "reconstruction_error": relative_distance(rebuilt[index], expected[index]),
                    "neighbour_error": relative_distance(
                        rebuilt_there[index], at_neighbours[index]
                    ),
                    "regions_to_next_text": segment_regions(
                        h[index], h[(index + 1) % len(text_ids)]
                    ),
                    "log10_regions_bound": arrangement_regions_log10(h.shape[1], dimension),
                }
            )
    return rows


def trace_inserts(
    loaded: LoadedModel, inserts: Sequence[InsertedText], seed: int, batch_tokens: int
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Put passages into documents, and follow the features of all prefixes, from one pass each.

    Args:
        loaded: The model.
        inserts: Documents, each with the passage to put in; without any, the tables are empty.
        seed: Seed of the places where the passages go.
        batch_tokens: Most tokens in one forward pass.

    Returns:
        Rows of `PREFIX_FEATURES` and of `INSERT_STARTS`.

    Raises:
        UserError: A document has one sentence, or its passage begins too close to an end.
    """
    if not inserts:
        return PREFIX_FEATURES.frame([]), INSERT_STARTS.frame([])
    changed = []
    for text in inserts:
        rng = keyed_generator(seed, Purpose.INSERT_PLACES, text.name)
        try:
            changed.append(insert_passage(text.document, text.insert, rng))
        except ValueError as error:
            raise UserError(f"the insert document '{text.name}' cannot be used: {error}") from error
    limit = context_length(loaded.decoder.config)
    original = encode(loaded.tokenizer, [text.document for text in inserts], limit).ids
    encoded = encode(loaded.tokenizer, changed, limit).ids
    prefixes = _prefixes(loaded.decoder, encoded, batch_tokens)
    features: list[pd.DataFrame] = []
    starts: list[dict[str, Any]] = []
    for text, before, ids, values in zip(inserts, original, encoded, prefixes, strict=True):
        start, end = inserted_span(before, ids)
        tokens = [loaded.tokenizer.decode([token]) for token in ids]
        features.append(_prefix_frame(text.name, tokens, (start, end), values))
        try:
            jumps = jump_at(values, start)
        except ValueError as error:
            raise UserError(
                f"the insert document '{text.name}' cannot be used: its passage begins too close "
                f"to an end or behind the model's context ({error}); use a longer document"
            ) from error
        starts.extend(
            {
                "document": text.name,
                "feature": feature + 1,
                "start": start,
                "end": end,
                "n_tokens": len(tokens),
                "start_score": jump.score,
                "rank": jump.rank,
                "windows": jump.windows,
            }
            for feature, jump in enumerate(jumps)
        )
    return pd.concat(features, ignore_index=True), INSERT_STARTS.frame(starts)


def _prefixes(
    decoder: Decoder, ids: list[list[int]], batch_tokens: int
) -> list[Float[ndarray, "tokens layers features"]]:
    """The features of every prefix of every text."""
    planes = partitions(decoder)
    by_text: dict[int, ndarray] = {}
    with Progress(len(ids), "documents", "trace_inserts") as progress:
        for batch in equal_length_batches(ids, batch_tokens, device=decoder.device):
            read = read_activations(decoder, planes, batch, Request())
            for index, row in enumerate(batch.rows):
                length = len(ids[row])
                by_text[row] = prefix_features(
                    read.active[:, index, :length].numpy(), read.distance[:, index, :length].numpy()
                )
            progress.advance(len(batch.rows))
    return [by_text[row] for row in range(len(ids))]


def _prefix_frame(
    name: str,
    tokens: list[str],
    span: tuple[int, int],
    features: Float[ndarray, "tokens layers features"],
) -> pd.DataFrame:
    n_tokens, n_layers, _ = features.shape
    positions = np.repeat(np.arange(n_tokens), n_layers)
    columns: dict[str, Any] = {
        "document": name,
        "position": positions,
        "token": np.repeat(np.array(tokens, dtype=object), n_layers),
        "inserted": (positions >= span[0]) & (positions < span[1]),
        "layer": np.tile(np.arange(n_layers), n_tokens),
    }
    for feature in range(N_FEATURES):
        columns[f"f{feature + 1}"] = features[:, :, feature].ravel()
    return pd.DataFrame(columns)


def ask_prompts(
    loaded: LoadedModel,
    categories: Sequence[PromptCategory],
    unrelated: Sequence[str],
    settings: PromptDimension,
    request: Request,
    seed: int,
    batch_tokens: int,
    chat: Chat | None = None,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Put prompts of growing context to the model: its greedy answers, and the dimension there.

    Args:
        loaded: The model.
        categories: Requests with their related sentences.
        unrelated: Sentences on other topics.
        settings: Conditions, formats and the length of answers.
        request: How attention is counted at a prompt's last token.
        seed: Seed of shuffled and random tokens.
        batch_tokens: Most tokens in one forward pass.
        chat: How the chat template is used; by default without a system prompt.

    Returns:
        Rows of `PROMPTS` and of `PROMPT_DIMENSION`.

    Raises:
        UserError: The model has no chat template and no other format is asked for, its template
            cannot be used, or a prompt and its answer are longer than the model's context.
    """
    tokenizer, chat = loaded.tokenizer, chat or Chat()
    built = build_prompts(categories, unrelated, settings.conditions, tokenizer, seed)
    rows, ids = [], []
    for form in prompt_formats(settings, loaded, chat):
        for prompt in built:
            ids.append(_prompt_ids(tokenizer, form, prompt.text, chat))
            bare = _prompt_ids(tokenizer, form, prompt.request, chat)
            rows.append(_prompt_row(prompt, form, len(ids[-1]), len(ids[-1]) - len(bare)))
    _check_context(loaded, rows, settings.max_new_tokens)
    names = [str(row["prompt_id"]) for row in rows]
    dimension = _dimensions(loaded.decoder, names, ids, request, batch_tokens)
    ends = end_tokens(loaded.decoder, tokenizer)
    answers = greedy_answers(loaded.decoder, ids, ends, settings.max_new_tokens, batch_tokens)
    for row, answer in zip(rows, answers, strict=True):
        row["answer"] = tokenizer.decode(answer, skip_special_tokens=True)
        row["answer_tokens"] = len(answer)
    return PROMPTS.frame(rows), dimension


def _prompt_row(prompt: Prompt, form: str, length: int, prefix_length: int) -> dict[str, Any]:
    return {
        "prompt_id": f"{prompt.category}.{prompt.condition}.{prompt.step}.{form}",
        "category": prompt.category,
        "condition": prompt.condition,
        "step": prompt.step,
        "format": form,
        "prompt": prompt.text,
        "context_length": length,
        "prefix_length": prefix_length,
    }


def _prompt_ids(tokenizer: Any, form: str, text: str, chat: Chat) -> list[int]:
    return chat_ids(tokenizer, text, chat) if form == "chat" else raw_ids(tokenizer, text)


def prompt_formats(settings: PromptDimension, loaded: LoadedModel, chat: Chat) -> list[str]:
    """The formats in which a model can be asked; a template that cannot be used is an error."""
    if has_chat(loaded.tokenizer, chat) and "chat" in settings.formats:
        chat_ids(loaded.tokenizer, "Hello", chat)
    if has_chat(loaded.tokenizer, chat) or "chat" not in settings.formats:
        return list(settings.formats)
    formats = [form for form in settings.formats if form != "chat"]
    if not formats:
        raise UserError(
            f"the model '{loaded.provenance['model']}' has no chat template, but 'chat' is the "
            "only entry of the key 'geometry.prompts.formats'; add 'raw', or use another model"
        )
    logger.warning("The model has no chat template; prompts are put as raw text only.")
    return list(formats)


def _check_context(loaded: LoadedModel, rows: list[dict[str, Any]], max_new_tokens: int) -> None:
    limit = context_length(loaded.decoder.config)
    longest = max(rows, key=lambda row: row["context_length"])
    needed = longest["context_length"] + max_new_tokens
    if limit is not None and needed > limit:
        raise UserError(
            f"the prompt '{longest['prompt_id']}' and its answer need {needed} tokens, but the "
            f"model reads {limit}; shorten its sentences or 'geometry.prompts.max_new_tokens'"
        )


def _dimensions(
    decoder: Decoder, names: list[str], ids: list[list[int]], request: Request, batch_tokens: int
) -> pd.DataFrame:
    """Rows of `PROMPT_DIMENSION`."""
    planes = partitions(decoder)
    head_dim, d_model = decoder.blocks[0].head_dim, decoder.d_model
    parts = []
    with Progress(len(ids), "prompts", "prompt_dimension") as progress:
        for batch in equal_length_batches(ids, batch_tokens, device=decoder.device):
            read = read_activations(decoder, planes, batch, request)
            assert read.relative_counts is not None
            assert read.absolute_counts is not None
            for threshold, counts in (
                ("relative", read.relative_counts),
                ("absolute", read.absolute_counts),
            ):
                # [layers, prompts, 1, heads] -> [layers, prompts]
                summed = summed_dimension(counts[:, :, 0].numpy(), "none", head_dim, d_model)
                for index, row in enumerate(batch.rows):
                    part = {"layer": range(decoder.n_layers), "dimension": summed[:, index]}
                    parts.append(
                        pd.DataFrame(part).assign(prompt_id=names[row], threshold=threshold)
                    )
            progress.advance(len(batch.rows))
    columns = ["prompt_id", "layer", "threshold", "dimension"]
    return pd.concat(parts)[columns].sort_values(columns[:3], ignore_index=True)
