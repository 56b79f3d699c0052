"""Neurons with their contexts in the forms of other viewers: Neuronpedia's lines, SAEDashboard's.

The fields are those that the projects' own exporters write. What this study does not measure is
left out where it may be, and empty where a field is asked for. No time and no random number is
written: the same tables give the same bytes, so ids are hashes and every time is the same.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from numpy import ndarray

Line = dict[str, Any]

CREATOR = "llm-anatomy"
CREATED = "2000-01-01T00:00:00.000Z"
SET = "mlp"
STEER_STRENGTH = 10
# How SAEDashboard marks the strongest texts, which are no sample of an interval of activations.
TOP = -1
ID_LENGTH = 25


@dataclass(frozen=True)
class LayerTables:
    """What is known of one layer's neurons.

    Attributes:
        layer: The layer.
        vocabulary: `neurons/vocabulary` of the columns of down.
        contexts: `neurons/contexts` of positive activations.
        activity: `neurons/activity`.
        neighbours: `neurons/neighbours`.
        vectors: The columns of down.
        words: Text of every token.
    """

    layer: int
    vocabulary: pd.DataFrame
    contexts: pd.DataFrame
    activity: pd.DataFrame
    neighbours: pd.DataFrame
    vectors: Float[ndarray, "neurons d_model"]
    words: Sequence[str | None]


@dataclass(frozen=True)
class Described:
    """The model and the texts.

    Attributes:
        model: The model's name.
        n_layers: Its layers.
        neurons: Neurons of a layer.
        d_model: Width of the residual stream.
        datasets: The data sets that were read.
        read: The provenance's counts of texts and tokens.
        contexts: The settings that the contexts were found with.
    """

    model: str
    n_layers: int
    neurons: int
    d_model: int
    datasets: str
    read: Mapping[str, Any]
    contexts: Mapping[str, Any]


def source_id(layer: int) -> str:
    """Neuronpedia's name of a layer of this set."""
    return f"{layer}-{SET}"


def hashed_id(*parts: object) -> str:
    """An id of 25 characters in the form of a cuid, the same for the same parts."""
    number = int.from_bytes(hashlib.sha256(repr(parts).encode()).digest(), "big")
    digits = ""
    while len(digits) < ID_LENGTH - 1:
        number, rest = divmod(number, 36)
        digits += "0123456789abcdefghijklmnopqrstuvwxyz"[rest]
    return f"c{digits}"


def neuronpedia_heads(described: Described, layer: int) -> dict[str, Line]:
    """The lines of `release`, `model`, `sourceset` and `source` of one layer."""
    own = {"creatorId": CREATOR, "createdAt": CREATED}
    return {
        "release": {
            "name": f"{described.model}-{SET}",
            "description": f"MLP neurons of {described.model}",
            "visibility": "PRIVATE",
            **own,
        },
        "model": {
            "id": described.model,
            "displayName": described.model,
            "layers": described.n_layers,
            "neuronsPerLayer": described.neurons,
            "dimension": described.d_model,
            "instruct": "instruct" in described.model.lower(),
            "tlensId": None,
            "owner": "",
            "visibility": "PRIVATE",
            **own,
        },
        "sourceset": {
            "modelId": described.model,
            "name": SET,
            "description": "MLP neurons: input of the down projection",
            "releaseName": f"{described.model}-{SET}",
            "visibility": "PRIVATE",
            **own,
        },
        "source": {
            "id": source_id(layer),
            "modelId": described.model,
            "setName": SET,
            "num_prompts": int(described.read["read"]),
            "num_tokens_in_prompt": int(described.contexts["max_length"]),
            "dataset": described.datasets,
            "hfRepoId": None,
            "hfFolderId": None,
            "visibility": "PRIVATE",
            **own,
        },
    }


def neuronpedia_features(described: Described, tables: LayerTables) -> Iterator[Line]:
    """One line per neuron of a layer."""
    for neuron, common in _neurons(tables):
        related = _related(tables, neuron)
        yield {
            "modelId": described.model,
            "layer": source_id(tables.layer),
            "index": str(neuron),
            "sourceSetName": SET,
            "creatorId": CREATOR,
            "createdAt": CREATED,
            "hasVector": True,
            "vectorLabel": None,
            "vectorDefaultSteerStrength": STEER_STRENGTH,
            "hookName": f"blocks.{tables.layer}.mlp.hook_post",
            "maxActApprox": common.pop("maximum"),
            **common,
            "correlated_neurons_indices": related["activation"][0],
            "correlated_neurons_pearson": related["activation"][1],
            "correlated_neurons_l1": [],
            "topkCosSimIndices": related["down"][0],
            "topkCosSimValues": related["down"][1],
        }


