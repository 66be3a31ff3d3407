"""What was given on the command line, and the settings that it makes."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import cache, reduce
from typing import Any

from rich.console import Console

from promptad.cli.learning_options import LEARNING
from promptad.cli.option import Option
from promptad.errors import InputError
from promptad.settings import MULTI_PROTOTYPE, TINY_BACKBONE, Settings, default_settings

Arguments = dict[str, Any]


def applicable(given: Arguments, console: Console) -> Arguments:
    """Return the options that the chosen method has, and print which are left out."""
    if foreign := foreign_options(given):
        flags = ", ".join(option.flag for option in foreign)
        console.print(f"left out, for the {chosen_system(given)} system has no such thing: {flags}", soft_wrap=True)
    return without(given, foreign)


def foreign_options(given: Arguments) -> list[Option]:
    """Return the options that were given, and that the chosen method does not have."""
    asked = [option for option in LEARNING if option.setting and given.get(option.name) is not None]
    return [option for option in asked if option.system not in ("", chosen_system(given))]


def without(given: Arguments, options: Sequence[Option]) -> Arguments:
    """Return what was given without some options."""
    return {name: value for name, value in given.items() if name not in {option.name for option in options}}


def chosen_system(given: Mapping[str, Any]) -> str:
    """Return the system that is asked for."""
    return str(given.get("system", MULTI_PROTOTYPE))


def make_settings(given: Mapping[str, Any]) -> Settings:
    """Return the settings that the given options make; the demo data's own backbone is `tiny`."""
    plain = asdict(default_settings(chosen_system(given)))
    if given["dataset"] == "demo":
        plain["backbone"]["name"] = TINY_BACKBONE
    for path, value in _given_settings(given).items():
        *sections, name = path.split(".")
        setting_at(plain, sections)[name] = value
    return Settings.from_dict(plain)


def make_seeds(given: Mapping[str, Any]) -> list[Settings]:
    """Return the settings of each seed that is asked for.

    Raises:
        InputError: one seed and several are asked for, or several for one checkpoint.
    """
    settings = make_settings(given)
    if given["seeds"] is None:
        return [settings]
    if "seed" in given:
        raise InputError(f"`seed` {given['seed']}: leave it out, or leave out `seeds`")
    if given.get("checkpoint"):
        raise InputError(f"`checkpoint` {given['checkpoint']} is of one seed: leave out `seeds`")
    return [replace(settings, training=replace(settings.training, seed=seed)) for seed in given["seeds"]]


def _given_settings(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return path and value of every setting that the user gave."""
    return {option.setting: given[option.name] for option in LEARNING if option.setting and option.name in given}


def default_in_words(option: Option) -> str:
    """Return the default of an option as it is typed; empty where there is none, or where its help tells it."""
    default = setting_at(_default_settings(), option.setting.split(".")) if option.setting else option.default
    if default in (None, ()) or "(default" in option.help:
        return ""
    return ",".join(map(str, default)) if isinstance(default, tuple) else str(default)


@cache
def _default_settings() -> Mapping[str, Any]:
    return asdict(Settings())


def setting_at(plain: Mapping[str, Any], path: Sequence[str]) -> Any:
    """Look up a setting, such as "lr" in "training"."""
    return reduce(lambda section, name: section[name], path, plain)
