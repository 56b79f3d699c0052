# Claims of every picked study in one table, and the report.
include: "functions/report.smk"


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
        settings=settings_json(configuration=shown_configuration()),
    shell:
        stage_command("report")
