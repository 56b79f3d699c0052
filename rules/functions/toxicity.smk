# Input functions and settings of rules/toxicity.smk.
def has_labels(dataset):
    """Whether a dataset of texts brings labels, as far as the configuration says."""
    mixed = any(part.positive or part.negative for part in dataset.parts)
    return bool(dataset.builtin or dataset.labels or mixed)


LABELLED = [
    dataset.name
    for dataset in CONFIG.datasets
    if dataset.kind == "texts" and dataset.study and has_labels(dataset)
]
TOXICITY = CONFIG.toxicity

if "toxicity" in CONFIG.studies and not LABELLED:
    sys.exit(
        "Error: the study 'toxicity' needs a dataset of texts with labels, and the key 'datasets' "
        "names none; give one 'labels', or leave 'toxicity' out of 'studies'"
    )


def state_shards(wildcards):
    """The hidden states of a dataset, one table per shard."""
    shards = CONFIG.geometry.extraction.shards
    return [
        f"results/activations/{wildcards.model}/{wildcards.dataset}/{k}-of-{shards}/states.parquet"
        for k in range(1, shards + 1)
    ]


def known_datasets(pairs, key):
    """Entries whose datasets are configured; a user's own entry with another name is an error."""
    names = [dataset.name for dataset in CONFIG.datasets if dataset.kind == "texts"]
    for pair, fields in pairs:
        for field in fields:
            name = getattr(pair, field)
            if name not in names and key in TOXICITY.model_fields_set:
                sys.exit(
                    f"Error: the key 'toxicity.{key}' names the dataset '{name}', and the text "
                    f"datasets of the configuration are {', '.join(names)}"
                )
    return [
        pair
        for pair, fields in pairs
        if all(getattr(pair, field) in names for field in fields)
    ]


COMPARISONS = known_datasets(
    [(pair, ("dataset", "easy")) for pair in TOXICITY.hard_negatives], "hard_negatives"
)


TRANSFERS = known_datasets(
    [(pair, ("train", "test")) for pair in TOXICITY.transfer], "transfer"
)
HUB_CLASSIFIERS = {c.name: c for c in TOXICITY.baselines.hub_classifiers}


def transfer(train, test):
    """The settings of a given split."""
    return next(t for t in TRANSFERS if (t.train, t.test) == (train, test))


def comparison(dataset, easy):
    """The settings of a comparison of negatives."""
    return next(c for c in COMPARISONS if (c.dataset, c.easy) == (dataset, easy))


def toxicity_tables(name):
    """One table of every model and labelled dataset, model by model."""
    return [
        f"results/toxicity/{model}/{dataset}/{name}.parquet"
        for model in MODELS
        for dataset in LABELLED
    ]


def fold_tables(name):
    """One table of every labelled dataset."""
    return [f"results/folds/{dataset}/{name}.parquet" for dataset in LABELLED]


# What the claims and the figures read beside the tables of every dataset.
HUB_METRICS = expand(
    "results/folds/{dataset}/hub/{classifier}.metrics.parquet",
    dataset=LABELLED,
    classifier=HUB_CLASSIFIERS,
)
OTHER_TABLES = [
    f"results/toxicity/{model}/{dataset}/early_exit.parquet"
    for model in MODELS
    for dataset in LABELLED[:1]
] + [
    f"results/toxicity/{model}/{pair.dataset}/hard_negatives/{pair.easy}.parquet"
    for model in MODELS
    for pair in COMPARISONS
]
