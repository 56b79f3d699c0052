"""The atlas's page: the frame around its views, and the scripts and styles beside it."""

import base64
import hashlib
import shutil
from collections.abc import Sequence
from pathlib import Path

import jinja2

from llm_anatomy.atlas.chunks import write_part
from llm_anatomy.report.vendored import VENDOR, vendored_files

SITE = Path(__file__).parent / "site"
# In the order in which they are run: what others call comes first.
SCRIPTS = (
    "core",
    "format",
    "table",
    "chart",
    "router",
    "search",
    "view-overview",
    "view-neurons",
    "view-neuron",
    "view-facts",
    "view-patching",
    "view-texts",
)
# Observable Plot puts this into every chart, with the class name that `chart.js` gives it.
PLOT_STYLE = """:where(.la-plot) {
  --plot-background: white;
  display: block;
  height: auto;
  height: intrinsic;
  max-width: 100%;
}
:where(.la-plot text),
:where(.la-plot tspan) {
  white-space: pre;
}"""


def page_html(models: Sequence[str], parts: Sequence[str]) -> str:
    """The page, the same for the same names; everything in it is escaped.

    Args:
        models: Models of the run.
        parts: Parts that every model has.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(SITE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
    )
    vendored = vendored_files("atlas")
    return environment.get_template("index.html.jinja").render(
        policy=content_policy(),
        models=models,
        parts=parts,
        styles=[f"vendor/{name}" for name in vendored if name.endswith(".css")] + ["style.css"],
        scripts=[
            *(f"vendor/{name}" for name in vendored if name.endswith(".js")),
            *(f"{name}.js" for name in SCRIPTS),
        ],
    )


def content_policy() -> str:
    """What the page may load: scripts and styles beside it, and nothing from anywhere else.

    No script inside the page runs, whatever a table holds. `file:` stands for the page's own folder
    when it is opened from disk, where browsers do not agree on what `'self'` is.
    """
    digest = base64.b64encode(hashlib.sha256(PLOT_STYLE.encode()).digest()).decode()
    return (
        "default-src 'none'; script-src 'self' file:; "
        f"style-src 'self' file: 'sha256-{digest}'; img-src data:; base-uri 'none'; "
        "form-action 'none'"
    )


def write_assets(folder: Path, models: Sequence[str], parts: Sequence[str]) -> None:
    """Write what the page loads: its own scripts and style, the libraries with their licences.

    Args:
        folder: The folder `assets`, which exists.
        models: Models of the run.
        parts: Parts that every model has.
    """
    for name in ("style.css", *(f"{script}.js" for script in SCRIPTS)):
        shutil.copyfile(SITE / name, folder / name)
    (folder / "vendor").mkdir()
    for name in vendored_files("atlas", licences=True):
        shutil.copyfile(VENDOR / name, folder / "vendor" / name)
    write_part(folder, "assets", [("run", {"models": list(models), "parts": list(parts)})])
