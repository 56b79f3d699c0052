"""Every page has a place in the site's navigation, and the site is built without a warning."""

import os
import subprocess
import sys

import pytest
import yaml

from tests.workflow.project import ROOT


def places(entries):
    for entry in entries:
        (value,) = entry.values()
        yield from [value] if isinstance(value, str) else places(value)


def test_every_page_has_a_place_in_the_navigation():
    site = yaml.safe_load((ROOT / "mkdocs.yml").read_text())
    named = list(places(site["nav"]))
    pages = {file.relative_to(ROOT / "docs").as_posix() for file in ROOT.glob("docs/**/*.md")}
    assert pages <= set(named), "a page of docs/ that mkdocs.yml does not name"
    assert len(named) == len(set(named))
    outside = {"index.md", "contributing.md", "changelog.md", "configuration.md"}
    assert set(named) - pages == outside


def test_the_site_is_built_and_a_warning_is_an_error(tmp_path):
    pytest.importorskip("mkdocs", reason="in envs/docs.lock; `make site` installs it")
    build = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(build, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    home = (tmp_path / "index.html").read_text()
    assert 'href="tutorial/"' in home
    assert "docs/tutorial.md" not in home, "links lead to pages of the site"
