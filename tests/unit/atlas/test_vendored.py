"""The libraries of the pages: pinned, whole, with their licences; the page loads no other."""

import re
import shutil

import pytest
from llm_anatomy.atlas.page import SCRIPTS, SITE, content_policy, page_html, write_assets
from llm_anatomy.report.vendored import VENDOR, differences, libraries, vendored_files


def test_every_vendored_file_is_the_one_that_was_pinned():
    assert list(differences()) == []


@pytest.mark.parametrize("change", ["shorter", "other", "missing"])
def test_a_changed_file_is_named(tmp_path, change):
    folder = tmp_path / "vendor"
    shutil.copytree(VENDOR, folder)
    file = folder / vendored_files("atlas")[0]
    if change == "missing":
        file.unlink()
    else:
        content = file.read_bytes()
        file.write_bytes(content[:-1] if change == "shorter" else content[:-1] + b" ")
    assert [file.name in sentence for sentence in differences(folder)] == [True]


def test_nothing_lies_beside_the_pinned_files_and_each_library_has_its_licence():
    pinned = {file["name"] for library in libraries() for file in library["files"]}
    assert {path.name for path in VENDOR.iterdir()} == pinned | {"vendored.json"}
    for library in libraries():
        (licence,) = [f["name"] for f in library["files"] if f["name"].endswith("LICENSE")]
        text = (VENDOR / licence).read_text(encoding="utf-8")
        assert "Copyright" in text
        assert library["licence"] in ("ISC", "MIT")
        assert re.fullmatch(r"\d+\.\d+\.\d+", library["version"])


def test_the_page_loads_what_the_assets_hold_and_every_script_is_loaded(tmp_path):
    write_assets(tmp_path, ["m"], ["neurons"])
    page = page_html(["m"], ["neurons"])
    loaded = re.findall(r'(?:src|href)="assets/([^"]+)"', page)
    assert all((tmp_path / name).is_file() for name in loaded)
    assert {path.stem for path in SITE.glob("*.js")} == set(SCRIPTS)
    assert {f"{name}.js" for name in SCRIPTS} <= set(loaded)


def test_names_are_escaped_in_the_page_and_it_holds_no_script_of_its_own():
    page = page_html(["</title><script>alert(1)</script>"], ["neurons"])
    assert "<script>" not in page
    assert "&lt;script&gt;alert(1)" in page
    assert re.findall(r"<script(?![^>]* src=)", page) == []
    assert " on" not in re.sub(r">[^<]*<", "><", page)


def test_the_policy_lets_no_inline_script_and_no_other_machine_in():
    policy = dict(rule.split(" ", 1) for rule in content_policy().split("; "))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == "'self' file:"
    assert "unsafe" not in content_policy()
    assert "http" not in content_policy()
