# Toxicity detection and classification: spline features beside baselines, on the same folds.
#
# Runs on every text dataset that has labels; a dataset without any takes no part.
TOXICITY = CONFIG.toxicity
LABELLED = CONFIG.labelled_datasets
HUB_CLASSIFIERS = [classifier.name for classifier in TOXICITY.baselines.hub_classifiers]


# One table of every model and labelled dataset, model by model.
toxicity_tables = lambda name, datasets=LABELLED: (
    expand(
        "results/toxicity/{model}/{dataset}/{name}.parquet",
        model=MODELS,
        dataset=datasets,
        name=name,
    )
)

# One table of every labelled dataset.
fold_tables = lambda name: (
    expand(
        "results/toxicity/folds/{dataset}/{name}.parquet", dataset=LABELLED, name=name
    )
)

# Where a classifier from the hub lies once it is fetched; nothing for one of the user's own.
fetched_classifier = lambda wildcards: (
    f"results/toxicity/classifiers/{wildcards.classifier}"
    if TOXICITY.hub_classifier(wildcards.classifier).hub
    else []
)

# What the claims and the figures read beside the tables of every dataset.
HUB_METRICS = expand(
    "results/toxicity/folds/{dataset}/hub/{classifier}.metrics.parquet",
    dataset=LABELLED,
    classifier=HUB_CLASSIFIERS,
)
OTHER_TABLES = toxicity_tables("early_exit", LABELLED[:1]) + [
    f"results/toxicity/{model}/{pair.dataset}/hard_negatives/{pair.easy}.parquet"
    for model in MODELS
    for pair in CONFIG.hard_negatives
]


rule split_texts:
    """Find copies among a dataset's texts and assign every labelled text to a test fold."""
    input:
        texts="results/data/{dataset}.parquet",
    output:
        folds="results/toxicity/folds/{dataset}/folds.parquet",
        labels="results/toxicity/folds/{dataset}/labels.parquet",
        duplicates="results/toxicity/folds/{dataset}/duplicates.parquet",
    log:
        "logs/split_texts/{dataset}.log",
    benchmark:
        "logs/benchmarks/split_texts/{dataset}.tsv"
    resources:
        **planned("split_texts", CONFIG),
    params:
        *stage_code("split_texts"),
        settings=settings_json(seed=CONFIG.seed, folds=TOXICITY.folds),
    shell:
        stage_command("split_texts")


rule detect_toxicity:
    """Out-of-fold metrics of the classifiers and the baselines, and the detector that is kept."""
    input:
        texts="results/data/{dataset}.parquet",
        folds="results/toxicity/folds/{dataset}/folds.parquet",
        spline_features="results/geometry/{model}/{dataset}/spline_features.parquet",
        intrinsic_dimension="results/geometry/{model}/{dataset}/intrinsic_dimension.parquet",
        states=shard_files("states"),
    output:
        predictions="results/toxicity/{model}/{dataset}/predictions.parquet",
        metrics="results/toxicity/{model}/{dataset}/metrics.parquet",
        choices="results/toxicity/{model}/{dataset}/choices.parquet",
        detector="results/toxicity/{model}/{dataset}/detector.safetensors",
    log:
        "logs/detect_toxicity/{model}/{dataset}.log",
    benchmark:
        "logs/benchmarks/detect_toxicity/{model}/{dataset}.tsv"
    threads: CONFIG.compute.threads
    resources:
        **planned("detect_toxicity", CONFIG),
    params:
        *stage_code("detect_toxicity"),
        settings=lambda wildcards: settings_json(
            seed=CONFIG.seed,
            dataset=wildcards.dataset,
            folds=TOXICITY.folds,
            classifiers=TOXICITY.classifiers,
            baselines=TOXICITY.baselines.model_dump(
                mode="json", exclude={"hub_classifiers"}
            ),
            scoring=TOXICITY.scoring,
            early_exit=TOXICITY.early_exit.model_dump(
                mode="json", include={"n_layers"}
            ),
            detector=TOXICITY.detector,
        ),
    shell:
        stage_command("detect_toxicity")


