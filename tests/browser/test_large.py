"""The atlas of a large model: 458,752 neurons, as many as 32 layers of 14,336 have."""

import sys
import time

import numpy as np
import pyarrow as pa
import pytest
from llm_anatomy.artefacts.files import atomic_folder
from llm_anatomy.atlas.chunks import write_part
from llm_anatomy.atlas.neurons import neuron_chunks
from llm_anatomy.atlas.page import page_html, write_assets
from llm_anatomy.tables.collection import Collection
from llm_anatomy.tables.core import open_table
from llm_anatomy.tables.neurons import CONCEPTS, STATISTICS, TABLES, VOCABULARY

from tests.browser.conftest import LAPTOP, Visit
from tests.unit.atlas.made import write

pytestmark = pytest.mark.slow

LAYERS, NEURONS, K, TOKENS = 32, 14_336, 10, 128_000
FIRST_PAGE_SECONDS, SEARCH_SECONDS, MEMORY_MB = 3.0, 0.3, 300.0
SYLLABLES = ("do", "ka", "ri", "mo", "te", "lu", "san", "per", "vi", "no", "ber", "st", "chi", "ge")


def token(number: int) -> str:
    """A text of its own for every number, of the length and form that tokens have."""
    text, left = "", number
    while left or not text:
        left, place = divmod(left, len(SYLLABLES))
        text += SYLLABLES[place]
    return f" {text}" if number % 2 else text.capitalize()


def synthetic_tables(folder):
    """A map of one matrix: 9.2 million tokens, words as unevenly frequent as in real maps."""
    random = np.random.default_rng(0)
    texts = pa.array([token(number) for number in range(TOKENS)])
    rows, owner = NEURONS * 2 * K, {"model": "large"}
    paths = [folder / schema.path.format(**owner) for schema in (VOCABULARY, STATISTICS)]
    with (
        open_table(paths[0], VOCABULARY, {}) as vocabulary,
        open_table(paths[1], STATISTICS, {}) as statistics,
    ):
        for layer in range(LAYERS):
            ids = (TOKENS * random.beta(0.4, 1.6, rows)).astype(np.int32)
            vocabulary.write(
                {
                    "layer": np.full(rows, layer, np.int16),
                    "neuron": np.repeat(np.arange(NEURONS, dtype=np.int32), 2 * K),
                    "matrix": pa.array(["up"]).take(pa.array(np.zeros(rows, np.int8))),
                    "sign": np.tile(np.repeat(np.array([1, -1], np.int8), K), NEURONS),
                    "rank": np.tile(np.arange(1, K + 1, dtype=np.int16), 2 * NEURONS),
                    "token_id": ids,
                    "token": texts.take(pa.array(ids)),
                    "logit": random.normal(size=rows).astype(np.float32),
                    "probability": random.uniform(size=rows),
                }
            )
            numbers = {
                column.name: random.uniform(0.5, 1.5, NEURONS).astype(column.type.to_pandas_dtype())
                for column in STATISTICS.columns[3:]
            }
            statistics.write(
                {
                    "layer": np.full(NEURONS, layer, np.int16),
                    "neuron": np.arange(NEURONS, dtype=np.int32),
                    "matrix": ["up"] * NEURONS,
                    **numbers,
                }
            )
    return Collection([*paths, write(folder, CONCEPTS, [], **owner)], TABLES)


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    folder = tmp_path_factory.mktemp("large")
    tables, atlas = synthetic_tables(folder), folder / "atlas"
    began = time.process_time()
    with atomic_folder(atlas / "neurons/large") as place:
        write_part(place, "neurons/large", neuron_chunks(tables, "large"))
    with atomic_folder(atlas / "overview") as place:
        write_part(place, "overview", [("claims", {}), ("pairs", [])])
    with atomic_folder(atlas / "assets") as place:
        write_assets(place, ["large"], ["neurons"])
    (atlas / "index.html").write_text(page_html(["large"], ["neurons"]), encoding="utf-8")
    files = [path for path in atlas.rglob("*") if path.is_file()]
    size = sum(path.stat().st_size for path in files)
    largest = max(path.stat().st_size for path in files if "vendor" not in path.parts)
    sys.stderr.write(
        f"\n{LAYERS * NEURONS:,} neurons: written in {time.process_time() - began:.0f} s, "
        f"{len(files)} files, {size / 1e6:.0f} MB, largest {largest / 1e6:.2f} MB\n"
    )
    assert len(files) < 2_500
    # The list of words is the one file that every search reads.
    assert largest < 3e6
    return atlas / "index.html"


def test_a_large_model_is_searched_and_opened_at_once_in_little_memory(browser, large):
    context = browser.new_context(viewport=LAPTOP)
    visit = Visit(context.new_page(), large)
    page = visit.page
    began = time.monotonic()
    visit.open("#/neurons/large")
    first = time.monotonic() - began
    seconds = {}
    # The first search reads the list of words; a visitor has typed a letter by then.
    page.fill("#word", "d")
    visit.until("document.querySelector('.results').dataset.query === 'd'")
    for text in ("do", "Dosan", "karimo", "chi", "st", "lubervi", "no such word", "ge"):
        page.fill("#word", text)
        visit.until("text => document.querySelector('.results').dataset.query === text", text)
        taken = page.evaluate("Number(document.querySelector('.results').dataset.milliseconds)")
        seconds[text] = taken / 1000
    for address in ("#/neuron/large/31/14335", "#/neurons/large?browse=7", "#/neuron/large/0/0"):
        visit.open(address)
        assert page.locator("[role=alert]").count() == 0
    memory = page.evaluate("performance.memory.usedJSHeapSize") / 1e6
    slowest = max(seconds, key=seconds.get)
    sys.stderr.write(
        f"first page {first:.2f} s; slowest search {slowest!r} {seconds[slowest] * 1000:.0f} ms of "
        f"{ {text: round(s * 1000) for text, s in seconds.items()} }; memory {memory:.0f} MB\n"
    )
    assert visit.complaints == []
    assert first < FIRST_PAGE_SECONDS
    assert seconds[slowest] < SEARCH_SECONDS
    assert memory < MEMORY_MB
    context.close()
