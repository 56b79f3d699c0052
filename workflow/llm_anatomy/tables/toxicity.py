"""Tables of the toxicity study. Layers count from 0; a label NAME is `label_NAME` in the data."""

import pyarrow as pa

from llm_anatomy.tables.core import Column, TableSchema

_FOLDS = "results/toxicity/folds/{dataset}"
_TOXICITY = "results/toxicity/{model}/{dataset}"

_TEXT_ID = Column("text_id", pa.string(), "The text, as in the dataset's table")
_LABEL = Column("label", pa.string(), "The label, each against the rest where there are several")
_FEATURE_SET = Column(
    "feature_set",
    pa.string(),
    "What the classifier sees: `spline`, `spline_first_K_layers`, `length`, `tfidf`, "
    "`mean_state_layer_L`, `last_state_layer_L`, `intrinsic_dimension`, or `hub:NAME`",
)
_CLASSIFIER = Column("classifier", pa.string(), "The classifier; `none` for a ready score")
_FOLD = Column("fold", pa.int32(), "Test fold of the text")
_METRIC = Column(
    "metric",
    pa.string(),
    "`roc_auc`; `average_precision` (area under precision and recall); `tpr_at_fpr_X` (largest "
    "true-positive rate with a false-positive rate of at most X); `roc_auc_hard_label` (of the "
    "yes-or-no answer alone, as the paper scored its baselines)",
)
_VALUE = Column(
    "value",
    pa.float64(),
    "The metric of out-of-fold scores, each text ranked among those of its test fold: mean over "
    "folds, weighted by their pairs of a positive and a negative text",
)
_LOW = Column(
    "low",
    pa.float64(),
    "Lower end of the bootstrap interval of `value`, texts drawn within their fold",
    nullable=True,
)
_HIGH = Column("high", pa.float64(), "Upper end of the same interval", nullable=True)
_FOLD_MEAN = Column(
    "fold_mean",
    pa.float64(),
    "Plain mean of the metric over the test folds; missing where a fold lacks a class",
    nullable=True,
)
_FOLD_SD = Column(
    "fold_sd", pa.float64(), "Standard deviation of the metric over the test folds", nullable=True
)
_N_TRAIN = Column(
    "n_train", pa.int32(), "Training texts per fold, rounded mean; 0 for a ready score", "texts"
)
_N_TEST = Column("n_test", pa.int32(), "Texts with an out-of-fold score", "texts")
_N_POSITIVE = Column("n_positive", pa.int32(), "Positive texts among them", "texts")
_N_FOLDS = Column("n_folds", pa.int32(), "Test folds")

_RESULT = (
    _METRIC,
    _VALUE,
    _LOW,
    _HIGH,
    _FOLD_MEAN,
    _FOLD_SD,
    _N_TRAIN,
    _N_TEST,
    _N_POSITIVE,
    _N_FOLDS,
)

FOLDS = TableSchema(
    "toxicity/folds",
    f"{_FOLDS}/folds.parquet",
    "split_texts",
    "One text and usable label: the fold in which the text is tested, the same for every feature "
    "set and model",
    (
        _TEXT_ID,
        _LABEL,
        Column("truth", pa.bool_(), "The label's value"),
        Column(
            "copies",
            pa.int32(),
            "Number of the text's set: near-duplicates, and texts of one group of the data set, "
            "are in one set (chains too), and a set is in one fold",
        ),
        _FOLD,
    ),
)

LABELS = TableSchema(
    "toxicity/labels",
    f"{_FOLDS}/labels.parquet",
    "split_texts",
    "One label of the dataset: how many texts have it, and whether it can be learned",
    (
        _LABEL,
        Column("n_texts", pa.int32(), "Texts in the dataset", "texts"),
        Column("n_missing", pa.int32(), "Texts without a value, left out for this label", "texts"),
        Column("n_positive", pa.int32(), "Positive texts", "texts"),
        Column("n_negative", pa.int32(), "Negative texts", "texts"),
        Column("used", pa.bool_(), "Whether the label is used"),
        Column("why", pa.string(), "Why not, in one sentence; empty when it is used"),
    ),
)

