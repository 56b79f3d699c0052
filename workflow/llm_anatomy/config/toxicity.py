"""Settings of the toxicity study: detection and classification on feature tables.

Source: Balestriero, Cosentino, Shekkizhar, "Characterizing Large Language Model Geometry Helps
Solve Toxicity Detection and Generation" (arXiv 2312.01648), sections on detection.
"""

from collections.abc import Sequence
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from llm_anatomy.config.base import Settings
from llm_anatomy.config.detectors import DetectorComparison, Shift
from llm_anatomy.config.models import NAME_PATTERN

ClassifierName = Literal["logistic_regression", "random_forest", "gradient_boosting"]
Positive = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(gt=0, lt=1)]
Count = Annotated[int, Field(ge=1)]
BaselineName = Literal["length", "tfidf", "mean_state", "last_state", "intrinsic_dimension"]


class Folds(Settings):
    """How texts are split, and what counts as a copy."""

    n_folds: int = Field(
        5, ge=2, description="Test folds; every labelled text is tested once (paper: 5 splits)."
    )
    n_inner_folds: int = Field(
        3, ge=2, description="Folds inside the training texts that choose a hyperparameter."
    )
    similarity: float = Field(
        0.8,
        ge=0.3,
        le=1,
        description="Texts that share this much (Jaccard index of character 5-grams) are "
        "near-duplicates and stay in one fold; of pairs at this limit 99.9 % are found.",
    )


class Classifiers(Settings):
    """The classifiers, with the values that inner folds choose from; one value is no choice."""

    names: list[ClassifierName] = Field(
        ["logistic_regression", "random_forest", "gradient_boosting"],
        min_length=1,
        description="Classifiers on the spline features; baselines use logistic regression.",
    )
    max_tree_labels: int = Field(
        1,
        ge=0,
        description="Most labels of a dataset on which forests and boosting are tried, those with "
        "most positive texts first; logistic regression is tried on all.",
    )
    c: list[Positive] = Field(
        [1e-3, 1e-2, 1e-1, 1.0],
        min_length=1,
        description="Inverse strengths of the L2 penalty on standardised features (paper: 1).",
    )
    c_tfidf: list[Positive] = Field(
        [1.0, 10.0], min_length=1, description="The same for TF-IDF, whose rows have length 1."
    )
    distance_weights: list[Positive] = Field(
        [0.1, 1.0],
        min_length=1,
        description="What the standardised distances (features 5 to 7) are multiplied by beside "
        "the active shares (1 to 4) in logistic regression. Below 1 their coefficients are "
        "penalised more. Self-training, too poor in labels to choose, takes the first (paper: 1).",
    )
    max_iter: int = Field(
        1000, ge=1, description="Most iterations of logistic regression (paper: 400)."
    )
    n_trees: int = Field(100, ge=1, description="Trees of the random forest (paper: 100).")
    min_samples_leaf: list[Count] = Field(
        [5],
        min_length=1,
        description="Fewest texts in a leaf of the forest (paper: 100, for 36,790 texts).",
    )
    boosting_iterations: int = Field(100, ge=1, description="Trees of gradient boosting.")
    learning_rate: list[Positive] = Field(
        [0.1], min_length=1, description="Learning rates of gradient boosting."
    )


class HubClassifier(Settings):
    """A text classifier from Hugging Face, used by its score."""

    name: str = Field(description="Short name, used in paths and tables.", pattern=NAME_PATTERN)
    hub: str | None = Field(None, description="Hugging Face model id; needs `revision`.")
    revision: str | None = Field(None, description="Commit (best), tag or branch.")
    path: str | None = Field(None, description="Folder with the classifier, in place of `hub`.")
    positive: list[str] = Field(
        min_length=1,
        description="The classifier's own names of the classes that count as positive; the score "
        "is the sum of their probabilities, or the largest where classes are not exclusive.",
    )
    exclusive: bool = Field(
        True,
        description="Whether its classes exclude each other (softmax), or each is a yes or no of "
        "its own (sigmoid; toxic-bert and other Jigsaw models).",
    )
    negate: bool = Field(
        False, description="Whether a high score means harmless (reward models): 1 - score is used."
    )
    max_length: int = Field(512, ge=1, description="Tokens that are read; the rest is cut off.")

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.hub is None) == (self.path is None):
            raise ValueError(f"the classifier '{self.name}' needs either 'hub' or 'path'")
        if self.hub and not self.revision:
            raise ValueError(f"the classifier '{self.name}' has 'hub' without 'revision'")
        return self


