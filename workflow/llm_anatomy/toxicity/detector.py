"""A trained detector as plain arrays in a safetensors file, with all that it belongs to.

Nothing in the file can run code when it is read. The one metadata entry says which model and which
feature definitions the arrays were trained on; without those a score means nothing.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file
from scipy import sparse
from scipy.special import expit
from sklearn.ensemble import RandomForestClassifier

from llm_anatomy.artefacts.documents import sealed
from llm_anatomy.artefacts.remake import remake_command
from llm_anatomy.errors import UserError
from llm_anatomy.tables.core import atomic_path
from llm_anatomy.toxicity.token_probes import Probe, Tokens

METADATA_KEY = "llm_anatomy.detector"
# Format 2 brings the range of the training texts, format 3 what a detector reads.
FORMAT = 3
# A feature may lie outside what the training texts showed by this share of their span; of 671
# held-out texts of the default data 1 % do not.
RANGE_MARGIN = 0.5
# Allowed beside it, relative to the feature: sums in another order differ by less.
ROUNDING = 1e-3

SPLINE = "spline"
IN_RANGE = "in range"
SHORTER = "fewer tokens than any training text"
LONGER = "more tokens than any training text"
UNLIKE = "features outside those of the training texts"


@dataclass(frozen=True)
class Logistic:
    """Logistic regression: the sigmoid of `weights · x + intercept`."""

    weights: Float[ndarray, " features"]
    intercept: Float[ndarray, "1"]

    def score(
        self, x: Float[ndarray, "texts features"] | sparse.csr_matrix
    ) -> Float[ndarray, " texts"]:
        """Probability of the label."""
        scores: ndarray = expit(x @ self.weights + self.intercept)
        return scores

    def arrays(self) -> dict[str, ndarray]:
        """The arrays to store."""
        return {"weights": self.weights, "intercept": self.intercept}


@dataclass(frozen=True)
class Forest:
    """A random forest, the nodes of all trees one behind the other.

    Attributes:
        root: First node of each tree.
        feature: Feature that a node looks at; -1 at a leaf.
        threshold: A text goes left where its feature is at most this.
        left: Node on the left.
        right: Node on the right.
        probability: Share of the label among a node's training texts, classes balanced.
    """

    root: Int[ndarray, " trees"]
    feature: Int[ndarray, " nodes"]
    threshold: Float[ndarray, " nodes"]
    left: Int[ndarray, " nodes"]
    right: Int[ndarray, " nodes"]
    probability: Float[ndarray, " nodes"]

    def score(self, x: Float[ndarray, "texts features"]) -> Float[ndarray, " texts"]:
        """Probability of the label: the mean over trees."""
        # Trees are grown on float32, and a threshold may lie between a value and its rounding.
        x = x.astype(np.float32)
        node = np.broadcast_to(self.root, (len(x), len(self.root)))
        rows = np.arange(len(x))[:, None]
        while (inner := self.feature[node] >= 0).any():
            goes_left = x[rows, self.feature[node]] <= self.threshold[node]
            node = np.where(inner, np.where(goes_left, self.left[node], self.right[node]), node)
        scores: ndarray = self.probability[node].mean(axis=1)
        return scores

    def arrays(self) -> dict[str, ndarray]:
        """The arrays to store."""
        return dict(vars(self))


@dataclass(frozen=True)
class TrainingRange:
    """What the training texts covered; a score means nothing outside it.

    Attributes:
        low: Least value of every feature.
        high: Largest value of every feature.
        tokens: Fewest and most tokens of a text.
        margin: Share of `high - low` by which a feature may lie outside.
    """

    low: Float[ndarray, " features"]
    high: Float[ndarray, " features"]
    tokens: Int[ndarray, "2"]
    margin: float = RANGE_MARGIN

    @classmethod
    def of(
        cls, features: Float[ndarray, "texts features"], n_tokens: Int[ndarray, " texts"]
    ) -> "TrainingRange":
        """The range of some texts."""
        tokens = np.array([n_tokens.min(), n_tokens.max()], dtype=np.int64)
        return cls(features.min(axis=0), features.max(axis=0), tokens)

    def flags(
        self, features: Float[ndarray, "texts features"], n_tokens: Int[ndarray, " texts"]
    ) -> list[str]:
        """`IN_RANGE` for a text like the training texts; else what is outside."""
        largest = np.maximum(np.abs(self.low), np.abs(self.high))
        allowed = self.margin * (self.high - self.low) + ROUNDING * largest
        unlike = ((features < self.low - allowed) | (features > self.high + allowed)).any(axis=1)
        return [
            SHORTER
            if count < self.tokens[0]
            else LONGER
            if count > self.tokens[1]
            else UNLIKE
            if outside
            else IN_RANGE
            for count, outside in zip(n_tokens.tolist(), unlike.tolist(), strict=True)
        ]


@dataclass(frozen=True)
class LabelDetector:
    """The detector of one label.

    Attributes:
        mean: Mean of every feature over the training texts.
        scale: Their standard deviation, over the weight that a feature was given.
        classifier: The classifier on standardised features.
        range: What its training texts covered.
    """

    mean: Float[ndarray, " features"]
    scale: Float[ndarray, " features"]
    classifier: Logistic | Forest | Probe
    range: TrainingRange

    def score(self, features: Float[ndarray, "texts features"]) -> Float[ndarray, " texts"]:
        """Probability of the label."""
        assert not isinstance(self.classifier, Probe)
        return self.classifier.score((features - self.mean) / self.scale)

    def score_tokens(self, tokens: Tokens) -> Float[ndarray, " texts"]:
        """Probability of the label, by a probe on the states of tokens."""
        assert isinstance(self.classifier, Probe)
        return self.classifier.score(self.standardised(tokens))

    def standardised(self, tokens: Tokens) -> Tokens:
        """Tokens as the probe reads them."""
        return Tokens((tokens.states - self.mean) / self.scale, tokens.lengths)


@dataclass(frozen=True)
class Detector:
    """Detectors of one or more labels on the same features.

    Attributes:
        labels: The detector of every label.
        description: What it belongs to: `model` and the rest of the features' provenance,
            `n_layers` and `columns` of the features, `dataset`, and per label how it was trained.
            `reads` says what it sees, spline features where it is missing.
    """

    labels: dict[str, LabelDetector]
    description: dict[str, Any]

    @property
    def reads(self) -> str:
        """What it sees: `spline`, `first_token` or `token_states`."""
        return str(self.description.get("reads", SPLINE))

    @property
    def n_layers(self) -> int:
        """First layers of the model that it reads."""
        return int(self.description["n_layers"])


def from_forest(model: RandomForestClassifier) -> Forest:
    """The arrays of a fitted random forest of two classes."""
    trees = [estimator.tree_ for estimator in model.estimators_]
    root = np.cumsum([0, *(tree.node_count for tree in trees[:-1])])
    inner = [tree.children_left >= 0 for tree in trees]

    def joined(name: str) -> ndarray:
        return np.concatenate([getattr(tree, name) for tree in trees])

    def children(name: str) -> ndarray:
        parts = [getattr(tree, name) + start for tree, start in zip(trees, root, strict=True)]
        return np.concatenate(parts)

    shares = np.concatenate([tree.value[:, 0, :] for tree in trees])
    return Forest(
        root.astype(np.int64),
        np.where(np.concatenate(inner), joined("feature"), -1).astype(np.int64),
        joined("threshold").astype(np.float64),
        children("children_left").astype(np.int64),
        children("children_right").astype(np.int64),
        shares[:, 1] / shares.sum(axis=1),
    )


def save_detector(path: Path, detector: Detector) -> None:
    """Write a detector atomically; the bytes depend only on the detector."""
    arrays: dict[str, ndarray] = {}
    kinds = {}
    for number, (label, trained) in enumerate(detector.labels.items()):
        kinds[label] = _kind(trained.classifier)
        covered = trained.range
        parts = {"mean": trained.mean, "scale": trained.scale} | trained.classifier.arrays()
        parts |= {"low": covered.low, "high": covered.high, "tokens": covered.tokens}
        arrays |= {f"{number}.{name}": np.ascontiguousarray(a) for name, a in parts.items()}
    document = {
        "format": FORMAT,
        "labels": kinds,
        "range_margin": RANGE_MARGIN,
        "description": detector.description,
        "arrays_sha256": _arrays_sha256(arrays),
    }
    with atomic_path(path) as temporary:
        save_file(arrays, temporary, metadata={METADATA_KEY: json.dumps(sealed(document))})


def load_detector(path: Path) -> Detector:
    """Read a detector.

    Raises:
        UserError: The file is missing, damaged or no detector.
    """
    remake = f"make it with: {remake_command('detect_toxicity', path)}"
    if not path.is_file():
        raise UserError(f"there is no detector at {path}; {remake}")
    try:
        with safe_open(path, framework="numpy") as file:
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            document = json.loads((file.metadata() or {})[METADATA_KEY])
        if document["format"] != FORMAT:
            raise UserError(
                f"{path} is a detector of format {document['format']}, and this version reads "
                f"format {FORMAT}; {remake}"
            )
        if sealed(document) != document or _arrays_sha256(arrays) != document["arrays_sha256"]:
            raise ValueError("its content does not match its recorded hash")
        labels = {
            label: _label(number, kind, arrays, float(document["range_margin"]))
            for number, (label, kind) in enumerate(document["labels"].items())
        }
        return Detector(labels, document["description"])
    except (SafetensorError, KeyError, TypeError, ValueError, OSError) as error:
        raise UserError(f"{path} is damaged or no detector ({error}); {remake}") from error


def _arrays_sha256(arrays: Mapping[str, ndarray]) -> str:
    """Hash of the arrays' names, types, shapes and values."""
    digest = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        digest.update(f"{name}:{array.dtype}:{array.shape};".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def check_model(detector: Detector, record: Mapping[str, Any], path: Path) -> None:
    """Refuse a model that the detector was not trained on.

    Args:
        detector: The detector.
        record: `provenance.json` of the model.
        path: The detector's file, for the error message.

    Raises:
        UserError: The weights are not those that the training features came from.
    """
    trained = detector.description["provenance"]
    if record["weights_sha256"] != trained["weights_sha256"]:
        raise UserError(
            f"{path} was trained on features of {_named(trained)}, and the model given is "
            f"{_named(record)}; features of another model mean something else, so give that model "
            "or train a detector for this one"
        )


def _label(number: int, kind: str, arrays: Mapping[str, ndarray], margin: float) -> LabelDetector:
    own = {
        name.partition(".")[2]: array
        for name, array in arrays.items()
        if name.partition(".")[0] == str(number)
    }
    mean, scale = own.pop("mean"), own.pop("scale")
    covered = TrainingRange(own.pop("low"), own.pop("high"), own.pop("tokens"), margin)
    classifier: Logistic | Forest | Probe
    if kind == "forest":
        classifier = Forest(**own)
    elif kind == "logistic":
        classifier = Logistic(**own)
    else:
        classifier = Probe(**own, pooling="max" if kind == "max_probe" else "attention")
    return LabelDetector(mean, scale, classifier, covered)


def _kind(classifier: Logistic | Forest | Probe) -> str:
    if isinstance(classifier, Probe):
        return f"{classifier.pooling}_probe"
    return "forest" if isinstance(classifier, Forest) else "logistic"


def _named(record: Mapping[str, Any]) -> str:
    return f"'{record['model']}' (weights {record['weights_sha256'][:12]}…)"
