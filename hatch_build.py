"""What a wheel carries beside the package; hatchling asks this file while it builds one."""

from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

# In the layout of the repository, so that paths from one to the other hold.
PIPELINE = (
    "Snakefile",
    "rules",
    "config",
    "profiles",
    "envs",
    "workflow/Snakefile",
    "workflow/report",
)


class Pipeline(BuildHookInterface[Any]):
    """A run needs no clone: rules, configurations, profiles and locks lie inside the package."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add the files, but not to an editable install: there they stand beside the package."""
        if version != "editable":
            inside = {f"{self.root}/{part}": f"llm_anatomy/pipeline/{part}" for part in PIPELINE}
            build_data["force_include"].update(inside)