class Baselines(Settings):
    """What the spline features are compared with, on the same folds."""

    names: list[BaselineName] = Field(
        ["length", "tfidf", "mean_state", "last_state", "intrinsic_dimension"],
        description="Text length; word and word-pair TF-IDF; mean and last-token hidden state; "
        "intrinsic dimension of every layer.",
    )
    state_depths: Literal["all"] | list[float] = Field(
        [0.5],
        description="Layers whose hidden states are used, as shares of the model's depth (1: the "
        "last layer), or `all`.",
    )
    hub_classifiers: list[HubClassifier] = Field(
        [], description="Hugging Face text classifiers to compare with, by score."
    )

    @model_validator(mode="after")
    def _sound(self) -> Self:
        if self.state_depths != "all" and any(not 0 < d <= 1 for d in self.state_depths):
            raise ValueError("'state_depths' are shares of the depth, above 0 and at most 1")
        names = [classifier.name for classifier in self.hub_classifiers]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"the name '{twice}' appears twice in 'hub_classifiers'")
        return self


class Scoring(Settings):
    """What is measured on the out-of-fold scores."""

    false_positive_rates: list[Share] = Field(
        [0.01, 0.05],
        description="Rates of false positives at which the rate of true positives is read.",
    )
    resamples: int = Field(
        1000, ge=1, description="Bootstrap resamples of the texts behind every interval."
    )
    level: float = Field(0.95, gt=0, lt=1, description="Coverage of the intervals.")


class SelfTraining(Settings):
    """Few labels: the classifier labels the rest of its training texts itself."""

    classifiers: list[Literal["logistic_regression", "random_forest"]] = Field(
        ["logistic_regression"], description="Classifiers; [] leaves the experiment out."
    )
    label_rates: list[Share] = Field(
        [0.01, 0.05, 0.1, 0.2],
        description="Shares of the training texts that keep their label, at least one per class.",
    )
    c: float = Field(
        0.1,
        gt=0,
        description="Inverse penalty of logistic regression; fixed, for a handful of labels "
        "cannot choose it.",
    )
    rounds: int = Field(
        10, ge=1, description="Rounds; each labels a tenth of what is left at first (paper: 10)."
    )
    max_labels: int = Field(
        2,
        ge=1,
        description="Most labels of a dataset that are tried, those with most positive "
        "texts first.",
    )


class Ablations(Settings):
    """How much single layers, the first layers, and single features carry."""

    classifiers: list[ClassifierName] = Field(
        ["logistic_regression"], description="Classifiers; [] leaves the ablations out."
    )
    max_labels: int = Field(
        1,
        ge=1,
        description="Most labels of a dataset that are tried, those with most positive "
        "texts first.",
    )


class EarlyExit(Settings):
    """Detection from the first layers alone, and what it costs."""

    n_layers: list[Count] = Field(
        [3], description="Numbers of first layers (paper: 3); more than the model has is an error."
    )
    timed_texts: int = Field(
        8,
        ge=1,
        description="Texts, one at a time, over which latency is measured; `n_layers` "
        "of the model are timed beside the whole model.",
    )


class Maps(Settings):
    """Two-dimensional maps of the spline features."""

    methods: list[Literal["pca", "tsne"]] = Field(["pca", "tsne"], description="Kinds of map.")
    standardise: bool = Field(
        True, description="Give every feature mean 0 and deviation 1 first (paper: false)."
    )
    max_texts: int = Field(
        2000, ge=10, description="Most texts on a map; a seeded sample is drawn from more."
    )
    perplexity: float = Field(30.0, gt=0, description="t-SNE's perplexity.")


class HardNegatives(Settings):
    """One label, with negatives from its own source and from another."""

    dataset: str = Field(description="Dataset with the label; its negatives are the hard ones.")
    label: str | None = Field(None, description="Its label; the first when left out.")
    easy: str = Field(description="Dataset whose texts all serve as easy negatives.")


