# What later layers still need of a prompt: manipulations of previous tokens, swept over layers.
PATCHING = CONFIG.patching


# The table of the data set that a task reads; none where it makes its own examples.
patching_source = lambda wildcards: (
    expand(
        "results/data/{name}.parquet",
        name=(PATCHING.task(wildcards.task).data or [])[1:],
    )
)

# What the examples of a task depend on.
patching_task_settings = lambda wildcards: (
    settings_json(
        seed=CONFIG.seed,
        task=PATCHING.task(wildcards.task),
        manipulations=PATCHING.task_manipulations(wildcards.task),
    )
)

# What the sweeps of a task depend on.
patching_sweep_settings = lambda wildcards: (
    settings_json(
        seed=CONFIG.seed,
        precision=CONFIG.precision,
        task=PATCHING.task(wildcards.task),
        manipulations=PATCHING.task_manipulations(wildcards.task),
        layers=PATCHING.layers,
        method=PATCHING.method,
    )
)

# One table of every model and task, model by model.
per_patching_run = lambda table: (
    expand(
        "results/patching/{model}/{task}/{table}.parquet",
        model=MODELS,
        task=[task.name for task in PATCHING.tasks],
        table=table,
    )
)


rule build_tasks:
    """Examples, switch pairs and chance floors of a patching task, and what could not be used."""
    input:
        model_parts("{model}"),
        model="results/models/{model}/provenance.json",
        source=patching_source,
    output:
        examples="results/patching/{model}/{task}/examples.parquet",
        pairs="results/patching/{model}/{task}/pairs.parquet",
        floors="results/patching/{model}/{task}/floors.parquet",
        intake="results/patching/{model}/{task}/intake.parquet",
    log:
        "logs/build_tasks/{model}/{task}.log",
    benchmark:
        "logs/benchmarks/build_tasks/{model}/{task}.tsv"
    # Long, or a long job waits for it: begun late, that would run alone at the end.
    priority: 1
    resources:
        **planned("build_tasks", CONFIG),
    params:
        *stage_code("build_tasks"),
        settings=patching_task_settings,
    shell:
        stage_command("build_tasks")


rule sweep_layers:
    """The clean model and every manipulation of previous tokens at every layer, one load each task."""
    input:
        model_parts("{model}"),
        model="results/models/{model}/provenance.json",
        examples="results/patching/{model}/{task}/examples.parquet",
        pairs="results/patching/{model}/{task}/pairs.parquet",
    output:
        sweeps="results/patching/{model}/{task}/sweeps.parquet",
    log:
        "logs/sweep_layers/{model}/{task}.log",
    benchmark:
        "logs/benchmarks/sweep_layers/{model}/{task}.tsv"
    # Long, so never last.
    priority: 1
    threads: CONFIG.compute.threads
    resources:
        **planned("sweep_layers", CONFIG),
    params:
        *stage_code("sweep_layers"),
        settings=patching_sweep_settings,
    shell:
        stage_command("sweep_layers")


rule summarise_sweeps:
    """Score curves with intervals, and the layers at which they change."""
    input:
        floors="results/patching/{model}/{task}/floors.parquet",
        sweeps="results/patching/{model}/{task}/sweeps.parquet",
    output:
        curves="results/patching/{model}/{task}/curves.parquet",
        depths="results/patching/{model}/{task}/depths.parquet",
    log:
        "logs/summarise_sweeps/{model}/{task}.log",
    benchmark:
        "logs/benchmarks/summarise_sweeps/{model}/{task}.tsv"
    resources:
        **planned("summarise_sweeps", CONFIG),
    params:
        *stage_code("summarise_sweeps"),
        settings=settings_json(seed=CONFIG.seed, summary=PATCHING.summary),
    shell:
        stage_command("summarise_sweeps")


rule conclude_patching:
    """What the paper says about previous tokens, what was measured, and the figures."""
    input:
        project_files(package_files("patching")),
        tables=[
            per_patching_run("curves"),
            per_patching_run("depths"),
            per_patching_run("sweeps"),
            per_patching_run("intake"),
            per_patching_run("examples"),
            per_patching_run("pairs"),
        ],
    output:
        claims="results/patching/claims.parquet",
        figures=report(
            directory("results/figures/patching"),
            patterns=["{name}.png"],
            caption="../workflow/report/patching.rst",
            category="Patching",
        ),
    log:
        "logs/conclude_patching.log",
    benchmark:
        "logs/benchmarks/conclude_patching.tsv"
    resources:
        **planned("conclude_patching", CONFIG),
    params:
        *stage_code("conclude_patching"),
        settings=settings_json(models=MODELS, patching=CONFIG.patching),
    shell:
        stage_command("conclude_patching")


rule patching:
    """The patching study: sweeps over every layer, curves, depths, figures and claims."""
    input:
        per_patching_run("curves"),
        per_patching_run("depths"),
        "results/patching/claims.parquet",
        "results/figures/patching",
