# LLM Anatomy: takes a decoder language model apart in four ways.
#
# Results lie at results/{study}/{model}/{dataset, task or relation}/{table}.parquet; docs/tables.md
# says what every column means, and `snakemake --list-target-rules` what can be asked for.
from snakemake.utils import min_version

min_version("9.20")


include: "rules/common.smk"


rule all:
    """Every study that the configuration names, and the report."""
    default_target: True
    input:
        [],
