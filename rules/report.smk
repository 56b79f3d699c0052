# Claims of every picked study in one table, and the report.
PICKED_STUDIES = CONFIG.picked_studies


def lock_file():
    """The locked package versions, of this checkout or of the workflow that it imports."""
    own = Path("envs/requirements.lock")
    return (
        project_files(str(own))
        if own.exists()
        else workflow.source_path("../envs/requirements.lock")
    )


def shown_tables():
    """The tables that figures are made from, of which the report shows rows."""
    return [
        file
        for study in PICKED_STUDIES
        for file in getattr(rules, f"figures_{study}").input
        if file.endswith(".parquet")
    ]


rule gather_claims:
    """Join the claims of every picked study into one table."""
    input:
        claims=expand("results/{study}/claims.parquet", study=PICKED_STUDIES),
    output:
        gathered="results/claims.parquet",
    log:
        "logs/gather_claims.log",
    benchmark:
        "logs/benchmarks/gather_claims.tsv"
    resources:
        **planned("gather_claims", CONFIG),
    params:
        *stage_code("gather_claims"),
        settings=settings_json(),
    shell:
        stage_command("gather_claims")


rule report:
    """One self-contained page with every figure, table, claim and hash: results/report.html."""
    input:
        shown_tables(),
        project_files(package_files("report/templates")),
        figures=expand("results/figures/{study}", study=PICKED_STUDIES),
        claims="results/claims.parquet",
        models=expand("results/models/{model}/provenance.json", model=MODELS),
        intakes=expand(
            "results/data/{dataset}.intake.parquet", dataset=DATASETS + RELATIONS
        ),
        lock=lock_file(),
    output:
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
