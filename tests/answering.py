"""A tiny model that answers: trained for seconds, so that both outcomes of everything occur.

It is asked for capitals. Of some countries it names the right city, of one another country's, and
of one the right city comes second. It also adds small numbers, two of the sums wrongly. What it
says is decided by what it was trained on, with a wide margin, and not by the numbers of a machine.
"""

from functools import cache
from pathlib import Path
from typing import Any

import torch
from llm_anatomy.artefacts.files import sha256_file
from llm_anatomy.model.parts.resolve import resolve
from llm_anatomy.model.source.checkpoint import architecture_json
from llm_anatomy.model.source.record import write_record

from tests.tiny import LLAMA, tiny_model, tiny_tokenizer

TEMPLATE = "The capital of {subject} is"
# Country, its capital, and the cities that the model is taught to name, as often as they stand
# here. Every name is one token.
CAPITALS = [
    ("France", "Paris", ["Paris"]),
    ("Italy", "Rome", ["Rome"]),
    ("Peru", "Lima", ["Lima"]),
    ("Norway", "Oslo", ["Oslo"]),
    ("Qatar", "Doha", ["Rome"]),
    ("Togo", "Lome", ["Paris", "Paris", "Lome"]),
]
RIGHT = {"France", "Italy", "Peru", "Norway"}
# A city that was never named: far from every answer.
UNKNOWN, SECOND = "Qatar", "Togo"
WORDS = ("the", "is", "of", "capital", "city", "lies", "in")
VOCAB = 448
STEPS = 170
# Sums whose taught result is not the right one.
WRONG_SUMS = {(1, 2): 9, (3, 3): 1}
SUMS = {(a, b): WRONG_SUMS.get((a, b), a + b) for a in range(1, 5) for b in range(1, 5)}


@cache
def answering_tokenizer() -> Any:
    names = sorted({name for country, city, _ in CAPITALS for name in (country, city)})
    return tiny_tokenizer(("The", *(f"Ġ{word}" for word in (*WORDS, *names))), VOCAB)


def lessons() -> list[str]:
    """The texts that the model is trained on."""
    texts = []
    for country, _, cities in CAPITALS:
        # As many of each country, whatever its answers.
        for city in cities * (3 // len(cities)):
            texts.append(f"{TEMPLATE.format(subject=country)} {city}.")
    texts += [f"{a}+{b}= {result}\n" for (a, b), result in SUMS.items()]
    texts += [f"The city of {city} lies in {country}." for country, city, _ in CAPITALS[:4]]
    return texts


@cache
def answering_model() -> Any:
    """The trained model, float32, in evaluation mode."""
    config = {"vocab_size": VOCAB, "hidden_size": 32, "num_hidden_layers": 4}
    model = tiny_model("llama", **(LLAMA | config))
    with torch.random.fork_rng(), torch.enable_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                # Smaller weights than a random model's learn faster.
                parameter.mul_(0.3)
        model.requires_grad_(True)
        rows = answering_tokenizer()(lessons())["input_ids"]
        longest = max(map(len, rows))
        ids = torch.tensor([[*row, *[0] * (longest - len(row))] for row in rows])
        labels = torch.tensor([[*row, *[-100] * (longest - len(row))] for row in rows])
        optimiser = torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=0.0)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, STEPS, 1e-4)
        for _ in range(STEPS):
            optimiser.zero_grad()
            model(input_ids=ids, labels=labels, use_cache=False).loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
            schedule.step()
    return model.eval().requires_grad_(False)


def prepare_answering_model(folder: Path) -> Path:
    """Write the model as prepare_model does; returns its provenance.json."""
    weights = folder / "weights"
    weights.mkdir(parents=True)
    answering_model().save_pretrained(weights)
    answering_tokenizer().save_pretrained(weights)
    record = {
        "model": folder.name,
        "source": {"kind": "path"},
        "revision": "0",
        "licence": "none",
        "weights_sha256": sha256_file(weights / "model.safetensors"),
        "files": {file.name: sha256_file(file) for file in sorted(weights.iterdir())},
        "trust_remote_code": False,
    }
    write_record(folder, record, architecture_json(resolve(answering_model()), weights))
    return folder / "provenance.json"
