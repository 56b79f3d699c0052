# The validated configuration, and the functions that every rule file shares.
import os
import sys
from pathlib import Path

from llm_anatomy.config.file import check_file
from llm_anatomy.config.load import load_configuration
from llm_anatomy.errors import UserError
from llm_anatomy.rulebook.checks import check_disk
from llm_anatomy.rulebook.commands import complete_rules, stage_command
from llm_anatomy.rulebook.code import code_parameters, package_files
from llm_anatomy.plan.resources import planned
from llm_anatomy.artefacts.results import PLACES_VARIABLE
from llm_anatomy.rulebook.environment import stage_environment
from llm_anatomy.rulebook.private import (
    files_behind,
    named_configfiles,
    project_files,
    read_configfiles,
    starts_the_run,
    storage_places,
)
from llm_anatomy.rulebook.settings import settings_json

# A configuration file that the user names stands for itself: merging the default file into it
# would keep the default models and datasets beside the user's own.
DEFAULT_CONFIG = "config/config.yaml"
if not Path(DEFAULT_CONFIG).exists():
    DEFAULT_CONFIG = workflow.source_path("../config/config.yaml")
try:
    for name in named_configfiles(workflow) or [DEFAULT_CONFIG]:
        check_file(Path(name))
except UserError as error:
    sys.exit(f"Error: {error}")
if not named_configfiles(workflow):

    configfile: DEFAULT_CONFIG


def validated_configuration():
    """The configuration, or one sentence that says what is wrong with it and exit status 1."""
    files = [Path(name) for name in read_configfiles(workflow)]
    try:
        source = ", ".join(map(display_path, files)) or "configuration"
        configuration = load_configuration(config, source)
        # A job on another machine need not see every file, and checked once is enough.
        if starts_the_run(workflow):
            check_disk(configuration, source)
        return configuration
    except UserError as error:
        sys.exit(f"Error: {error}")


def display_path(path):
    """A path as the user would type it from the working directory."""
    return os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)


def stage_code(stage):
    """The modules that a stage imports, with their hashes."""
    return code_parameters(f"llm_anatomy.stages.{stage}")


def model_parts(model):
    """What belongs to a model beside its provenance, which holds the hashes of all of it, so that
    times do not count. In object storage a job sees no file that it does not name."""
    folder = f"results/models/{model}"
    return ancient([f"{folder}/architecture.json", f"{folder}/weights"])


CONFIG = validated_configuration()
MODELS = CONFIG.model_names
DATASETS = CONFIG.dataset_names
RELATIONS = CONFIG.relation_names

NAMED_FILES = [display_path(Path(name)) for name in named_configfiles(workflow)]
os.environ.update(stage_environment(CONFIG.compute, NAMED_FILES))


# Names never hold a slash, so that every results path has one reading. Before the first rule,
# because with object storage later constraints make Snakemake forget those of earlier rules.
wildcard_constraints:
    model=r"[^/]+",
    dataset=r"[^/]+",
    relation=r"[^/]+",
    task=r"[^/]+",
    shard=r"\d+",
    shards=r"\d+",
