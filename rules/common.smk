# The validated configuration, and the functions that every rule file shares.
import json
import os
import sys
from pathlib import Path

from llm_anatomy.config.load import check_file, load_configuration
from llm_anatomy.errors import UserError
from llm_anatomy.modules import module_files
from llm_anatomy.runner import COMPUTE_VARIABLE

# A configuration file that the user names stands for itself: merging the default file into it
# would keep the default models and datasets beside the user's own.
DEFAULT_CONFIG = "config/config.yaml"
if not Path(DEFAULT_CONFIG).exists():
    DEFAULT_CONFIG = workflow.source_path("../config/config.yaml")
if not workflow.overwrite_configfiles:

    configfile: DEFAULT_CONFIG


def validated_configuration():
    """The configuration, or one sentence that says what is wrong with it and exit status 1."""
    files = [Path(name) for name in workflow.configfiles]
    try:
        for file in files:
            check_file(file)
        return load_configuration(config, source=", ".join(map(display_path, files)))
    except UserError as error:
        sys.exit(f"Error: {error}")


def display_path(path):
    """A path as the user would type it from the working directory."""
    return os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)


CONFIG = validated_configuration()
MODELS = [model.name for model in CONFIG.models]
DATASETS = [dataset.name for dataset in CONFIG.datasets if dataset.kind == "texts"]
RELATIONS = [dataset.name for dataset in CONFIG.datasets if dataset.kind == "relation"]

# Where and how fast things run reaches the stages beside the rules, so that it reruns nothing.
os.environ[COMPUTE_VARIABLE] = CONFIG.compute.model_dump_json()
# `.venv/bin/snakemake` works without activating the environment: stages run in the same one.
os.environ["PATH"] = os.pathsep.join(
    [str(Path(sys.executable).parent), os.environ.get("PATH", "")]
)


# Names never hold a slash, so that every results path has one reading.
wildcard_constraints:
    model=r"[^/]+",
    dataset=r"[^/]+",
    relation=r"[^/]+",
    task=r"[^/]+",


def settings_json(**sections):
    """The settings of a stage as one deterministic line: exactly the sections that it reads."""
    return json.dumps(
        {
            name: (
                section.model_dump(mode="json")
                if hasattr(section, "model_dump")
                else section
            )
            for name, section in sections.items()
        },
        sort_keys=True,
        ensure_ascii=False,
    )


def growing(amount):
    """A resource that grows with every attempt, such as `mem_mb=growing(2000)`."""

    def with_attempt(wildcards, attempt):
        return amount * attempt

    return with_attempt