DUPLICATES = TableSchema(
    "toxicity/duplicates",
    f"{_FOLDS}/duplicates.parquet",
    "split_texts",
    "One pair of texts that are copies of each other, exactly or nearly",
    (
        _TEXT_ID,
        Column("other_text_id", pa.string(), "The other text"),
        Column(
            "similarity",
            pa.float64(),
            "Jaccard index of their character 5-grams (letter case, width and spaces aside)",
        ),
    ),
)

PREDICTIONS = TableSchema(
    "toxicity/predictions",
    f"{_TOXICITY}/predictions.parquet",
    "detect_toxicity",
    "One text, label, feature set and classifier: the score from the fold that did not see it",
    (
        _TEXT_ID,
        _LABEL,
        _FEATURE_SET,
        _CLASSIFIER,
        _FOLD,
        Column("truth", pa.bool_(), "The label's value"),
        Column("score", pa.float64(), "Probability of the label, as the classifier has it"),
    ),
)

METRICS = TableSchema(
    "toxicity/metrics",
    f"{_TOXICITY}/metrics.parquet",
    "detect_toxicity",
    "One feature set, classifier, label and metric",
    (_FEATURE_SET, _CLASSIFIER, _LABEL, *_RESULT),
)

CHOICES = TableSchema(
    "toxicity/choices",
    f"{_TOXICITY}/choices.parquet",
    "detect_toxicity",
    "One feature set, classifier, label and fold: the hyperparameter that the inner folds chose",
    (
        _FEATURE_SET,
        _CLASSIFIER,
        _LABEL,
        _FOLD,
        Column("hyperparameter", pa.string(), "Its name"),
        Column("chosen", pa.float64(), "The chosen value"),
        Column(
            "distance_weight",
            pa.float64(),
            "Chosen weight of the distances (features 5 to 7); missing when there was no choice",
            nullable=True,
        ),
        Column(
            "inner_roc_auc",
            pa.float64(),
            "Mean ROC-AUC of the inner folds at that value; missing when there was no choice",
            nullable=True,
        ),
        Column("n_inner_folds", pa.int32(), "Inner folds; 0 when there was no choice"),
        Column("n_train", pa.int32(), "Training texts of the fold", "texts"),
    ),
)

SELF_TRAINING = TableSchema(
    "toxicity/self_training",
    f"{_TOXICITY}/self_training.parquet",
    "probe_features",
    "One share of labels, training method, label and metric, on the spline features",
    (
        Column("label_rate", pa.float64(), "Share of the training texts that keep their label"),
        Column(
            "training",
            pa.string(),
            "`self_training`, or `labelled_only`: the same texts without the self-labelled rest",
        ),
        Column("n_labelled", pa.int32(), "Texts with a label per fold, rounded mean", "texts"),
        _FEATURE_SET,
        _CLASSIFIER,
        _LABEL,
        *_RESULT,
    ),
)

ABLATIONS = TableSchema(
    "toxicity/ablations",
    f"{_TOXICITY}/ablations.parquet",
    "probe_features",
    "One part of the spline features, classifier, label and metric",
    (
        Column(
            "kind",
            pa.string(),
            "`layer` (all features of one layer), `first_layers` (of the layers up to this one), "
            "`feature` (one feature of all layers), `features` (several features of all layers)",
        ),
        Column("layer", pa.int32(), "The layer, or the last of the first layers", nullable=True),
        Column("features", pa.string(), "Feature numbers, such as `1-7`, `3` or `1-4`"),
        _CLASSIFIER,
        _LABEL,
        *_RESULT,
    ),
)

MAPS = TableSchema(
    "toxicity/maps",
    f"{_TOXICITY}/maps.parquet",
    "probe_features",
    "One text and kind of map: its place on a two-dimensional map of the spline features",
    (
        _TEXT_ID,
        Column("method", pa.string(), "`pca` or `tsne`"),
        Column("x", pa.float64(), "First coordinate"),
        Column("y", pa.float64(), "Second coordinate"),
        Column(
            "explained_x",
            pa.float64(),
            "Share of variance along x, for PCA",
            "share",
            nullable=True,
        ),
        Column(
            "explained_y",
            pa.float64(),
            "Share of variance along y, for PCA",
            "share",
            nullable=True,
        ),
    ),
)