rule probe_features:
    """What parts of the spline features carry, what few labels suffice for, and maps."""
    input:
        folds="results/toxicity/folds/{dataset}/folds.parquet",
        spline_features="results/geometry/{model}/{dataset}/spline_features.parquet",
    output:
        ablations="results/toxicity/{model}/{dataset}/ablations.parquet",
        self_training="results/toxicity/{model}/{dataset}/self_training.parquet",
        maps="results/toxicity/{model}/{dataset}/maps.parquet",
    log:
        "logs/probe_features/{model}/{dataset}.log",
    benchmark:
        "logs/benchmarks/probe_features/{model}/{dataset}.tsv"
    threads: CONFIG.compute.threads
    resources:
        **planned("probe_features", CONFIG),
    params:
        *stage_code("probe_features"),
        settings=settings_json(
            seed=CONFIG.seed,
            folds=TOXICITY.folds,
            classifiers=TOXICITY.classifiers,
            scoring=TOXICITY.scoring,
            ablations=TOXICITY.ablations,
            self_training=TOXICITY.self_training,
            maps=TOXICITY.maps,
        ),
    shell:
        stage_command("probe_features")


rule compare_negatives:
    """One label against hard negatives of its own source and easy ones of another."""
    input:
        folds="results/toxicity/folds/{dataset}/folds.parquet",
        texts="results/data/{dataset}.parquet",
        spline_features="results/geometry/{model}/{dataset}/spline_features.parquet",
        easy_texts="results/data/{easy}.parquet",
        easy_spline_features="results/geometry/{model}/{easy}/spline_features.parquet",
    output:
        metrics="results/toxicity/{model}/{dataset}/hard_negatives/{easy}.parquet",
    log:
        "logs/compare_negatives/{model}/{dataset}/{easy}.log",
    benchmark:
        "logs/benchmarks/compare_negatives/{model}/{dataset}/{easy}.tsv"
    threads: CONFIG.compute.threads
    resources:
        **planned("compare_negatives", CONFIG),
    params:
        *stage_code("compare_negatives"),
        settings=lambda wildcards: settings_json(
            seed=CONFIG.seed,
            folds=TOXICITY.folds,
            classifiers=TOXICITY.classifiers,
            scoring=TOXICITY.scoring,
            comparison=TOXICITY.comparison(wildcards.dataset, wildcards.easy),
        ),
    shell:
        stage_command("compare_negatives")


rule transfer_detector:
    """Train on one dataset and test on another; shared texts are an error unless allowed."""
    input:
        train_texts="results/data/{train}.parquet",
        train_folds="results/toxicity/folds/{train}/folds.parquet",
        train_features="results/geometry/{model}/{train}/spline_features.parquet",
        test_texts="results/data/{test}.parquet",
        test_features="results/geometry/{model}/{test}/spline_features.parquet",
    output:
        metrics="results/toxicity/{model}/transfer/{train}-to-{test}/metrics.parquet",
        overlap="results/toxicity/{model}/transfer/{train}-to-{test}/overlap.parquet",
    log:
        "logs/transfer_detector/{model}/{train}-to-{test}.log",
    benchmark:
        "logs/benchmarks/transfer_detector/{model}/{train}-to-{test}.tsv"
    threads: CONFIG.compute.threads
    resources:
        **planned("transfer_detector", CONFIG),
    params:
        *stage_code("transfer_detector"),
        settings=lambda wildcards: settings_json(
            seed=CONFIG.seed,
            folds=TOXICITY.folds,
            classifiers=TOXICITY.classifiers,
            scoring=TOXICITY.scoring,
            transfer=TOXICITY.given_split(wildcards.train, wildcards.test),
        ),
    shell:
        stage_command("transfer_detector")


rule fetch_classifier:
    """Fetch a text classifier from the Hugging Face hub."""
    output:
        weights=directory("results/toxicity/classifiers/{classifier}"),
    log:
        "logs/fetch_classifier/{classifier}.log",
    benchmark:
        "logs/benchmarks/fetch_classifier/{classifier}.tsv"
    wildcard_constraints:
        classifier=one_of(HUB_CLASSIFIERS),
    resources:
        **planned("fetch_classifier", CONFIG),
    params:
        *stage_code("fetch_classifier"),
        settings=lambda wildcards: settings_json(
            classifier=TOXICITY.hub_classifier(wildcards.classifier)
        ),
    shell:
        stage_command("fetch_classifier")


