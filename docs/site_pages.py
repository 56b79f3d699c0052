"""Pages of the site that lie outside `docs/`, and links from one to the other; for mkdocs."""

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

# From the root of the project, and what the site calls them.
OUTSIDE = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "config/README.md": "configuration.md",
}
_LINK = re.compile(r"(!?\[[^\]]*\]\()([^)#\s]+)([^)]*\))")


def on_files(files: Files, config: Any, **_: Any) -> Files:
    """Add the pages; those of `docs/` keep their names."""
    root = Path(config["config_file_path"]).parent
    for source, name in OUTSIDE.items():
        text = (root / source).read_text(encoding="utf-8")
        files.append(File.generated(config, name, content=_linked(text, Path(source), root)))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, **_: Any) -> str:
    """Turn links that leave `docs/` to pages of the site."""
    if page.file.generated_by:
        return markdown
    root = Path(config["config_file_path"]).parent
    return _linked(markdown, Path("docs") / page.file.src_uri, root)


def _linked(text: str, source: Path, root: Path) -> str:
    """Links as the site has them; files that are no pages of it become words."""
    here = Path(OUTSIDE.get(source.as_posix()) or source.relative_to("docs"))

    def turned(found: re.Match[str]) -> str:
        before, target, after = found.groups()
        if "://" in target or target.startswith("mailto:"):
            return found[0]
        file = (root / source.parent / target).resolve()
        if not file.exists():
            return found[0]  # mkdocs says that it is missing
        place = file.relative_to(root.resolve()).as_posix()
        inside = place.removeprefix("docs/") if place.startswith("docs/") else OUTSIDE.get(place)
        if inside is None:
            return f"{before.strip('[](').strip()} (`{place}`)"
        up = "../" * (len(here.parts) - 1)
        return f"{before}{up}{inside}{after}"

    return _LINK.sub(turned, text)
