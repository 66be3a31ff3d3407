"""Read JSON that someone may have cut or edited, and walk through what it held."""

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

MAX_DIGITS = 20  # of a whole number


def parse_json(text: str) -> Any:
    """Return the content of a JSON text whose numbers are all finite.

    Raises:
        ValueError: it is no JSON, nested too deeply, or holds a number that is NaN, infinite or very long.
    """
    try:
        return json.loads(text, parse_constant=_refuse, parse_float=_finite, parse_int=_whole)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def is_number(value: object) -> bool:
    """Whether a value of such a text is a number; True and False are none."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def _refuse(constant: str) -> float:
    raise ValueError(f"{constant} is no number")


def _whole(text: str) -> int:
    if len(text) > MAX_DIGITS:
        raise ValueError(f"{text[:MAX_DIGITS]}… is too large")
    return int(text)


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text[:20]} is too large")
    return value


def flat_paths(nested: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield path and value of each leaf of nested mappings, such as "training.lr" and 0.002."""
    if not isinstance(nested, Mapping):
        yield path, nested
        return
    for name, value in nested.items():
        yield from flat_paths(value, f"{path}.{name}" if path else name)
