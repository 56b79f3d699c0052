"""Which subject is switched in for which, and how the two spans are aligned."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from llm_anatomy.config.patching import Donors, RelationTask
from llm_anatomy.patching.prompts import TaskExample, tokenise
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


def align(
    target: tuple[int, int], donor: tuple[int, int], unequal: str
) -> tuple[int, tuple[int, ...], str] | None:
    """Align two spans from the right.

    Args:
        target: First and one past the last position of the target's subject.
        donor: The same of the donor's subject.
        unequal: Policy for spans of different length.

    Returns:
        First switched position, donor position for each switched position, and the alignment; None
        when the policy sets the pair aside.
    """
    length, given = target[1] - target[0], donor[1] - donor[0]
    if length == given:
        return target[0], tuple(range(*donor)), "equal"
    if unequal == "skip_pair":
        return None
    if unequal == "last_token":
        return target[1] - 1, (donor[1] - 1,), unequal
    aligned = range(donor[1] - length, donor[1])
    return target[0], tuple(max(position, donor[0]) for position in aligned), unequal


def make_pairs(
    tokenizer: Any, task: RelationTask, examples: Sequence[TaskExample], seed: int
) -> tuple[list[SwitchPair], list[SetAside]]:
    """The switches of a relation task, and the examples without one.

    A donor's accepted answers never begin like the target's, so that following the donor and
    keeping the original exclude each other.
    """
    donors, aside = _donor_prompts(tokenizer, task, examples)
    order = keyed_generator(seed, Purpose.DONORS, task.name).permutation(len(examples))
    cycle = [examples[index] for index in order]
    pairs: list[SwitchPair] = []
    for place, target in enumerate(cycle):
        if target.item.example_id not in donors:
            continue
        assert target.span is not None
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
                aside.append(
                    _aside(
                        target,
                        "unequal_spans",
                        f"its subject has {target.span[1] - target.span[0]} tokens, that of its "
                        f"donor '{donor.item.subject}' {prompt.span[1] - prompt.span[0]}",
                    )
                )
            else:
                pairs.append(SwitchPair(target, donor, prompt, *aligned))
    place_of = {example.item.example_id: place for place, example in enumerate(examples)}
    pairs.sort(
        key=lambda p: (place_of[p.target.item.example_id], place_of[p.donor.item.example_id])
    )
    return pairs, aside


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
