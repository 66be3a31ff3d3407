"""Numbers as people read them."""

import pytest

from promptad.results.disturbances import with_change
from promptad.utils.numbers import MINUS, decimal, signed
from promptad.visualization.figures import number_text


@pytest.mark.parametrize(
    "text", [decimal(-0.48), number_text(-0.48), signed(-12.3), with_change(0.5, 0.6), number_text([-1.0, 2.0])]
)
def test_a_negative_number_has_a_true_minus_sign(text: str) -> None:
    assert text.count(MINUS) == 1
    assert "-" not in text


def test_what_rounds_to_zero_has_no_sign() -> None:
    assert (decimal(-0.004), signed(-0.04), signed(0.04), with_change(0.5, 0.5004)) == (
        "0.00",
        "0.0",
        "0.0",
        "50.0 (0.0)",
    )
