# Claims of every picked study in one table, and the report.
PICKED_STUDIES = CONFIG.picked_studies


# The locked package versions, of this checkout or of the workflow that it imports.
lock_file = lambda: (
    project_files("envs/requirements.lock")
    if Path("envs/requirements.lock").exists()
    else workflow.source_path("../envs/requirements.lock")
)

# The tables that figures are made from, of which the report shows rows.
shown_tables = lambda: (
    [
        file
        for study in PICKED_STUDIES
        for file in getattr(rules, f"conclude_{study}").input
        if file.endswith(".parquet")
    ]
)


# What there is of layer-by-layer numbers; patching is shown by its first task.
layer_tables = lambda: [
    *(
        expand(
            "results/geometry/{model}/{dataset}/intrinsic_dimension.parquet",
            model=MODELS,
            dataset=DATASETS,
        )
        if "geometry" in PICKED_STUDIES
        else []
    ),
    *(
        expand("results/neurons/{model}/statistics.parquet", model=MODELS)
        if "neurons" in PICKED_STUDIES
        else []
    ),
    *(
        expand(
            "results/patching/{model}/{task}/curves.parquet",
            model=MODELS,
            task=PATCHING.tasks[0].name,
        )
        if "patching" in PICKED_STUDIES
        else []
    ),
    *(of_models("layer_summary") if "facts" in PICKED_STUDIES else []),
]


rule summarise_layers:
    """What each layer does in every study, as one table a model and one figure."""
    input:
        tables=layer_tables(),
    output:
        layers=expand("results/anatomy/{model}/layers.parquet", model=MODELS),
        figures=report(
            directory("results/figures/anatomy"),
            patterns=["{name}.png"],
            caption="../workflow/report/report.rst",
            category="Report",
        ),
    log:
        "logs/summarise_layers.log",
    benchmark:
        "logs/benchmarks/summarise_layers.tsv"
    resources:
        **planned("summarise_layers", CONFIG),
    params:
        *stage_code("summarise_layers"),
        settings=settings_json(
            models=MODELS,
            datasets=DATASETS if "geometry" in PICKED_STUDIES else [],
            task=PATCHING.tasks[0].name if "patching" in PICKED_STUDIES else None,
        ),
    shell:
        stage_command("summarise_layers")


rule report:
    """Every claim in one table, and one page with every figure, table, claim and hash."""
    input:
        shown_tables(),
        project_files(package_files("report/templates")),
        project_files(package_files("report/vendor")),
        expand("results/anatomy/{model}/layers.parquet", model=MODELS),
        anatomy="results/figures/anatomy",
        figures=expand("results/figures/{study}", study=PICKED_STUDIES),
        claims=expand("results/{study}/claims.parquet", study=PICKED_STUDIES),
        models=expand("results/models/{model}/provenance.json", model=MODELS),
        intakes=expand(
            "results/data/{dataset}.intake.parquet", dataset=DATASETS + RELATIONS
        ),
        lock=lock_file(),
    output:
        gathered="results/claims.parquet",
        report=report(
            "results/report.html",
            caption="../workflow/report/report.rst",
            category="Report",
        ),
    log:
        "logs/report.log",
    benchmark:
        "logs/benchmarks/report.tsv"
    resources:
        **planned("report", CONFIG),
    params:
        *stage_code("report"),
        settings=settings_json(configuration=CONFIG.shown()),
    shell:
        stage_command("report")
