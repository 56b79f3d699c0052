# Input functions and settings of rules/report.smk.
from llm_anatomy.config.root import ALL_STUDIES

# In reading order, whatever the order in the configuration.
PICKED_STUDIES = [study for study in ALL_STUDIES if study in CONFIG.studies]


def shown_configuration():
    """What the report shows of the configuration: all that can change one of its numbers."""
    left_out = {"compute"} | (set(ALL_STUDIES) - set(PICKED_STUDIES))
    return CONFIG.model_dump(mode="json", exclude=left_out)


def lock_file():
    """The locked package versions, of this checkout or of the workflow that it imports."""
    own = Path("envs/requirements.lock")
    return (
        project_files(str(own))
        if own.exists()
        else workflow.source_path("../../envs/requirements.lock")
    )


def shown_tables():
    """The tables that figures are made from, of which the report shows rows."""
    return [
        file
        for study in PICKED_STUDIES
        for file in getattr(rules, f"conclude_{study}").input
        if file.endswith(".parquet")
    ]
