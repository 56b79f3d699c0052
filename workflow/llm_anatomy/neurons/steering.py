"""Steering by a concept's direction beside the clamp of its neuron: sweeps, controls, fluency."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from numpy import ndarray
from torch import Tensor

from llm_anatomy.config.directions import Directions, DirectionTarget
from llm_anatomy.config.neurons import Concept
from llm_anatomy.config.ranges import check_layer
from llm_anatomy.data.duplicates import find_copies, given_groups, kept_together
from llm_anatomy.errors import UserError
from llm_anatomy.model.parts.architecture import Decoder
from llm_anatomy.model.run.batching import encode, readable_tokens
from llm_anatomy.model.run.loading import LoadedModel
from llm_anatomy.model.run.prompts import raw_ids
from llm_anatomy.neurons.clamping import Clamp, positions_mask, sites_of, summarise
from llm_anatomy.neurons.concepts import ConceptIndex, concept_tokens, control_neurons
from llm_anatomy.neurons.directions import (
    Steer,
    block_inputs,
    difference_of_means,
    held_out_auc,
    permuted_direction,
    random_direction,
)
from llm_anatomy.neurons.runner import PromptRunner
from llm_anatomy.progress import track
from llm_anatomy.tables.directions import DIRECTIONS, EQUAL_FLUENCY, STEERING

# Least Jaccard index of copies, which stay in one half.
SIMILARITY = 0.8


@dataclass(frozen=True)
class Texts:
    """Texts of a concept.

    Attributes:
        texts: The texts.
        positive: Which of them have the concept.
        copies: Number of the set that each belongs to: what must stand in one half.
        source: Where they come from.
        unlabelled: Texts set aside because nothing is said of the concept.
        unread: Texts of either class beyond the most that are read.
    """

    texts: list[str]
    positive: Bool[ndarray, " texts"]
    copies: Int[ndarray, " texts"]
    source: str
    unlabelled: int = 0
    unread: int = 0


@dataclass(frozen=True)
class Steering:
    """The tables `neurons/directions`, `neurons/steering` and `neurons/equal_fluency`."""

    directions: pd.DataFrame
    steering: pd.DataFrame
    equal_fluency: pd.DataFrame


def steer_concepts(
    loaded: LoadedModel,
    index: ConceptIndex,
    tables: Mapping[str, pd.DataFrame],
    settings: Directions,
    held_text: str,
    seed: int,
    batch_tokens: int,
) -> Steering:
    """Steer a model by every configured concept's direction and neuron, and by controls.

    Args:
        loaded: The model.
        index: The concepts and their neurons.
        tables: Rows of `TEXTS` by data set, of those that the targets name.
        settings: The targets and what to sweep; targets without data are left out.
        held_text: Text whose perplexity shows how fluent the changed model is.
        seed: Seed of the controls.
        batch_tokens: Most tokens in one forward pass.

    Raises:
        UserError: A layer or label is not there, a class has fewer than two texts, the classes have
            equal means, the clamped site is a gate that the model lacks, or the held text has
            fewer than two tokens.
    """
    decoder, runner = loaded.decoder, PromptRunner(loaded.decoder)
    held = raw_ids(loaded.tokenizer, held_text)
    if len(held) < 2:
        raise UserError("neurons.clamping.held_text has fewer than two tokens; give a longer text")
    if not sites_of(decoder, [settings.site]):
        raise UserError("neurons.directions.site is 'gate', but the model's MLPs have no gate")
    targets = settings.targets_among(list(tables))
    made: list[dict[str, Any]] = []
    rows: list[dict[str, Any]] = []
    for target in track(targets, len(targets), "concepts", "steer_directions"):
        layer = decoder.n_layers // 2 if target.layer is None else target.layer
        check_layer("neurons.directions.targets.layer", layer, decoder.n_layers)
        texts = target_texts(target, tables, settings.max_texts)
        longest = readable_tokens(decoder.config, settings.max_length)
        encoded = encode(loaded.tokenizer, texts.texts, longest)
        cut = np.array(encoded.truncated)
        states = block_inputs(decoder, encoded.ids, layer, target.token, batch_tokens)
        tokens, (neuron_layer, neuron) = _concept(decoder, index, target)
        direction = difference_of_means(states, texts.positive)
        if not direction.norm():
            raise UserError(
                f"neurons.directions.targets: the classes of '{target.concept}' have equal means "
                f"at layer {layer}; choose a later layer, or token: mean"
            )
        down = decoder.blocks[neuron_layer].down.weight(torch.float64)[:, neuron].cpu()
        made.append(
            {
                "concept": target.concept,
                "layer": layer,
                "token": target.token,
                "source": texts.source,
                "positive": int(texts.positive.sum()),
                "negative": int((~texts.positive).sum()),
                "positive_cut": int(cut[texts.positive].sum()),
                "negative_cut": int(cut[~texts.positive].sum()),
                "unlabelled": texts.unlabelled,
                "unread": texts.unread,
                "norm": float(direction.norm()),
                "state_norm": float(states.norm(dim=1).mean()),
                "held_out_auc": held_out_auc(states, texts.positive, texts.copies, seed),
                "neuron_layer": neuron_layer,
                "neuron": neuron,
                "cosine_down": float(torch.cosine_similarity(direction, down, dim=0)),
            }
        )
        sweep = _Sweep(runner, raw_ids(loaded.tokenizer, target.prompt), held, tokens, settings)
        swept = [sweep.clean(layer)]
        directions = {
            "concept": direction,
            "random": random_direction(direction, seed, target.concept),
            "permuted": permuted_direction(states, texts.positive, seed, target.concept),
        }
        for role, vector in directions.items():
            swept += sweep.direction(layer, vector, role)
        count = decoder.blocks[neuron_layer].n_neurons
        (control,) = control_neurons(neuron_layer, neuron, count, 1, seed)
        for role, clamped in (("concept", neuron), ("random", control)):
            swept += sweep.clamp(neuron_layer, clamped, role)
        labels = {"concept": target.concept, "prompt": target.prompt}
        for row in swept:
            row["top_tokens"] = [index.vocabulary.text(token) or "" for token in row["top_tokens"]]
            rows.append(labels | row)
    steering = STEERING.frame(rows)
    fluent = at_equal_fluency(steering, settings.perplexity_ratios)
    return Steering(DIRECTIONS.frame(made), steering, fluent)


def target_texts(target: DirectionTarget, tables: Mapping[str, pd.DataFrame], most: int) -> Texts:
    """The texts of a concept: the first ones of either class.

    Raises:
        UserError: The data set has no such label, or fewer than two texts of a class.
    """
    if not target.dataset:
        classes = [target.positive[:most], target.negative[:most]]
        matched = len(target.positive) == len(target.negative)
        # Lists of one length are read as pairs.
        pairs = [f"pair {n}" if matched else None for own in classes for n in range(len(own))]
        given = len(target.positive) + len(target.negative)
        return _texts(classes[0], classes[1], pairs, "examples", given=given)
    table, column = tables[target.dataset], f"label_{target.label}"
    if column not in table:
        known = ", ".join(name[6:] for name in map(str, table) if name.startswith("label_"))
        raise UserError(
            f"neurons.directions.targets: the data set '{target.dataset}' has no label "
            f"'{target.label}' (it has {known or 'none'})"
        )
    labelled = table[table[column].notna()]
    having = labelled[column].astype(bool)
    with_it, without = labelled[having][:most], labelled[~having][:most]
    if min(len(with_it), len(without)) < 2:
        raise UserError(
            f"neurons.directions.targets: the data set '{target.dataset}' has {len(with_it)} texts "
            f"with the label '{target.label}' and {len(without)} without; both need two"
        )
    groups = [*given_groups(with_it), *given_groups(without)]
    source = f"{target.dataset}: {target.label}"
    return _texts(
        with_it["text"].tolist(),
        without["text"].tolist(),
        groups,
        source,
        given=len(labelled),
        unlabelled=len(table) - len(labelled),
    )


def _texts(
    with_it: list[str],
    without: list[str],
    groups: Sequence[str | None],
    source: str,
    *,
    given: int,
    unlabelled: int = 0,
) -> Texts:
    texts = [*with_it, *without]
    copies = kept_together(len(texts), find_copies(texts, SIMILARITY), groups)
    positive = np.arange(len(texts)) < len(with_it)
    return Texts(texts, positive, copies, source, unlabelled, given - len(texts))


def closest_down_neuron(decoder: Decoder, tokens: Sequence[int]) -> tuple[int, int]:
    """Layer and neuron whose down column has the largest cosine with a token's row of the head."""
    rows = decoder.head.weight(torch.float32)[list(tokens)]
    unit = torch.nn.functional.normalize(rows, dim=1)
    best = []
    for block in decoder.blocks:
        columns = torch.nn.functional.normalize(block.down.weight(torch.float32), dim=0)
        closest = (unit @ columns).amax(0).max(0)
        best.append((float(closest.values), block.index, int(closest.indices)))
    _, layer, number = max(best, key=lambda each: each[0])
    return layer, number


