# Input functions and settings of rules/report.smk.
from llm_anatomy.config.root import ALL_STUDIES
from llm_anatomy.modules import package_root

# In reading order, whatever the order in the configuration.
PICKED_STUDIES = [study for study in ALL_STUDIES if study in CONFIG.studies]


def shown_configuration():
    """What the report shows of the configuration: all that can change one of its numbers."""
    left_out = {"compute"} | (set(ALL_STUDIES) - set(PICKED_STUDIES))
    return CONFIG.model_dump(mode="json", exclude=left_out)


def lock_file():
    """The locked package versions, of this checkout or of the workflow that it imports."""
    local = Path("envs/requirements.lock")
    return (
        str(local)
        if local.exists()
        else workflow.source_path("../../envs/requirements.lock")
    )


def template_files():
    """The page's template and style sheet, which no import names."""
    folder = package_root() / "report" / "templates"
    return sorted(display_path(path) for path in folder.iterdir())