def neuronpedia_activations(described: Described, tables: LayerTables) -> Iterator[Line]:
    """One line per neuron and text."""
    for neuron, contexts in tables.contexts.groupby("neuron", sort=True):
        for row in contexts.to_dict("records"):
            values = [float(value) for value in row["values"]]
            strongest = row["position"] - row["start"]
            yield {
                "id": hashed_id(
                    described.model, tables.layer, neuron, row["dataset"], row["text_id"]
                ),
                "modelId": described.model,
                "layer": source_id(tables.layer),
                "index": str(neuron),
                "tokens": _texts(row["token_ids"], tables.words),
                "values": values,
                "maxValue": float(row["activation"]),
                "maxValueTokenIndex": strongest,
                "minValue": min(values),
                "binMin": TOP,
                "binMax": TOP,
                "binContains": TOP,
                "qualifyingTokenIndex": strongest,
                "dataSource": row["dataset"],
                "dataIndex": row["text_id"],
                "creatorId": CREATOR,
                "createdAt": CREATED,
            }


def saedashboard_batch(described: Described, tables: LayerTables, neurons: range) -> dict[str, Any]:
    """One batch of SAEDashboard: some neurons of a layer."""
    chosen = {neuron: common for neuron, common in _neurons(tables) if neuron in neurons}
    contexts = dict(list(tables.contexts.groupby("neuron", sort=True)))
    features = []
    for neuron, common in chosen.items():
        del common["maximum"]
        related = _related(tables, neuron)
        rows = contexts[neuron].to_dict("records") if neuron in contexts else []
        features.append(
            {
                "feature_index": neuron,
                **common,
                "correlated_neurons_indices": related["activation"][0],
                "correlated_neurons_pearson": related["activation"][1],
                "correlated_neurons_l1": [],
                "n_prompts_total": int(described.read["read"]),
                "n_tokens_in_prompt": int(described.contexts["max_length"]),
                "dataset": described.datasets,
                "activations": [
                    {
                        "bin_min": TOP,
                        "bin_max": TOP,
                        "bin_contains": TOP,
                        "tokens": _texts(row["token_ids"], tables.words),
                        "values": [float(value) for value in row["values"]],
                        "qualifying_token_index": row["position"] - row["start"],
                    }
                    for row in rows
                ],
            }
        )
    return {
        "model_id": described.model,
        "layer": tables.layer,
        "sae_set": SET,
        "sae_id_suffix": "",
        "features": features,
    }


def _neurons(tables: LayerTables) -> Iterator[tuple[int, Line]]:
    """What both forms say of every neuron of a layer."""
    ordered = tables.vocabulary.sort_values(["neuron", "rank"], kind="stable")
    tokens = {
        sign: ordered[ordered["sign"] == sign].groupby("neuron")[["token", "logit"]].agg(list)
        for sign in (1, -1)
    }
    for row in tables.activity.sort_values("neuron").to_dict("records"):
        neuron = int(row["neuron"])
        ends = {sign: frame.loc[neuron] for sign, frame in tokens.items()}
        yield (
            neuron,
            {
                "maximum": float(row["maximum"]),
                "vector": [float(value) for value in tables.vectors[neuron]],
                "pos_str": [token or "" for token in ends[1]["token"]],
                "pos_values": [float(value) for value in ends[1]["logit"]],
                "neg_str": [token or "" for token in ends[-1]["token"]],
                "neg_values": [float(value) for value in ends[-1]["logit"]],
                "freq_hist_data_bar_heights": [],
                "freq_hist_data_bar_values": [],
                "logits_hist_data_bar_heights": [],
                "logits_hist_data_bar_values": [],
                "neuron_alignment_indices": [],
                "neuron_alignment_values": [],
                "neuron_alignment_l1": [],
                "correlated_features_indices": [],
                "correlated_features_pearson": [],
                "correlated_features_l1": [],
                "decoder_weights_dist": [],
            },
        )


def _related(tables: LayerTables, neuron: int) -> dict[str, tuple[list[int], list[float]]]:
    """Neighbours of a neuron in its own layer, by measure: the viewers' indices have no layer."""
    own = tables.neighbours[tables.neighbours["neuron"] == neuron]
    own = own[own["other_layer"] == tables.layer]
    found = {}
    for measure in ("activation", "down"):
        rows = own[own["measure"] == measure].sort_values("rank")
        found[measure] = (
            [int(n) for n in rows["other_neuron"]],
            [float(np.float32(s)) for s in rows["similarity"]],
        )
    return found


def _texts(token_ids: Int[ndarray, " window"], words: Sequence[str | None]) -> list[str]:
    return [(words[token] if token < len(words) else None) or "" for token in token_ids]