HUB_SCORES = TableSchema(
    "toxicity/hub_scores",
    f"{_FOLDS}/hub/{{classifier}}.scores.parquet",
    "score_hub_classifier",
    "One text: the score of a Hugging Face classifier",
    (
        _TEXT_ID,
        Column("score", pa.float64(), "Probability of the positive classes (or 1 minus it)"),
        Column(
            "top_is_positive", pa.bool_(), "Whether the class with the largest score is positive"
        ),
        Column("n_tokens", pa.int32(), "Tokens that were read", "tokens"),
        Column("truncated", pa.bool_(), "Whether the text was longer and lost its end"),
    ),
)

HUB_METRICS = TableSchema(
    "toxicity/hub_metrics",
    f"{_FOLDS}/hub/{{classifier}}.metrics.parquet",
    "score_hub_classifier",
    "One label and metric of a Hugging Face classifier's scores",
    (_FEATURE_SET, _CLASSIFIER, _LABEL, *_RESULT),
)

HARD_NEGATIVES = TableSchema(
    "toxicity/hard_negatives",
    f"{_TOXICITY}/hard_negatives/{{easy}}.parquet",
    "compare_negatives",
    "One label, choice of negatives, feature set, classifier and metric",
    (
        Column("dataset", pa.string(), "Dataset of the positives and of the hard negatives"),
        Column("easy", pa.string(), "Dataset of the easy negatives"),
        Column(
            "negatives",
            pa.string(),
            "`hard` (same source), `easy` (other source), or `both`",
        ),
        _FEATURE_SET,
        _CLASSIFIER,
        _LABEL,
        *_RESULT,
    ),
)

TRANSFER = TableSchema(
    "toxicity/transfer",
    "results/toxicity/{model}/transfer/{train}-to-{test}/metrics.parquet",
    "transfer_detector",
    "One feature set, classifier, label, choice of test texts and metric: trained on one dataset, "
    "tested on another",
    (
        Column(
            "test_texts",
            pa.string(),
            "`all`, or `no_copies`: without those that are copies of a training text or in the "
            "group of one",
        ),
        Column(
            "n_copies",
            pa.int32(),
            "Test texts that are copies of a training text, or share a group with one",
            "texts",
        ),
        _FEATURE_SET,
        _CLASSIFIER,
        _LABEL,
        *_RESULT,
    ),
)

OVERLAP = TableSchema(
    "toxicity/overlap",
    "results/toxicity/{model}/transfer/{train}-to-{test}/overlap.parquet",
    "transfer_detector",
    "One test text that shares text or group with a training text",
    (
        _TEXT_ID,
        Column("train_text_id", pa.string(), "The training text"),
        Column(
            "shared",
            pa.string(),
            "`text` (a copy, exactly or nearly), or `group`: of the same prompt, author or thread; "
            "of a group, the first training text is named",
        ),
        Column(
            "similarity",
            pa.float64(),
            "Jaccard index of their character 5-grams, of copies",
            nullable=True,
        ),
    ),
)

EARLY_EXIT = TableSchema(
    "toxicity/early_exit",
    f"{_TOXICITY}/early_exit.parquet",
    "time_early_exit",
    "One number of first layers: what reading them costs, one text at a time",
    (
        Column("n_layers", pa.int32(), "First layers that are run"),
        Column("what", pa.string(), "`features` of the layers, or the `plain` pass of the model"),
        Column("n_texts", pa.int32(), "Texts timed, after one that warms up", "texts"),
        Column("n_tokens", pa.int32(), "Tokens of all timed texts", "tokens"),
        Column("median_ms", pa.float64(), "Median time of a text", "ms"),
        Column("p95_ms", pa.float64(), "95th percentile over texts", "ms"),
        Column("share_of_plain", pa.float64(), "Total time, as a share of the plain pass", "share"),
    ),
)

TABLES: tuple[TableSchema, ...] = (
    FOLDS,
    LABELS,
    DUPLICATES,
    PREDICTIONS,
    METRICS,
    CHOICES,
    SELF_TRAINING,
    ABLATIONS,
    MAPS,
    HUB_SCORES,
    HUB_METRICS,
    HARD_NEGATIVES,
    TRANSFER,
    OVERLAP,
    EARLY_EXIT,
)
