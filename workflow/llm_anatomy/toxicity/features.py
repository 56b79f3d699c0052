"""Feature sets: what a classifier sees of a text, prepared without a look at the test texts.

`split(train, test)` gives matrices of training and test rows; everything that is learned, is
learned from the training rows.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from numpy import ndarray
from scipy import sparse
from sklearn.feature_extraction.text import CountVectorizer

from llm_anatomy.config.ranges import check_layer_count
from llm_anatomy.errors import UserError
from llm_anatomy.geometry.activations import Summary
from llm_anatomy.geometry.spline import N_FEATURES
from llm_anatomy.tables.geometry import INTRINSIC_DIMENSION, STATES
from llm_anatomy.toxicity.inputs import SplineTable, rows_of

MIN_TRAINING_TEXTS = 2
# Features 1 to 4 are statistics of the active share, the others of the distance.
N_SHARES = 4


@dataclass(frozen=True)
class Dense:
    """Numbers per text, standardised with the training texts' mean and deviation.

    Attributes:
        name: The feature set.
        values: The numbers.
        distance_weights: Of spline features, what the standardised distances may be multiplied by;
            the first is used until another is chosen. A penalty on their coefficients is in effect
            divided by the square.
    """

    name: str
    values: Float[ndarray, "texts features"]
    distance_weights: tuple[float, ...] = (1.0,)

    def variants(self) -> tuple["Dense", ...]:
        """The features with each of the weights that may be chosen."""
        return tuple(replace(self, distance_weights=(w,)) for w in self.distance_weights)

    def split(
        self, train: Int[ndarray, " train"], test: Int[ndarray, " test"]
    ) -> tuple[Float[ndarray, "train features"], Float[ndarray, "test features"]]:
        """Matrices of training and test rows."""
        mean, scale = self.mean_and_scale(train)
        return (self.values[train] - mean) / scale, (self.values[test] - mean) / scale

    def mean_and_scale(
        self, train: Int[ndarray, " train"]
    ) -> tuple[Float[ndarray, " features"], Float[ndarray, " features"]]:
        """What is taken off the training texts' features, and what they are divided by."""
        mean, scale = mean_and_scale(self.values[train])
        weight = self.distance_weights[0]
        if weight != 1.0:
            scale.reshape(-1, N_FEATURES)[:, N_SHARES:] /= weight
        return mean, scale


def spline_set(
    name: str, features: Float[ndarray, "texts layers 7"], distance_weights: Sequence[float]
) -> Dense:
    """All seven features of some layers, and the weights that distances (5 to 7) may have."""
    return Dense(name, features.reshape(len(features), -1), tuple(distance_weights))


def mean_and_scale(
    values: Float[ndarray, "texts features"],
) -> tuple[Float[ndarray, " features"], Float[ndarray, " features"]]:
    """Mean and standard deviation of every feature; 1 for a feature that does not vary.

    A deviation below 1e-9 of the largest value is rounding of a constant, not variation.
    """
    deviation = values.std(axis=0)
    varies = deviation > 1e-9 * np.abs(values).max(axis=0)
    return values.mean(axis=0), np.where(varies, deviation, 1.0)


@dataclass(frozen=True)
class Tfidf:
    """TF-IDF of words and word pairs, equal to scikit-learn's `TfidfVectorizer` fitted in the fold.

    (1 + ln tf) · (1 + ln((1 + n) / (1 + df))), rows of length 1, terms in at least two training
    texts. Words are counted once for the dataset; which of them count, and their weights, are
    learned from the training texts.
    """

    name: str
    counts: sparse.csr_matrix

    def variants(self) -> tuple["Tfidf", ...]:
        """The features themselves: nothing about them is chosen."""
        return (self,)

    def split(
        self, train: Int[ndarray, " train"], test: Int[ndarray, " test"]
    ) -> tuple[sparse.csr_matrix, sparse.csr_matrix]:
        """Matrices of training and test rows."""
        known = self.counts[train]
        document_frequency = np.bincount(known.indices, minlength=known.shape[1])
        terms = np.flatnonzero(document_frequency >= MIN_TRAINING_TEXTS)
        idf = 1 + np.log((1 + len(train)) / (1 + document_frequency[terms]))
        return _weighted(known[:, terms], idf), _weighted(self.counts[test][:, terms], idf)


FeatureSet = Dense | Tfidf


def tfidf(texts: Sequence[str]) -> Tfidf:
    """Count the words and word pairs of texts."""
    try:
        counts = CountVectorizer(ngram_range=(1, 2), min_df=MIN_TRAINING_TEXTS).fit_transform(texts)
    except ValueError:
        # No term in two texts: a baseline without any feature, which scores all texts alike.
        counts = sparse.csr_matrix((len(texts), 1))
    return Tfidf("tfidf", counts.astype(np.float64).tocsr())


