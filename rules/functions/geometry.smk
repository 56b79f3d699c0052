# Input functions and settings of rules/geometry.smk.
GEOMETRY = CONFIG.geometry
SHARDS = GEOMETRY.extraction.shards
# A user's own data of the same name have other labels.
SCORERS = GEOMETRY.prompts.scorers_among(
    [dataset.name for dataset in TEXTS if dataset.builtin == dataset.name]
)

if "geometry" in CONFIG.studies and not DATASETS:
    sys.exit(
        "Error: the study 'geometry' needs a dataset of texts, and the key 'datasets' names none; "
        "add one, or leave 'geometry' out of 'studies'"
    )


def shard_files(name):
    """An input function: one table of a dataset's activations from every shard, in order."""

    def of_dataset(wildcards):
        folder = f"results/activations/{wildcards.model}/{wildcards.dataset}"
        return [
            f"{folder}/{k}-of-{SHARDS}/{name}.parquet" for k in range(1, SHARDS + 1)
        ]

    return of_dataset


def extraction_settings(wildcards):
    """Settings of one shard's extraction."""
    return settings_json(
        precision=CONFIG.precision,
        extraction=GEOMETRY.extraction,
        shard=int(wildcards.shard),
    )


def own_file(section):
    """The user's file that a section names, as an input; none where it names none."""
    return [] if section.file is None else local([str(section.file)])


def per_dataset(name):
    """One geometry table of every model and dataset."""
    return expand(
        "results/geometry/{model}/{dataset}/{name}.parquet",
        model=MODELS,
        dataset=DATASETS,
        name=name,
    )


def per_model(name):
    """One geometry table of every model."""
    return expand("results/geometry/{model}/{name}.parquet", model=MODELS, name=name)