def at_equal_fluency(steering: pd.DataFrame, ratios: Sequence[float]) -> pd.DataFrame:
    """`EQUAL_FLUENCY`: of each method and role the dose that raises the concept most.

    Doses that are added count, and values that are set: to subtract a direction, or to project it
    out, is another intervention, even where it happens to raise the concept.

    Args:
        steering: `STEERING`.
        ratios: Largest perplexities that count, in units of the clean one.
    """
    rows = []
    for (concept, prompt), group in steering.groupby(["concept", "prompt"], sort=False):
        clean = group[group["method"] == "none"].iloc[0]
        changed = group[group["method"] != "none"]
        for (method, role), own in changed.groupby(["method", "role"], sort=False):
            for ratio in ratios:
                counts = (own["operation"] == "set") | (
                    (own["operation"] == "add") & (own["dose"] >= 0)
                )
                fluent = own[counts & (own["perplexity"] <= ratio * clean["perplexity"])]
                # The clean model is within every bound.
                best = max(
                    [clean, *(row for _, row in fluent.iterrows())], key=lambda r: r["logprob"]
                )
                rows.append(
                    {
                        "concept": concept,
                        "prompt": prompt,
                        "method": method,
                        "role": role,
                        "perplexity_ratio": ratio,
                        "dose": best["dose"],
                        "logprob_gain": best["logprob"] - clean["logprob"],
                        "probability": best["probability"],
                        "perplexity": best["perplexity"],
                    }
                )
    return EQUAL_FLUENCY.frame(rows)


