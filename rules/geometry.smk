# Spline features and attention intrinsic dimension: one forward pass, then tables from tables.
GEOMETRY = CONFIG.geometry
SCORERS = CONFIG.scorers


# An input function: one table of a dataset's activations from every shard, in order.
shard_files = lambda table: (
    lambda wildcards: expand(
        "results/activations/{model}/{dataset}/{shard}/{table}.parquet",
        model=wildcards.model,
        dataset=wildcards.dataset,
        shard=GEOMETRY.extraction.shard_names,
        table=table,
    )
)

# Settings of one shard's extraction.
extraction_settings = lambda wildcards: (
    settings_json(
        precision=CONFIG.precision,
        extraction=GEOMETRY.extraction,
        shard=int(wildcards.shard),
    )
)

# Settings of the experiments on a few texts.
experiment_settings = lambda wildcards: (
    settings_json(
        seed=CONFIG.seed,
        precision=CONFIG.precision,
        checks=GEOMETRY.checks,
        inserts=GEOMETRY.inserts,
        prompts=GEOMETRY.prompts.model_dump(mode="json", exclude={"scorers"}),
        chat=CONFIG.chat(wildcards.model),
        relative_threshold=GEOMETRY.extraction.relative_threshold,
        absolute_threshold=GEOMETRY.extraction.absolute_threshold,
    )
)

# The table of the data set that a section names, as an input; none where it names none.
own_texts = lambda section: (
    expand("results/data/{name}.parquet", name=section.dataset or [])
)

# One geometry table of every dataset; the model is left open.
of_datasets = lambda name: (
    expand(
        "results/geometry/{model}/{dataset}/{name}.parquet",
        dataset=DATASETS,
        name=name,
        allow_missing=True,
    )
)

# One geometry table of every model and dataset.
per_dataset = lambda name: (
    expand(
        "results/geometry/{model}/{dataset}/{name}.parquet",
        model=MODELS,
        dataset=DATASETS,
        name=name,
    )
)

# One geometry table of every model.
per_model = lambda name: (
    expand("results/geometry/{model}/{name}.parquet", model=MODELS, name=name)
)


rule extract_activations:
    """Run the model once over a shard of texts: token traces, states, attention counts."""
    input:
        model_parts("{model}"),
        model="results/models/{model}/provenance.json",
        texts="results/data/{dataset}.parquet",
    output:
        traces="results/activations/{model}/{dataset}/{shard}-of-{shards}/traces.parquet",
        states="results/activations/{model}/{dataset}/{shard}-of-{shards}/states.parquet",
        attention_counts="results/activations/{model}/{dataset}/{shard}-of-{shards}/attention_counts.parquet",
    log:
        "logs/extract_activations/{model}/{dataset}/{shard}-of-{shards}.log",
    benchmark:
        "logs/benchmarks/extract_activations/{model}/{dataset}/{shard}-of-{shards}.tsv"
    # Long, and much waits for it: started first, it never runs alone at the end.
    priority: 1
    threads: CONFIG.compute.threads
    resources:
        **planned("extract_activations", CONFIG),
    params:
        *stage_code("extract_activations"),
        settings=extraction_settings,
    shell:
        stage_command("extract_activations")


rule spline_features:
    """The seven spline features of every layer and text."""
    input:
        traces=shard_files("traces"),
    output:
        features="results/geometry/{model}/{dataset}/spline_features.parquet",
    log:
        "logs/spline_features/{model}/{dataset}.log",
    benchmark:
        "logs/benchmarks/spline_features/{model}/{dataset}.tsv"
    resources:
        **planned("spline_features", CONFIG),
    params:
        *stage_code("spline_features"),
        settings=settings_json(spline_features=GEOMETRY.spline_features),
    shell:
        stage_command("spline_features")


rule intrinsic_dimension:
    """Attention intrinsic dimension of every layer and text, summed over heads."""
    input:
        attention_counts=shard_files("attention_counts"),
    output:
        intrinsic_dimension="results/geometry/{model}/{dataset}/intrinsic_dimension.parquet",
    log:
        "logs/intrinsic_dimension/{model}/{dataset}.log",
    benchmark:
        "logs/benchmarks/intrinsic_dimension/{model}/{dataset}.tsv"
    resources:
        **planned("intrinsic_dimension", CONFIG),
    params:
        *stage_code("intrinsic_dimension"),
        settings=settings_json(intrinsic_dimension=GEOMETRY.intrinsic_dimension),
    shell:
        stage_command("intrinsic_dimension")


