"""Write the atlas's page, and the scripts and styles that it loads."""

from pathlib import Path

from llm_anatomy.artefacts.files import atomic_folder, atomic_path
from llm_anatomy.atlas.page import page_html, write_assets
from llm_anatomy.config.base import Settings
from llm_anatomy.runner import run_stage


class AtlasPage(Settings):
    """Which models ran, and which parts each has."""

    models: list[str]
    parts: list[str]


def run(settings: AtlasPage, *, page: Path, assets: Path) -> None:
    """Write the page; its parts are made by rules of their own."""
    with atomic_folder(assets) as folder:
        write_assets(folder, settings.models, settings.parts)
    with atomic_path(page) as temporary:
        temporary.write_text(page_html(settings.models, settings.parts), encoding="utf-8")


if __name__ == "__main__":
    run_stage(run)
