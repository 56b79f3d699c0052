"""A real Chromium, driven by Playwright; no download: the browser is the system's own."""

import importlib.util
import shutil
import sys
import time
from pathlib import Path

import pytest

from tests.browser.made import write_atlas
from tests.packages import install_packages

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
# Pictures of every view are kept here, as a run's artefacts.
PICTURES = Path(__file__).parents[2] / "build/browser"
LAPTOP = {"width": 1280, "height": 800}
PHONE = {"width": 390, "height": 844}


def system_browser() -> str:
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    assert found, "no Chromium here; install one: apt-get install chromium"
    return found


@pytest.fixture(scope="session")
def browser(tmp_path_factory):
    """Chromium; what drives it is installed for these tests alone, if it is not here already."""
    if importlib.util.find_spec("playwright") is None:
        folder = tmp_path_factory.mktemp("playwright")
        install_packages(folder, "envs/browser.lock")
        sys.path.insert(0, str(folder))
    from playwright.sync_api import sync_playwright

    with sync_playwright() as running:
        started = running.chromium.launch(
            executable_path=system_browser(),
            # Root may not use the sandbox, and no page of these tests is a stranger's.
            args=["--no-sandbox", "--js-flags=--expose-gc", "--enable-precise-memory-info"],
        )
        yield started
        started.close()


@pytest.fixture(scope="session")
def atlas(tmp_path_factory) -> Path:
    """The page of a small atlas of two models."""
    return write_atlas(tmp_path_factory.mktemp("run"))


class Visit:
    """A page that notices what a visitor should never cause."""

    def __init__(self, page, atlas: Path) -> None:
        self.page, self.atlas = page, atlas
        self.complaints: list[str] = []
        self.outside: list[str] = []
        page.on("console", self._said)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", self._asked)
        page.on("dialog", lambda dialog: self.complaints.append("a dialog"))

    def _said(self, message) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(message.text)

    def _asked(self, request) -> None:
        # Blobs and data are the page's own.
        if not request.url.startswith(("file:", "data:", "blob:")):
            self.outside.append(request.url)

    def open(self, address: str) -> None:
        """Open an address as a visitor does who was sent it."""
        self.page.goto("about:blank")
        self.page.goto(f"{self.atlas.as_uri()}{address}")
        self.settled()

    def until(self, expression: str, argument: object = None) -> None:
        """Wait until an expression is true; Playwright's own way would evaluate text in the page,
        which the page's policy forbids."""
        end = time.monotonic() + 20
        while not self.page.evaluate(expression, argument):
            assert time.monotonic() < end, f"never came true: {expression} with {argument}"
            self.page.wait_for_timeout(20)

    def settled(self) -> None:
        """Wait until the view of the page's address is shown."""
        self.until("document.getElementById('main').dataset.ready !== undefined")

    def at(self, path: str) -> None:
        """Wait until a view whose address begins with this path is shown."""
        ready = "document.getElementById('main').dataset.ready"
        self.until(f"path => {ready}?.startsWith(path)", path)

    @property
    def heading(self) -> str:
        return self.page.locator("h1").inner_text()


@pytest.fixture(params=["laptop", "phone"])
def visit(request, browser, atlas):
    """A visit on a laptop and on a phone; whatever happens, nothing may complain or call home."""
    context = browser.new_context(viewport=LAPTOP if request.param == "laptop" else PHONE)
    visitor = Visit(context.new_page(), atlas)
    visitor.device = request.param
    yield visitor
    assert visitor.complaints == []
    assert visitor.outside == []
    assert visitor.page.evaluate("window.broken") is None
    context.close()
