"""Two-dimensional maps of the spline features."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from sklearn.neighbors import NearestNeighbors

from llm_anatomy.statistics.random import Purpose, keyed_generator, library_seed
from llm_anatomy.toxicity.features import mean_and_scale

NEIGHBOURS = 10


@dataclass(frozen=True)
class PlacedTexts:
    """Texts on a map.

    Attributes:
        rows: Rows of the features that are on the map.
        places: Their coordinates.
        explained: Share of variance along each coordinate; None for t-SNE.
    """

    rows: Int[ndarray, " placed"]
    places: Float[ndarray, "placed 2"]
    explained: tuple[float, float] | None


def place_texts(
    features: Float[ndarray, "texts features"],
    method: Literal["pca", "tsne"],
    standardise: bool,
    max_texts: int,
    perplexity: float,
    seed: int,
) -> PlacedTexts:
    """Map texts to the plane; of more than `max_texts` a random sample.

    t-SNE's perplexity is lowered to a third of the texts where there are few.
    """
    rows = np.arange(len(features))
    if len(features) > max_texts:
        order = keyed_generator(seed, Purpose.MAPPED_TEXTS).permutation(len(features))
        rows = np.sort(order[:max_texts])
    values = features[rows]
    if standardise:
        mean, scale = mean_and_scale(values)
        values = (values - mean) / scale
    if method == "pca":
        pca = PCA(2, svd_solver="full").fit(values)
        first, second = map(float, pca.explained_variance_ratio_)
        return PlacedTexts(rows, pca.transform(values), (first, second))
    nearby = min(perplexity, max(1.0, (len(rows) - 1) / 3))
    tsne = TSNE(2, perplexity=nearby, init="pca", random_state=library_seed(seed, Purpose.TSNE))
    return PlacedTexts(rows, tsne.fit_transform(values).astype(np.float64), None)


def shared_neighbours(
    places: Float[ndarray, "placed 2"], classes: Int[ndarray, " placed"]
) -> tuple[float, float]:
    """How much a map separates classes: seen and expected share of neighbours of one's own class.

    Over all texts, the mean share of the ten nearest other texts that have the same class, and the
    share that a map without any order would have.
    """
    nearest = NearestNeighbors(n_neighbors=min(NEIGHBOURS, len(places) - 1)).fit(places)
    neighbours = nearest.kneighbors(return_distance=False)
    same: Bool[ndarray, "placed neighbours"] = classes[neighbours] == classes[:, None]
    counts = np.bincount(classes)[classes]
    return float(same.mean()), float((counts - 1).mean() / (len(classes) - 1))