def _weighted(counts: sparse.csr_matrix, idf: Float[ndarray, " terms"]) -> sparse.csr_matrix:
    weights = counts.copy()
    weights.data = (1 + np.log(weights.data)) * idf[weights.indices]
    norms = np.sqrt(np.asarray(weights.multiply(weights).sum(axis=1)).ravel())
    scale = sparse.diags(1 / np.where(norms > 0, norms, 1.0))
    return (scale @ weights).tocsr()


def length_features(
    texts: Sequence[str], n_tokens: Int[ndarray, " texts"]
) -> Float[ndarray, "texts 6"]:
    """Logarithms of the numbers of characters, words and tokens, and their squares."""
    counts = np.array([[len(text), len(text.split())] for text in texts], dtype=np.float64)
    logs = np.log1p(np.column_stack([counts, n_tokens]))
    return np.concatenate([logs, logs**2], axis=1)


def compared_sets(
    tables: Sequence[SplineTable], texts: Sequence[str], distance_weights: Sequence[float]
) -> list[FeatureSet]:
    """Spline features, length and TF-IDF of the texts of several datasets, one behind the other."""
    features = np.concatenate([table.features for table in tables])
    n_tokens = np.concatenate([table.n_tokens for table in tables])
    return [
        spline_set("spline", features, distance_weights),
        Dense("length", length_features(texts, n_tokens)),
        tfidf(texts),
    ]


def wanted_states(
    kinds: Sequence[Summary], depths: Sequence[float] | str, stored: Sequence[int], n_layers: int
) -> list[tuple[Summary, int]]:
    """Which hidden states are feature sets.

    Args:
        kinds: `mean` and `last`, or one of them.
        depths: Layers, as shares of the model's depth, or `all`.
        stored: Layers whose states are stored.
        n_layers: Layers of the model.

    Raises:
        UserError: No state is stored.
    """
    if not stored:
        raise UserError(
            "the key 'toxicity.baselines.names' asks for hidden states, but "
            "'geometry.extraction.state_layers' is []; name layers there, or leave mean_state and "
            "last_state out of the baselines"
        )
    layers = state_layers_at(depths, stored, n_layers)
    return [(kind, layer) for kind in kinds for layer in layers]


def state_sets(
    stored_ids: Sequence[str],
    states: Mapping[tuple[Summary, int], Float[ndarray, "stored d_model"]],
    text_ids: Sequence[str],
) -> list[Dense]:
    """Mean or last-token hidden states as feature sets, one per summary and layer.

    Args:
        stored_ids: The texts whose states are stored.
        states: Their states, by summary and layer.
        text_ids: The texts, in the order wanted.
    """
    if not states:
        return []
    order = rows_of(text_ids, stored_ids, STATES.name)
    return [
        Dense(f"{kind}_state_layer_{layer}", values[order])
        for (kind, layer), values in states.items()
    ]


def dimension_set(table: pd.DataFrame, text_ids: Sequence[str]) -> Dense:
    """Intrinsic dimension of every layer and threshold at the last token of every text.

    Args:
        table: The table of intrinsic dimensions.
        text_ids: The texts, in the order wanted.
    """
    last = table.groupby("text_id")["position"].transform("max")
    wide = table[table["position"] == last].pivot_table(
        index="text_id", columns=["threshold", "layer"], values="dimension", sort=True
    )
    order = rows_of(text_ids, list(wide.index), INTRINSIC_DIMENSION.name)
    return Dense("intrinsic_dimension", wide.to_numpy(dtype=np.float64)[order])


def state_layers_at(
    depths: Sequence[float] | str, stored: Sequence[int], n_layers: int
) -> list[int]:
    """Layers at shares of the model's depth; the nearest stored layer stands for each.

    Args:
        depths: Shares, 1 for the last layer, or `all`.
        stored: Layers whose states are stored.
        n_layers: Layers of the model.
    """
    if isinstance(depths, str):
        return list(stored)
    wanted = [max(0, round(depth * n_layers) - 1) for depth in depths]
    return sorted({min(stored, key=lambda s: (abs(s - layer), s)) for layer in wanted})


def first_layers(
    features: Float[ndarray, "texts layers 7"], n_layers: int, key: str
) -> Float[ndarray, "texts first 7"]:
    """Features of the first layers.

    Raises:
        UserError: The model has fewer layers; the sentence names the configuration key.
    """
    check_layer_count(key, n_layers, features.shape[1])
    return features[:, :n_layers]