def _concept(
    decoder: Decoder, index: ConceptIndex, target: DirectionTarget
) -> tuple[list[int], tuple[int, int]]:
    """Tokens that stand for a concept, and layer and neuron of its neuron."""
    if not target.words:
        return index.tokens(target.concept), index.neuron(target.concept, None)
    own = Concept(name=target.concept, words=target.words)
    tokens = concept_tokens(index.vocabulary, own)
    return tokens, closest_down_neuron(decoder, tokens)


@dataclass(frozen=True)
class _Sweep:
    """Runs one prompt and the held text under every dose of an intervention."""

    runner: PromptRunner
    prompt: list[int]
    held: list[int]
    tokens: list[int]
    settings: Directions

    def direction(
        self, layer: int, vector: Float[Tensor, " d_model"], role: str
    ) -> list[dict[str, Any]]:
        """Every dose of a direction, then the direction projected out."""
        doses = self.settings.doses
        added = Steer(layer, torch.tensor(doses, dtype=torch.float64)[:, None] * vector)
        removed = Steer(layer, torch.zeros_like(vector)[None], vector / vector.norm())
        rows = self._rows(added, added, "direction", role, "add", layer, None, doses)
        return rows + self._rows(
            removed, removed, "direction", role, "project_out", layer, None, [None]
        )

    def clamp(self, layer: int, neuron: int, role: str) -> list[dict[str, Any]]:
        """Every value of a clamp."""
        values = self.settings.values
        own, held = (
            Clamp(
                layer=layer,
                site=self.settings.site,
                operation="set",
                neurons=torch.full((len(values),), neuron),
                values=torch.tensor(values, dtype=torch.float64),
                mask=positions_mask(len(values), len(ids), "all"),
            )
            for ids in (self.prompt, self.held)
        )
        return self._rows(own, held, "clamp", role, "set", layer, neuron, values)

    def _rows(
        self,
        own: Steer | Clamp,
        held: Steer | Clamp,
        method: str,
        role: str,
        operation: str,
        layer: int,
        neuron: int | None,
        doses: Sequence[float | None],
    ) -> list[dict[str, Any]]:
        logprobs = self.runner.next_logprobs(self.prompt, own)
        perplexities = (-self.runner.token_logprobs(self.held, held).mean(1)).exp()
        labels = {"method": method, "role": role, "operation": operation, "layer": layer}
        return [
            labels | {"neuron": neuron, "dose": dose} | self._seen(row) | {"perplexity": float(p)}
            for dose, row, p in zip(doses, logprobs, perplexities, strict=True)
        ]

    def clean(self, layer: int) -> dict[str, Any]:
        """The model as it is."""
        perplexity = (-self.runner.token_logprobs(self.held).mean(1)).exp()[0]
        labels = {"method": "none", "role": "concept", "operation": "none", "layer": layer}
        seen = self._seen(self.runner.next_logprobs(self.prompt)[0])
        return labels | {"neuron": None, "dose": None} | seen | {"perplexity": float(perplexity)}

    def _seen(self, logprobs: Float[Tensor, " vocab"]) -> dict[str, Any]:
        clean = self.runner.next_logprobs(self.prompt)[0]
        row = dict(summarise(clean, logprobs, self.tokens, self.settings.top_tokens))
        del row["token_probability"]
        return row | {"top_tokens": row.pop("top_ids")}
