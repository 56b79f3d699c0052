"""Tables of the comparison of detectors: what each is worth where it would be used."""

import pyarrow as pa

from llm_anatomy.tables.core import Column, TableSchema

_PLACE = "results/toxicity/{model}/{dataset}/detectors"
_FEATURE_SET = Column(
    "feature_set",
    pa.string(),
    "What the detector sees; the sets of `metrics`, and `first_token` (logits of the first token "
    "of the model's answer), `token_states` (states of the text's tokens), `spline_and_state`, "
    "`spline_extended` (the seven features and further ones, not the paper's)",
)
_CLASSIFIER = Column(
    "classifier",
    pa.string(),
    "`logistic_regression`, `sparse_logistic` (L1), `attention_probe` or `max_probe` (pooled over "
    "tokens)",
)
_LABEL = Column("label", pa.string(), "The label")
_LOW = Column("low", pa.float64(), "Lower end of the interval", nullable=True)
_HIGH = Column("high", pa.float64(), "Upper end of the interval", nullable=True)

DETECTORS = TableSchema(
    "toxicity/detectors",
    f"{_PLACE}/detectors.parquet",
    "compare_detectors",
    "One detector, label and metric, every text scored by a fold that did not see it",
    (
        _FEATURE_SET,
        _CLASSIFIER,
        _LABEL,
        Column(
            "metric",
            pa.string(),
            "`roc_auc`, `average_precision` (inside folds, as in `metrics`); `brier` (mean squared "
            "error of the calibrated probability), `brier_skill` (1 minus its share of that of the "
            "base rate), `calibration_error` (over bins of equal count), "
            "`calibration_error_by_chance` (the same were every probability right); "
            "`gain_over_state` (ROC-AUC beyond that of the mean state alone, on the same texts)",
        ),
        Column(
            "beyond",
            pa.string(),
            "Of `gain_over_state`: the mean state that it is beyond, of the stored layers the "
            "one that the inner folds rank best with",
            nullable=True,
        ),
        Column("value", pa.float64(), "The metric"),
        _LOW,
        _HIGH,
        Column(
            "pass_share",
            pa.float64(),
            "What the detector costs, as counted work and not as time: tokens times layers that "
            "the model reads for a text, as a share of a plain pass over the text; mean over "
            "texts, 0 for what needs no model",
            "share",
        ),
        Column("n_test", pa.int32(), "Texts with an out-of-fold score", "texts"),
        Column("n_positive", pa.int32(), "Positive texts among them", "texts"),
        Column("n_sets", pa.int32(), "Sets of near-duplicates and groups that they make", "sets"),
        Column(
            "n_cut",
            pa.int32(),
            "Texts of which this detector does not read the end: those longer than "
            "`extraction.max_length`, or than `toxicity.detector_comparison.max_length` where the "
            "model is asked",
            "texts",
        ),
    ),
)

OPERATING_POINTS = TableSchema(
    "toxicity/operating_points",
    f"{_PLACE}/operating_points.parquet",
    "compare_detectors",
    "One detector, label and wanted rate of false positives: thresholds set on texts that neither "
    "trained nor test, counts added over test folds",
    (
        _FEATURE_SET,
        _CLASSIFIER,
        _LABEL,
        Column("wanted_rate", pa.float64(), "Rate of false positives that thresholds are set for"),
        Column("n_positive", pa.int32(), "Positive texts", "texts"),
        Column("n_positive_sets", pa.int32(), "Sets of copies and groups that they make", "sets"),
        Column("n_found", pa.int32(), "Positive texts above the threshold", "texts"),
        Column("true_positive_rate", pa.float64(), "Share of positives found", "share"),
        Column(
            "true_positive_low",
            pa.float64(),
            "Lower end of its exact interval (Clopper-Pearson with as many trials as sets, "
            "thresholds held fixed)",
            "share",
        ),
        Column("true_positive_high", pa.float64(), "Upper end", "share"),
        Column("n_negative", pa.int32(), "Negative texts", "texts"),
        Column("n_negative_sets", pa.int32(), "Sets of copies and groups that they make", "sets"),
        Column("n_false", pa.int32(), "Negative texts above the threshold", "texts"),
        Column("false_positive_rate", pa.float64(), "Realised rate of false positives", "share"),
        Column("false_positive_low", pa.float64(), "Lower end of its exact interval", "share"),
        Column("false_positive_high", pa.float64(), "Upper end", "share"),
        Column(
            "negatives_needed",
            pa.int32(),
            "Fewest sets of negatives that could show the wanted rate, without any false alarm "
            "(one-sided, 95 %); with fewer it cannot be shown",
            "sets",
        ),
    ),
)

RELIABILITY = TableSchema(
    "toxicity/reliability",
    f"{_PLACE}/reliability.parquet",
    "compare_detectors",
    "One detector, label and bin of texts of similar probability, bins of equal count",
    (
        _FEATURE_SET,
        _CLASSIFIER,
        _LABEL,
        Column("bin", pa.int32(), "Number of the bin, from 0, in order of probability"),
        Column("probability", pa.float64(), "Mean calibrated probability (Platt)"),
        Column("positive_share", pa.float64(), "Share of positive texts", "share"),
        Column("low", pa.float64(), "Lower end of its exact interval", "share"),
        Column("high", pa.float64(), "Upper end", "share"),
        Column("n_texts", pa.int32(), "Texts of the bin", "texts"),
        Column("n_sets", pa.int32(), "Sets of copies and groups that they make", "sets"),
    ),
)

