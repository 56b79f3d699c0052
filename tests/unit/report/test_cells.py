"""A formatted value is the table's value to the digits that are shown."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from llm_anatomy.report.cells import format_cell, mark_whitespace

SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻", "0123456789-")


def parse_number(text: str) -> float:
    """What a reader takes from a number in the report."""
    text = text.replace("−", "-")
    if " × 10" in text:
        mantissa, exponent = text.split(" × 10")
        return float(mantissa) * 10.0 ** int(exponent.translate(SUPERSCRIPTS))
    return float(text)


@given(st.floats(allow_nan=False, allow_infinity=False, min_value=-1e200, max_value=1e200))
def test_a_number_reads_as_the_value_to_four_digits(value: float) -> None:
    cell = format_cell(value)
    assert cell.value is not None
    assert float(cell.value) == value
    assert parse_number(cell.text) == pytest.approx(value, rel=5.1e-4, abs=1e-300)


@given(st.integers(-(2**63), 2**63 - 1))
def test_whole_numbers_are_exact(value: int) -> None:
    assert int(format_cell(value).text.replace("−", "-")) == value


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.5, "0.5"),
        (0.98765, "0.9877"),
        (-3.0, "−3"),
        (123456.7, "123457"),
        (0.0000123, "1.23 × 10⁻⁵"),
        (None, "–"),
        (True, "yes"),
        (False, "no"),
        ([" Paris", "Rome"], "␣Paris, Rome"),
        (math.inf, "∞"),
    ],
)
def test_values_read_as_people_write_them(value: object, text: str) -> None:
    assert format_cell(value).text == text


def test_not_a_number_says_so() -> None:
    assert format_cell(math.nan).text == "not a number"


@given(st.text(alphabet="a \n\t", max_size=8))
def test_no_two_tokens_look_alike(text: str) -> None:
    marked = mark_whitespace(text)
    assert marked.strip() == marked
    assert marked.replace("␣", " ").replace("↵", "\n").replace("⇥", "\t") == text
