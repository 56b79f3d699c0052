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


rule report:
    """Every claim in one table, and one page with every figure, table, claim and hash."""
    input:
        shown_tables(),
        project_files(package_files("report/templates")),
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
