# The manifest of everything that the configuration asks for.
STUDY_RESULTS = [getattr(rules, study).input for study in CONFIG.studies]


rule write_manifest:
    """Hash, rule, inputs, parameters and code of every result; `make verify` checks them."""
    input:
        STUDY_RESULTS,
        report="results/report.html",
        code=module_files("llm_anatomy.stages.write_manifest"),
    output:
        manifest="results/manifest.json",
    log:
        "logs/write_manifest.log",
    benchmark:
        "logs/benchmarks/write_manifest.tsv"
    resources:
        **planned("write_manifest", CONFIG),
    params:
        settings=settings_json(),
    shell:
        "python -m llm_anatomy.stages.write_manifest --settings {params.settings:q} "
        "--manifest {output.manifest:q} --log {log:q}"
