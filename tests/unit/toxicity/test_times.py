"""Times are milliseconds, of the text and the pass that they stand beside."""

from types import SimpleNamespace

import pytest
from llm_anatomy.model.run.batching import equal_length_batches
from llm_anatomy.model.run.loading import LoadedModel
from llm_anatomy.toxicity import latency, scoring
from llm_anatomy.toxicity.scoring import score_texts

from tests.unit.toxicity.test_leaks import detector, loaded

__all__ = ["loaded"]


def test_time_is_shared_among_the_texts_of_a_batch_in_milliseconds(
    loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Two texts of three tokens share a batch, one of five has its own; each batch takes 12 ms.
    ticks = iter([1.0, 1.012, 2.0, 2.012])
    monkeypatch.setattr(scoring, "time", SimpleNamespace(perf_counter=lambda: next(ticks)))
    found = score_texts(loaded, detector(loaded, True), ["x" * 3, "x" * 5, "y" * 3], 64)
    assert found["n_tokens"].tolist() == [3, 5, 3]
    assert found["milliseconds"].tolist() == pytest.approx([6, 12, 6])


def test_early_exits_are_milliseconds_of_every_text_and_shares_of_the_plain_pass(
    loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    # By text: the plain pass, then the features of one layer.
    seconds = [0.010, 0.004, 0.020, 0.005, 0.070, 0.011]
    clock = iter([tick for taken in seconds for tick in (5.0, 5.0 + taken)])
    monkeypatch.setattr(latency, "time", SimpleNamespace(perf_counter=lambda: next(clock)))
    batches = [batch for n in (3, 4, 5) for batch in equal_length_batches([[5] * n], 1)]
    plain, features = latency.time_texts(loaded.decoder, batches, [1])
    assert (plain.what, plain.n_layers, plain.n_tokens) == ("plain", loaded.decoder.n_layers, 12)
    assert (features.what, features.n_layers, features.n_texts) == ("features", 1, 3)
    assert (plain.median_ms, features.median_ms) == pytest.approx((20, 5))
    # 95 % of the way over three sorted times: 1.9 steps from the first.
    assert plain.p95_ms == pytest.approx(20 + 0.9 * 50)
    assert (plain.share_of_plain, features.share_of_plain) == pytest.approx((1, 20 / 100))