rule check_geometry:
    """The experiments on a few texts: the theory checked, inserts traced, prompts asked."""
    input:
        model_parts("{model}"),
        model="results/models/{model}/provenance.json",
        texts=expand("results/data/{dataset}.parquet", dataset=DATASETS),
        insert_texts=own_texts(GEOMETRY.inserts),
        prompt_texts=own_texts(GEOMETRY.prompts),
    output:
        hull_checks=of_datasets("hull_checks"),
        region_checks=of_datasets("region_checks"),
        prefix_features="results/geometry/{model}/inserts/prefix_features.parquet",
        insert_starts="results/geometry/{model}/inserts/insert_starts.parquet",
        prompts="results/geometry/{model}/prompts/prompts.parquet",
        prompt_dimension="results/geometry/{model}/prompts/prompt_dimension.parquet",
    log:
        "logs/check_geometry/{model}.log",
    benchmark:
        "logs/benchmarks/check_geometry/{model}.tsv"
    # Long, or a long job waits for it: begun late, that would run alone at the end.
    priority: 1
    threads: CONFIG.compute.threads
    resources:
        **planned("check_geometry", CONFIG),
    params:
        *stage_code("check_geometry"),
        settings=experiment_settings,
    shell:
        stage_command("check_geometry")


rule prompt_outcomes:
    """Judge the answers with trained classifiers; correlate dimension with what came out."""
    input:
        prompts="results/geometry/{model}/prompts/prompts.parquet",
        prompt_dimension="results/geometry/{model}/prompts/prompt_dimension.parquet",
        texts=[f"results/data/{scorer.dataset}.parquet" for scorer in SCORERS],
    output:
        prompt_outcomes="results/geometry/{model}/prompts/prompt_outcomes.parquet",
        answer_scorers="results/geometry/{model}/prompts/answer_scorers.parquet",
        prompt_correlations="results/geometry/{model}/prompts/prompt_correlations.parquet",
    log:
        "logs/prompt_outcomes/{model}.log",
    benchmark:
        "logs/benchmarks/prompt_outcomes/{model}.tsv"
    resources:
        **planned("prompt_outcomes", CONFIG),
    params:
        *stage_code("prompt_outcomes"),
        settings=settings_json(seed=CONFIG.seed, scorers=SCORERS),
    shell:
        stage_command("prompt_outcomes")


rule conclude_geometry:
    """What the paper says about dimension and regions, what was measured, and the figures."""
    input:
        tables=[
            per_dataset("spline_features"),
            per_dataset("intrinsic_dimension"),
            per_dataset("hull_checks"),
            per_dataset("region_checks"),
            per_model("inserts/prefix_features"),
            per_model("inserts/insert_starts"),
            per_model("prompts/prompts"),
            per_model("prompts/prompt_dimension"),
            per_model("prompts/prompt_outcomes"),
            per_model("prompts/answer_scorers"),
            per_model("prompts/prompt_correlations"),
        ],
    output:
        claims="results/geometry/claims.parquet",
        figures=report(
            directory("results/figures/geometry"),
            patterns=["{name}.png"],
            caption="../workflow/report/geometry.rst",
            category="Geometry",
        ),
    log:
        "logs/conclude_geometry.log",
    benchmark:
        "logs/benchmarks/conclude_geometry.tsv"
    resources:
        **planned("conclude_geometry", CONFIG),
    params:
        *stage_code("conclude_geometry"),
        settings=settings_json(seed=CONFIG.seed, models=MODELS, datasets=DATASETS),
    shell:
        stage_command("conclude_geometry")


rule geometry:
    """The geometry study: features, dimensions, checks, prompts, figures and claims."""
    input:
        per_dataset("spline_features"),
        per_dataset("intrinsic_dimension"),
        "results/geometry/claims.parquet",
        "results/figures/geometry",
