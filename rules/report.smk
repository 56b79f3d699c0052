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
        "python -m llm_anatomy.stages.gather_claims --settings {params.settings:q} "
        "--claims {input.claims:q} --gathered {output.gathered:q} --log {log:q}"


rule report:
    """One self-contained page with every figure, table, claim and hash: results/report.html."""
    input:
        figures=expand("results/figures/{study}", study=PICKED_STUDIES),
        tables=shown_tables(),
        claims="results/claims.parquet",
        models=expand("results/models/{model}/provenance.json", model=MODELS),
        intakes=expand(
            "results/data/{dataset}.intake.parquet", dataset=DATASETS + RELATIONS
        ),
        lock=lock_file(),
        templates=project_files(package_files("report/templates")),
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
        "python -m llm_anatomy.stages.report --settings {params.settings:q} "
        "--figures {input.figures:q} --claims {input.claims:q} --models {input.models:q} "
        "--intakes {input.intakes:q} --lock {input.lock:q} --report {output.report:q} --log {log:q}"