class Transfer(Settings):
    """Train on one dataset, test on another: a given split."""

    train: str = Field(description="Dataset to train on.")
    test: str = Field(description="Dataset to test on.")
    labels: list[str] | None = Field(
        None, description="Labels that both have; all common ones when left out."
    )
    allow_overlap: bool = Field(
        False,
        description="Go on where test texts are copies of training texts, and measure with and "
        "without them; otherwise such an overlap is an error.",
    )


class DetectorSettings(Settings):
    """The detector that is kept for use."""

    classifier: Literal["logistic_regression", "random_forest"] = Field(
        "logistic_regression", description="Its classifier."
    )
    n_layers: int | None = Field(
        None, ge=1, description="First layers that it reads, for an early exit; all when left out."
    )


class ToxicitySettings(Settings):
    """The toxicity study. It runs on every text dataset that has labels."""

    folds: Folds = Field(default_factory=Folds, description="Test folds and leak guard.")
    classifiers: Classifiers = Field(default_factory=Classifiers, description="Classifiers.")
    baselines: Baselines = Field(default_factory=Baselines, description="Comparisons.")
    scoring: Scoring = Field(default_factory=Scoring, description="Metrics and intervals.")
    self_training: SelfTraining = Field(
        default_factory=SelfTraining, description="Few labels (paper: semi-supervised)."
    )
    ablations: Ablations = Field(
        default_factory=Ablations, description="Layers and features on their own."
    )
    early_exit: EarlyExit = Field(default_factory=EarlyExit, description="First layers only.")
    maps: Maps = Field(default_factory=Maps, description="PCA and t-SNE maps.")
    hard_negatives: list[HardNegatives] = Field(
        default_factory=lambda: [HardNegatives(dataset="harmful_responses", easy="domains")],
        description="Comparisons of hard with easy negatives; the default is used where both "
        "datasets are in the configuration.",
    )
    transfer: list[Transfer] = Field(
        [], description="Given splits: train on one dataset, test on another."
    )
    detector_comparison: DetectorComparison = Field(
        default_factory=DetectorComparison,
        description="Which detector to use, and what it would do.",
    )
    shift: Shift = Field(
        default_factory=Shift, description="Which labels of several data sets are the same."
    )
    detector: DetectorSettings = Field(
        default_factory=DetectorSettings, description="The detector that is kept."
    )

    @model_validator(mode="after")
    def _distinct_pairs(self) -> Self:
        for key, pairs in (
            ("hard_negatives", [(pair.dataset, pair.easy) for pair in self.hard_negatives]),
            ("transfer", [(pair.train, pair.test) for pair in self.transfer]),
        ):
            twice = next((pair for pair in pairs if pairs.count(pair) > 1), None)
            if twice is not None:
                raise ValueError(f"'{key}' has two entries for {' and '.join(twice)}; keep one")
            same = next((pair for pair in pairs if pair[0] == pair[1]), None)
            if same is not None:
                raise ValueError(f"'{key}' compares '{same[0]}' with itself; name two datasets")
        return self

    def compared(self, labelled: Sequence[str]) -> list[str]:
        """The labelled data sets on which detectors are compared."""
        return self.detector_comparison.datasets or list(labelled[:1])

    def hard_negatives_among(self, datasets: Sequence[str]) -> list[HardNegatives]:
        """The comparisons of negatives whose data sets are both among these."""
        return [c for c in self.hard_negatives if c.dataset in datasets and c.easy in datasets]

    def comparison(self, dataset: str, easy: str) -> HardNegatives:
        """The comparison of these negatives."""
        return next(c for c in self.hard_negatives if (c.dataset, c.easy) == (dataset, easy))

    def given_split(self, train: str, test: str) -> Transfer:
        """The given split between these data sets."""
        return next(t for t in self.transfer if (t.train, t.test) == (train, test))

    def hub_classifier(self, name: str) -> HubClassifier:
        """The Hugging Face classifier of this name."""
        return next(c for c in self.baselines.hub_classifiers if c.name == name)
