"""Which subject is switched in for which, and how the two spans are aligned."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from llm_anatomy.config.base import Unequal
from llm_anatomy.config.patching import Donors, RelationTask
from llm_anatomy.model.run.alignment import align
from llm_anatomy.model.run.answers import tokenise
from llm_anatomy.patching.prompts import TaskExample
from llm_anatomy.patching.tasks import SetAside, donor_text
from llm_anatomy.statistics.random import Purpose, keyed_generator


@dataclass(frozen=True)
class DonorPrompt:
    """The prompt in which an example's subject is the donor, and the subject's span in it."""

    text: str
    tokens: tuple[int, ...]
    span: tuple[int, int]


@dataclass(frozen=True)
class SwitchPair:
    """One switch; columns of the table `patching/pairs`.

    Attributes:
        target: The example whose prompt is edited.
        donor: The example whose subject comes in.
        prompt: The donor's prompt.
        start: First switched position of the target.
        donor_positions: Donor position for each switched position, from `start` on.
        alignment: `equal`, `last_token` or `pad_left_with_first`.
    """

    target: TaskExample
    donor: TaskExample
    prompt: DonorPrompt
    start: int
    donor_positions: tuple[int, ...]
    alignment: str


def make_pairs(
    tokenizer: Any, task: RelationTask, examples: Sequence[TaskExample], seed: int
) -> tuple[list[SwitchPair], list[SetAside]]:
    """The switches of a relation task, and the examples without one.

    The donor is the counterfactual that the data name, else another example. A donor's answers
    never begin like the target's, so that following the donor and keeping the original exclude
    each other.
    """
    donors, aside = _donor_prompts(tokenizer, task, examples)
    order = keyed_generator(seed, Purpose.DONORS, task.name).permutation(len(examples))
    cycle = [examples[index] for index in order]
    pairs: list[SwitchPair] = []
    for place, target in enumerate(cycle):
        if target.item.example_id not in donors:
            continue
        assert target.span is not None
        if target.counterfactual is not None:
            made = _own_pair(target, task.donors.unequal)
            if isinstance(made, SwitchPair):
                pairs.append(made)
            else:
                aside.append(made)
            continue
        partners = [
            donor
            for donor in cycle[place + 1 :] + cycle[:place]
            if donor.item.example_id in donors
            and not set(donor.first_tokens) & set(target.first_tokens)
        ]
        chosen = list(_choose(task.donors, target, partners, donors))
        if not chosen:
            aside.append(_aside(target, "no_donor", "no other example has a different answer"))
        for donor in chosen:
            prompt = donors[donor.item.example_id]
            aligned = align(target.span, prompt.span, task.donors.unequal)
            if aligned is None:
                aside.append(_unequal(target, donor, prompt.span))
            else:
                pairs.append(SwitchPair(target, donor, prompt, *aligned))
    place_of = {example.item.example_id: place for place, example in enumerate(examples)}
    # A counterfactual is the only donor of its example, and no example itself.
    pairs.sort(
        key=lambda p: (
            place_of[p.target.item.example_id],
            place_of.get(p.donor.item.example_id, 0),
        )
    )
    return pairs, aside


def _own_pair(target: TaskExample, unequal: Unequal) -> SwitchPair | SetAside:
    """The switch with the counterfactual that the data name, or why there is none."""
    donor = target.counterfactual
    assert donor is not None
    assert target.span is not None
    if isinstance(donor, SetAside):
        return _aside(target, "no_donor", f"its counterfactual cannot be used: {donor.reason}")
    if set(donor.first_tokens) & set(target.first_tokens):
        return _aside(target, "no_donor", "its counterfactual's answer begins like its own")
    if donor.span is None:
        return _aside(
            target,
            "no_donor",
            "its counterfactual differs in more than the subject, whose place is then not known",
        )
    aligned = align(target.span, donor.span, unequal)
    if aligned is None:
        return _unequal(target, donor, donor.span)
    prompt = DonorPrompt(donor.item.prompt, donor.tokens, donor.span)
    return SwitchPair(target, donor, prompt, *aligned)


def _unequal(target: TaskExample, donor: TaskExample, span: tuple[int, int]) -> SetAside:
    assert target.span is not None
    return _aside(
        target,
        "unequal_spans",
        f"its subject has {target.span[1] - target.span[0]} tokens, that of its donor "
        f"'{donor.item.subject}' {span[1] - span[0]}",
    )


def _choose(
    settings: Donors,
    target: TaskExample,
    partners: Sequence[TaskExample],
    donors: dict[str, DonorPrompt],
) -> Iterator[TaskExample]:
    if settings.pairing == "all":
        yield from partners
        return
    chosen = partners[:1]
    if settings.pairing == "same_length":
        assert target.span is not None
        length = target.span[1] - target.span[0]
        spans = ((donor, donors[donor.item.example_id].span) for donor in partners)
        chosen = [donor for donor, span in spans if span[1] - span[0] == length][:1] or chosen
    yield from chosen


def _donor_prompts(
    tokenizer: Any, task: RelationTask, examples: Sequence[TaskExample]
) -> tuple[dict[str, DonorPrompt], list[SetAside]]:
    donors, aside = {}, []
    for example in examples:
        text, at = donor_text(task, example.item)
        tokens, span = tokenise(tokenizer, text, at, len(example.item.subject or ""))
        if example.span is None or span is None:
            aside.append(subject_missing(example, "switch"))
        else:
            donors[example.item.example_id] = DonorPrompt(text, tokens, span)
    return donors, aside


def subject_missing(example: TaskExample, scope: str) -> SetAside:
    """The entry of an example whose prompt does not name its subject."""
    subject = example.item.subject
    reason = f"the prompt does not contain the subject '{subject}'"
    return SetAside(example.item.example_id, subject, "subject_not_in_prompt", reason, scope)


def _aside(example: TaskExample, category: str, reason: str) -> SetAside:
    return SetAside(example.item.example_id, example.item.subject, category, reason, "switch")
