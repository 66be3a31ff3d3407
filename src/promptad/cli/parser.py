"""Parse the words of a command line into options, and these into settings."""

import argparse
import difflib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import reduce
from typing import Any, NoReturn

from rich.console import Console

from promptad.cli.learning_options import LEARNING
from promptad.cli.option import Option
from promptad.cli.options import COMMANDS
from promptad.cli.values import truth
from promptad.errors import InputError
from promptad.settings import MULTI_PROTOTYPE, TINY_BACKBONE, Settings, default_settings

Arguments = dict[str, Any]
SPELLINGS = {option.flag.replace("_", "-"): option.flag for _, options in COMMANDS.values() for option in options}


def parse(arguments: Sequence[str]) -> tuple[str, Arguments]:
    """Return the command and what was given for it, with the defaults of what sets nothing saved.

    Every flag works with - and with _ alike.

    Raises:
        InputError: an unknown command or flag, or a value that cannot be read.
    """
    if hidden := next((word for word in arguments if "\0" in word), None):
        raise InputError(f"{hidden!r} holds a zero byte, which no name can: leave it out")
    parser = _Parser(prog="promptad", description="Few-shot anomaly detection with text prototypes.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for command, (purpose, options) in COMMANDS.items():
        sub = commands.add_parser(command, help=purpose, description=purpose, allow_abbrev=False)
        for option in options:
            _add_option(sub, option)
    known, unknown = parser.parse_known_args([_spelled(word) for word in arguments])
    if unknown:
        flags = [option.flag for option in COMMANDS[known.command][1]]
        near = difflib.get_close_matches(unknown[0], flags, n=1)
        cure = f"did you mean {near[0]}?" if near else f"promptad {known.command} --help lists all"
        raise InputError(f"unknown option {unknown[0]!r}: {cure}")
    given = vars(known)
    return given.pop("command"), given


def applicable(given: Arguments, console: Console) -> Arguments:
    """Return the options that the chosen method has, and print which are left out."""
    asked = [option for option in LEARNING if option.setting and given.get(option.name) is not None]
    foreign = [option for option in asked if option.system not in ("", chosen_system(given))]
    if foreign:
        flags = ", ".join(option.flag for option in foreign)
        console.print(f"left out, for the {chosen_system(given)} system has no such thing: {flags}", soft_wrap=True)
    return {name: value for name, value in given.items() if name not in {option.name for option in foreign}}


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


class _Parser(argparse.ArgumentParser):
    """A parser whose complaints are one line, like all others of ours."""

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message}; --help says what it takes" if ": invalid " in message else message)


def _spelled(word: str) -> str:
    """Return a flag as its option spells it, whether it was given with - or with _, and any other word as it is."""
    flag, equals, value = word.partition("=")
    if not flag.startswith("--"):
        return word
    dashed = flag.replace("_", "-")
    return SPELLINGS.get(dashed, dashed) + equals + value


def _add_option(parser: argparse.ArgumentParser, option: Option) -> None:
    default = setting_at(asdict(Settings()), option.setting.split(".")) if option.setting else option.default
    typed = ",".join(map(str, default)) if isinstance(default, tuple) else default
    shown = "" if default in (None, ()) or "(default" in option.help else f" (default: {typed})"
    more: dict[str, Any] = {"nargs": "?", "const": True} if option.read is truth else {}
    if option.flag.startswith("-"):
        more |= {"dest": option.name, "action": "append" if option.several else "store"}
    else:
        more |= {"nargs": "+"} if option.several else {}
    parser.add_argument(
        option.flag if option.flag.startswith("-") else option.name,
        type=option.read,
        help=option.help + shown,
        metavar=option.name.upper(),
        default=argparse.SUPPRESS if option.setting else option.default,
        **more,
    )


def _given_settings(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return path and value of every setting that the user gave."""
    return {option.setting: given[option.name] for option in LEARNING if option.setting and option.name in given}


def setting_at(plain: Mapping[str, Any], path: Sequence[str]) -> Any:
    """Look up a setting, such as "lr" in "training"."""
    return reduce(lambda section, name: section[name], path, plain)