SUBGROUPS = TableSchema(
    "toxicity/subgroups",
    f"{_PLACE}/subgroups.parquet",
    "compare_detectors",
    "One detector, label and group of texts (Borkan et al. 2019): a third of the texts by their "
    "length, or a value of a column of subgroups; with fewer than 20 texts of a class no number",
    (
        _FEATURE_SET,
        _CLASSIFIER,
        _LABEL,
        Column("column", pa.string(), "`length`, or the data set's column of subgroups"),
        Column("group", pa.string(), "The third of the lengths, or the value"),
        Column("n_texts", pa.int32(), "Texts of the group", "texts"),
        Column("n_positive", pa.int32(), "Positive texts among them", "texts"),
        Column(
            "subgroup_auc",
            pa.float64(),
            "ROC-AUC within the group; all areas rank inside test folds",
            nullable=True,
        ),
        Column("subgroup_low", pa.float64(), "Lower end of its bootstrap interval", nullable=True),
        Column("subgroup_high", pa.float64(), "Upper end", nullable=True),
        Column(
            "n_unknown",
            pa.int32(),
            "Texts of which the column says nothing: neither in the group nor outside it",
            "texts",
        ),
        Column(
            "bpsn_auc",
            pa.float64(),
            "ROC-AUC of positives outside and negatives of the group; low: false alarms on it",
            nullable=True,
        ),
        Column("bpsn_low", pa.float64(), "Lower end of its bootstrap interval", nullable=True),
        Column("bpsn_high", pa.float64(), "Upper end", nullable=True),
        Column(
            "bnsp_auc",
            pa.float64(),
            "ROC-AUC of negatives outside and positives of the group; low: misses in it",
            nullable=True,
        ),
        Column("bnsp_low", pa.float64(), "Lower end of its bootstrap interval", nullable=True),
        Column("bnsp_high", pa.float64(), "Upper end", nullable=True),
        Column(
            "wanted_rate", pa.float64(), "Rate of false positives that the threshold is set for"
        ),
        Column(
            "false_positive_rate",
            pa.float64(),
            "Share of the group's negatives above the threshold of all texts",
            "share",
            nullable=True,
        ),
        Column(
            "false_positive_low", pa.float64(), "Lower end of its exact interval", nullable=True
        ),
        Column("false_positive_high", pa.float64(), "Upper end", nullable=True),
        Column(
            "true_positive_rate",
            pa.float64(),
            "Share of the group's positives above it",
            "share",
            nullable=True,
        ),
        Column("true_positive_low", pa.float64(), "Lower end of its exact interval", nullable=True),
        Column("true_positive_high", pa.float64(), "Upper end", nullable=True),
    ),
)

ANSWER_TOKENS = TableSchema(
    "toxicity/answer_tokens",
    f"{_PLACE}/answer_tokens.parquet",
    "compare_detectors",
    "One label and token of the vocabulary: the largest weights of the sparse model on the first "
    "token of the answer, trained on all texts",
    (
        _LABEL,
        Column("token", pa.string(), "The token, decoded"),
        Column("token_id", pa.int32(), "Its number in the vocabulary"),
        Column(
            "weight",
            pa.float64(),
            "Weight of its standardised feature; above 0 speaks for the label",
        ),
        Column("n_used", pa.int32(), "Tokens with a weight other than 0", "tokens"),
    ),
)

SHIFT = TableSchema(
    "toxicity/shift",
    "results/toxicity/{model}/shift.parquet",
    "shift_detectors",
    "One training data set, test data set with the same label, feature set and metric; on the "
    "diagonal out of fold",
    (
        Column("train", pa.string(), "Data set that the detector is trained on"),
        Column("test", pa.string(), "Data set that it is tested on"),
        Column("label", pa.string(), "The label of the training data"),
        Column("test_label", pa.string(), "The label of the test data"),
        Column("feature_set", pa.string(), "`spline`, `length` or `tfidf`"),
        Column("classifier", pa.string(), "`logistic_regression`"),
        Column("metric", pa.string(), "As in `metrics`"),
        Column(
            "value",
            pa.float64(),
            "The metric; on the diagonal inside test folds. Missing where nothing, or one class "
            "alone, is left without the texts that both data sets share",
            nullable=True,
        ),
        _LOW,
        _HIGH,
        Column("n_train", pa.int32(), "Training texts; on the diagonal per fold", "texts"),
        Column("n_test", pa.int32(), "Test texts", "texts"),
        Column("n_positive", pa.int32(), "Positive texts among them", "texts"),
        Column(
            "n_left_out",
            pa.int32(),
            "Test texts left out, as copies of training texts or of their groups",
            "texts",
        ),
    ),
)

TABLES: tuple[TableSchema, ...] = (
    DETECTORS,
    OPERATING_POINTS,
    RELIABILITY,
    SUBGROUPS,
    ANSWER_TOKENS,
    SHIFT,
)
