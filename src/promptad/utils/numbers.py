"""Numbers as people read them, with a true minus sign.

Files keep the ASCII one, and so do raw scores, which may be typed back.
"""

MINUS = "\N{MINUS SIGN}"


def decimal(number: float, digits: int = 2) -> str:
    """Return a number with so many decimals.

    >>> decimal(0.5), decimal(-0.001), decimal(-0.48) == f"{MINUS}0.48"
    ('0.50', '0.00', True)
    """
    return f"{round(number, digits) + 0.0:.{digits}f}".replace("-", MINUS)  # no "-0.0"


def signed(number: float) -> str:
    """Return a difference in points.

    >>> signed(1.23), signed(-0.01), signed(-0.5) == f"{MINUS}0.5"
    ('+1.2', '0.0', True)
    """
    rounded = round(number, 1) + 0.0  # no "-0.0"
    return "0.0" if rounded == 0 else f"{rounded:+.1f}".replace("-", MINUS)
