"""One whole run of a tiny model, shared by the tests that look at what it left."""

import pytest

from tests.workflow.project import Project
from tests.workflow.tiny_run import write_tiny_run


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """A copy of the project in which everything that a user can ask for was made."""
    project = Project.copy(tmp_path_factory.mktemp("project"))
    write_tiny_run(project.folder)
    project.run()
    return project
