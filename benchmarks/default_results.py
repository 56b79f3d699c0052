"""What the default run showed, on docs/results.md: its claims as they came out, and pictures.

`python -m benchmarks.default_results RESULTS` takes both from a finished run, keeps the claims
in default_results.json beside this module, and rewrites the page's tables. A test holds the page
and the pictures to that file.
"""

import argparse
import json
import math
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from llm_anatomy.artefacts.files import sha256_file
from llm_anatomy.tables.claims import ALL_CLAIMS, UNTESTED
from llm_anatomy.tables.claims import VERDICTS as TESTED
from llm_anatomy.tables.core import read_table

ROOT = Path(__file__).parents[1]
RECORD = Path(__file__).with_suffix(".json")
PAGE = ROOT / "docs/results.md"
PICTURES = ROOT / "docs/images/results"
START, END = "<!-- claims: written by benchmarks/default_results.py -->\n", "<!-- end of claims -->"
MODEL = "smollm2-135m-instruct"
# Where each picture of the page lies in a run's `figures/`.
SHOWN = {
    "detection.png": f"toxicity/detection-{MODEL}-harmful_responses.png",
    "features.png": f"geometry/features-{MODEL}.png",
    "clamping.png": f"neurons/{MODEL}-clamping.png",
    "concepts.png": f"neurons/{MODEL}-concepts.png",
    "outcomes.png": f"patching/outcomes_{MODEL}_capitals.png",
    "switch.png": "patching/switch_capitals.png",
    "layers.png": f"facts/layers-{MODEL}.png",
    "methods.png": f"facts/methods-{MODEL}.png",
}
KEPT = (
    *("paper", "claim", "model", "dataset", "paper_value", "measured_value", "low", "high"),
    *("unit", "verdict", "evidence", "evidence_unit"),
)
VERDICTS = (*TESTED.values(), UNTESTED)


def taken(results: Path, pictures: Path) -> dict[str, Any]:
    """Copy a run's pictures, and return its claims with the pictures' hashes.

    Raises:
        UserError: The claims are missing, damaged, or of other code.
    """
    frame = read_table(results / "claims.parquet", ALL_CLAIMS, list(KEPT))
    pictures.mkdir(parents=True, exist_ok=True)
    for name, source in SHOWN.items():
        shutil.copyfile(results / "figures" / source, pictures / name)
    return {
        "pictures": picture_hashes(pictures),
        "claims": json.loads(frame.to_json(orient="records", double_precision=15)),
    }


def picture_hashes(pictures: Path) -> dict[str, str]:
    """The SHA-256 of every picture of the page."""
    return {file.name: sha256_file(file) for file in sorted(pictures.glob("*.png"))}


def rendered(claims: Sequence[Mapping[str, Any]]) -> str:
    """Verdicts counted for every paper, then each claim with its number, as Markdown."""
    papers = sorted({claim["paper"] for claim in claims})
    lines = [f"| paper | {' | '.join(VERDICTS)} | claims |", "|---" * (len(VERDICTS) + 2) + "|"]
    for paper in papers:
        count = Counter(claim["verdict"] for claim in claims if claim["paper"] == paper)
        cells = [paper, *(str(count[verdict]) for verdict in VERDICTS), str(count.total())]
        lines.append(f"| {' | '.join(cells)} |")
    for paper in papers:
        lines += ["", f"### {paper}", "", "| claim | of | paper | here | verdict | from |"]
        lines.append("|---|---|---|---|---|---|")
        lines += [_row(claim) for claim in claims if claim["paper"] == paper]
    return "\n".join(lines) + "\n"


def page_with(page: str, block: str) -> str:
    """The page with another block between its marks."""
    before, _, rest = page.partition(START)
    return before + START + block + END + rest.partition(END)[2]


def _row(claim: Mapping[str, Any]) -> str:
    cells = (
        *(claim["claim"], claim["dataset"], claim["paper_value"], _measured(claim)),
        claim["verdict"],
        f"{claim['evidence']:,} {claim['evidence_unit']}",
    )
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ⏎ ") for cell in cells) + " |"


def _measured(claim: Mapping[str, Any]) -> str:
    value, low, high = (claim[key] for key in ("measured_value", "low", "high"))
    if value is None or math.isnan(value):
        return "–"
    interval = "" if low is None or high is None else f" ({low:.3g} to {high:.3g})"
    return f"{value:.3g}{interval} {claim['unit']}".strip()


def main() -> None:
    """Take a run's claims and pictures, and rewrite the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("results", type=Path)
    record = taken(parser.parse_args().results, PICTURES)
    RECORD.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    page = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(page_with(page, rendered(record["claims"])), encoding="utf-8")


if __name__ == "__main__":
    main()