rule score_hub_classifier:
    """Compare with a Hugging Face text classifier, by its score."""
    input:
        texts="results/data/{dataset}.parquet",
        folds="results/toxicity/folds/{dataset}/folds.parquet",
        fetched=fetched_classifier,
    output:
        scores="results/toxicity/folds/{dataset}/hub/{classifier}.scores.parquet",
        metrics="results/toxicity/folds/{dataset}/hub/{classifier}.metrics.parquet",
    log:
        "logs/score_hub_classifier/{dataset}/{classifier}.log",
    benchmark:
        "logs/benchmarks/score_hub_classifier/{dataset}/{classifier}.tsv"
    threads: CONFIG.compute.threads
    resources:
        **planned("score_hub_classifier", CONFIG),
    params:
        *stage_code("score_hub_classifier"),
        settings=lambda wildcards: settings_json(
            seed=CONFIG.seed,
            scoring=TOXICITY.scoring,
            classifier=TOXICITY.hub_classifier(wildcards.classifier),
        ),
    shell:
        stage_command("score_hub_classifier")


rule time_early_exit:
    """What reading the first layers costs, beside the plain pass, one text at a time."""
    input:
        model_parts("{model}"),
        model="results/models/{model}/provenance.json",
        texts="results/data/{dataset}.parquet",
    output:
        early_exit="results/toxicity/{model}/{dataset}/early_exit.parquet",
    log:
        "logs/time_early_exit/{model}/{dataset}.log",
    benchmark:
        "logs/benchmarks/time_early_exit/{model}/{dataset}.tsv"
    threads: CONFIG.compute.threads
    resources:
        **planned("time_early_exit", CONFIG),
    params:
        *stage_code("time_early_exit"),
        settings=settings_json(
            seed=CONFIG.seed,
            precision=CONFIG.precision,
            max_length=CONFIG.geometry.extraction.max_length,
            early_exit=TOXICITY.early_exit,
        ),
    shell:
        stage_command("time_early_exit")


rule conclude_toxicity:
    """The paper's claims on detection, what was measured here, and the figures."""
    input:
        tables=[
            fold_tables("folds"),
            fold_tables("labels"),
            fold_tables("duplicates"),
            expand("results/data/{dataset}.parquet", dataset=LABELLED),
            toxicity_tables("predictions"),
            toxicity_tables("metrics"),
            toxicity_tables("ablations"),
            toxicity_tables("self_training"),
            toxicity_tables("maps"),
            HUB_METRICS,
            OTHER_TABLES,
        ],
    output:
        claims="results/toxicity/claims.parquet",
        figures=report(
            directory("results/figures/toxicity"),
            patterns=["{name}.png"],
            caption="../workflow/report/toxicity.rst",
            category="Toxicity",
        ),
    log:
        "logs/conclude_toxicity.log",
    benchmark:
        "logs/benchmarks/conclude_toxicity.tsv"
    resources:
        **planned("conclude_toxicity", CONFIG),
    params:
        *stage_code("conclude_toxicity"),
        settings=settings_json(
            models=MODELS,
            datasets=LABELLED,
            hub_classifiers=HUB_CLASSIFIERS,
            comparisons=[(pair.dataset, pair.easy) for pair in CONFIG.hard_negatives],
        ),
    shell:
        stage_command("conclude_toxicity")


rule toxicity:
    """The toxicity study: detection, baselines, ablations, detector, figures and claims."""
    input:
        expand(
            "results/toxicity/{model}/{dataset}/detector.safetensors",
            model=MODELS,
            dataset=LABELLED,
        ),
        [
            f"results/toxicity/{model}/transfer/{pair.train}-to-{pair.test}/metrics.parquet"
            for model in MODELS
            for pair in TOXICITY.transfer
        ],
        "results/toxicity/claims.parquet",
        "results/figures/toxicity",
