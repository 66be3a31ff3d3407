"""The search of a sweep: what was typed of it, the space that it looks through, and the setting that it starts from."""

from dataclasses import asdict
from typing import Any

from promptad.cli.given import Arguments, make_seeds, make_settings, setting_at
from promptad.cli.grid import MOST_POINTS, check_once, grid_point, has_range, value_in_words
from promptad.cli.learning_options import LEARNING
from promptad.cli.sweep_options import SEARCH, SEARCHES
from promptad.engine.proposals import Space, check_optuna
from promptad.errors import InputError, check_choice
from promptad.results.columns import METRIC_TITLES
from promptad.results.search import Range
from promptad.settings import TEST_ORACLE

SETTING_OF = {option.name: option.setting for option in LEARNING if option.setting}
USUAL = {"objective": "i_roc", "search_seed": 0}


def check_search(given: Arguments) -> None:
    """Check all that can be checked of a search before it starts.

    Raises:
        InputError: an option of a search without one, or a search without what it needs; no range, or a value of one
            that a setting cannot have; classes that both choose and are reported; Optuna is not installed.
    """
    if given["search"] is None:
        for option in SEARCH:
            if given[option.name] is not None:
                words = ", ".join(_listed(given[option.name]))
                raise InputError(f"`{option.name}` {words} is of a search: add `search` optuna, or leave it out")
        return
    check_choice("search", given["search"], SEARCHES)
    if beside := next((name for name in ("cluster", "workers") if given[name] not in (None, 1)), ""):
        raise InputError(f"`{beside}` {given[beside]}: a search tries one setting after another: leave it out")
    space = search_space(given)
    _check_count(given["trials"])
    check_choice("objective", of_search(given, "objective"), METRIC_TITLES)
    if not 0 <= of_search(given, "search_seed") < 2**32:
        raise InputError(f"`search_seed` {given['search_seed']}: must be a whole number from 0 to below 2 ** 32")
    _check_classes(given)
    for values in _ends(space, first_values(given, space)):
        make_seeds(grid_point(given, values).given)
    check_optuna()


def search_space(given: Arguments) -> Space:
    """Return the range or the values of each setting that varies.

    Raises:
        InputError: nothing varies, a range is none or has other values beside it, or a value is there twice.
    """
    if not given["grid"]:
        raise InputError(
            "nothing varies: give a setting a range, such as `lr` 0.0005:0.01:log, or several values, by commas"
        )
    space: dict[str, Any] = {}
    for name, values in given["grid"].items():
        if has_range(values) and len(values) > 1:
            words = ", ".join(map(str, values))
            raise InputError(f"`{name}` {words}: give one range alone, or values by commas")
        if has_range(values):
            values[0].check(name)
        else:
            check_once(name, values)
        space[name] = values[0] if has_range(values) else values
    return space


def first_values(given: Arguments, space: Space) -> dict[str, Any]:
    """Return the values that a search starts from, and that its choice is compared with.

    Of several values it is the first one; of a range the default, or where it does not hold it, the lower end.
    """
    listed = {name: values[0] for name, values in space.items() if not isinstance(values, Range)}
    plain = asdict(make_settings(given | listed))
    first: dict[str, Any] = {}
    for name, values in space.items():
        usual = setting_at(plain, SETTING_OF[name].split("."))
        first[name] = listed[name] if name in listed else _within(values, usual)
    return first


def tuned_on(given: Arguments) -> tuple[str, ...]:
    """Return the classes that choose and are not reported; none without a search, and where reported ones choose."""
    return () if given["tune_on"] in (None, (TEST_ORACLE,)) else given["tune_on"]


def of_search(given: Arguments, name: str) -> Any:
    """Return an option of a search that has a default."""
    return USUAL[name] if given[name] is None else given[name]


def space_in_words(space: Space) -> dict[str, str]:
    """Return the range or the values of each setting as they are typed."""
    return {name: ", ".join(words_of(name, values)) for name, values in space.items()}


def words_of(name: str, values: Any) -> tuple[str, ...]:
    """Return the values of a setting in words, or its range as the only one."""
    return (str(values),) if isinstance(values, Range) else tuple(value_in_words(name, value) for value in values)


def _within(values: Any, usual: Any) -> Any:
    is_number = isinstance(usual, int | float) and not isinstance(usual, bool)
    return usual if is_number and values.low <= usual <= values.high else values.low


def _ends(space: Space, first: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the first values with each value, or end of a range, of one setting; all with each method that varies."""
    found = [first]
    for name, values in space.items():
        ends = (values.low, values.high) if isinstance(values, Range) else values
        found += [first | {name: end} for end in ends]
    methods = [own["system"] for own in found if "system" in own]
    return [own | {"system": method} for method in dict.fromkeys(methods) for own in found] or found


def _check_count(trials: int | None) -> None:
    if trials is None:
        raise InputError("`trials` is missing: say how many settings the search tries, such as `trials` 30")
    if not 2 <= trials <= MOST_POINTS:
        raise InputError(
            f"`trials` {trials}: must be from 2, as the choice is compared with the first one, to {MOST_POINTS}"
        )


def _check_classes(given: Arguments) -> None:
    if not given["tune_on"]:
        raise InputError(
            "a search chooses by test labels, and those that are reported should have no say: name other classes by"
            f" `tune_on`, or take `tune_on` {TEST_ORACLE} and have every output say that they chose"
        )
    if TEST_ORACLE in given["tune_on"] and len(given["tune_on"]) > 1:
        raise InputError(f"`tune_on` {', '.join(given['tune_on'])}: give {TEST_ORACLE} alone, or classes")
    if len(set(given["tune_on"])) < len(given["tune_on"]):
        raise InputError(f"`tune_on` {', '.join(given['tune_on'])}: give each class once")
    if both := [name for name in tuned_on(given) if name in (given["classes"] or ())]:
        raise InputError(
            f"{', '.join(both)}: in `tune_on` and in `classes`, and what chooses cannot be what is reported: leave"
            f" {'them' if len(both) > 1 else 'it'} out of one"
        )


def _listed(value: Any) -> list[str]:
    return list(map(str, value)) if isinstance(value, tuple) else [str(value)]
