"""Which position of one text stands for which of another, where their lengths differ."""

from llm_anatomy.config.base import Unequal


def align(
    target: tuple[int, int], donor: tuple[int, int], unequal: Unequal
) -> tuple[int, tuple[int, ...], str] | None:
    """Align two spans from the right.

    Args:
        target: First and one past the last position of the span that is filled.
        donor: The same of the span that fills it.
        unequal: Policy for spans of different length.

    Returns:
        First filled position, donor position for each filled position, and the alignment; None
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
