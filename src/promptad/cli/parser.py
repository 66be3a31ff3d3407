"""Parse the words of a command line into a command and what was given for it."""

import argparse
import difflib
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

import shtab

from promptad.cli.given import Arguments, default_in_words
from promptad.cli.grid import with_grid
from promptad.cli.option import Command, Option
from promptad.cli.options import COMMAND_GROUPS, COMMANDS
from promptad.cli.values import alternatives, class_choice, folders, names, numbers, phrases, rate, shares, tiles, truth
from promptad.errors import InputError, check_choice
from promptad.utils.provenance import package_commit, package_version

OPTIONS = [option for command in COMMANDS.values() for option in command.options]
SPELLINGS = {flag.replace("_", "-"): flag for option in OPTIONS for flag in (option.flag, *option.aliases)}
SWITCHES = {option.flag for option in OPTIONS if option.read is truth}
NO = "--no-"
METAVARS: dict[Callable[[str], Any], str] = {
    **{int: "N", float: "NUMBER", rate: "RATE", truth: "True|False", tiles: "ROWSxCOLUMNS"},
    **{
        Path: "PATH",
        folders: "PATH,...",
        names: "NAME,...",
        class_choice: "NAME,...",
        phrases: "WORDS,...",
        numbers: "N,...",
        shares: "NUMBER,...",
    },
}
EPILOG = """\
promptad COMMAND --help shows its options and examples. In options, - and _ are
alike; a switch is set by its name, and unset as --no-NAME, or as NAME False.

examples:
  promptad train --dataset demo --class-name carpet       a first try: drawn pictures, and a small bundled CLIP
  promptad train --good parts/bracket --name 'metal bracket'
  promptad predict result/metal_bracket new_pictures --overlays"""


def parse(arguments: Sequence[str]) -> tuple[str, Arguments]:
    """Return the command and what was given for it, with the defaults of what sets nothing saved.

    Every flag works with - and with _ alike.

    Raises:
        InputError: an unknown command or flag, or a value that cannot be read.
    """
    _check_words(arguments)
    known, unknown = make_parser().parse_known_args([_spelled(word) for word in arguments])
    if unknown:
        flags = [option.flag for option in COMMANDS[known.command].options]
        near = difflib.get_close_matches(unknown[0], flags, n=1)
        cure = f"did you mean {near[0]}?" if near else f"promptad {known.command} --help lists all"
        raise InputError(f"unknown option {unknown[0]!r}: {cure}")
    given = vars(known)
    command = given.pop("command")
    return command, with_grid(given, COMMANDS[command])


def make_parser(*, completing: bool = False) -> argparse.ArgumentParser:
    """Return the parser of all commands; where it is for `completing` words, with the choices that options have."""
    listed = [
        f"\n{title}:\n" + "\n".join(map(_listed, group, group.values())) for title, group in COMMAND_GROUPS.items()
    ]
    parser = _Parser(
        prog="promptad",
        usage="promptad COMMAND [options]",
        description="Few-shot anomaly detection with text prototypes.\n" + "\n".join(listed),
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action=_Version, help="show the version")
    hidden = None if completing else argparse.SUPPRESS  # they are listed in their groups, above
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", help=hidden)
    for name, command in COMMANDS.items():
        _add_command(commands.add_parser, name, command, completing=completing)
    return parser


class _Parser(argparse.ArgumentParser):
    """A parser whose complaints are one line, like all others of ours."""

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message}; --help says what it takes" if ": invalid " in message else message)


class _Version(argparse.Action):
    """Shows the version, which is looked up only then."""

    def __init__(self, option_strings: Sequence[str], dest: str, **more: Any) -> None:
        super().__init__(option_strings, dest, nargs=0, default=argparse.SUPPRESS, **more)

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        commit = package_commit()
        sys.stdout.write(f"promptad {package_version()}{f' (commit {commit})' if commit else ''}\n")
        parser.exit()


def _check_words(words: Sequence[str]) -> None:
    """Check what no parser explains: a zero byte, a space by itself, an unknown command."""
    for word in words:
        if "\0" in word:
            raise InputError(f"{word!r} holds a zero byte, which no name can: leave it out")
        if word and not word.strip():
            raise InputError(
                f"{word!r} is an argument of only space: a line of the command ends in a backslash with a space or"
                " a comment behind it, so the shell ends the command there; put nothing behind a backslash"
            )
    if words and not words[0].startswith("-"):
        check_choice("command", words[0], COMMANDS)


def _listed(name: str, command: Command) -> str:
    return f"  {name:<12} {command.purpose}"


def _spelled(word: str) -> str:
    """Return a flag as its option spells it, with - or with _, and --no-NAME as NAME=False; any other word as it is."""
    flag, equals, value = word.partition("=")
    if not flag.startswith("--"):
        return word
    dashed = flag.replace("_", "-")
    unset = "--" + dashed.removeprefix(NO)
    if dashed.startswith(NO) and not equals and SPELLINGS.get(unset) in SWITCHES:
        return f"{SPELLINGS[unset]}=False"
    return SPELLINGS.get(dashed, dashed) + equals + value


def _add_command(add: Any, name: str, command: Command, *, completing: bool) -> None:
    named = [option.flag for option in command.options if option.is_positional]
    parser = add(
        name,
        help=command.purpose,
        usage=" ".join(["promptad", name, *named, "[options]"]),
        description=command.purpose[0].upper() + command.purpose[1:] + ".",
        epilog="\n".join(["examples:", *(f"  {line}" for line in command.examples)]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    for title, options in command.groups.items():
        group = parser.add_argument_group(title)
        for option in options:
            _add_option(group, option, completing=completing)


def _add_option(group: argparse._ArgumentGroup, option: Option, *, completing: bool) -> None:
    default = default_in_words(option)
    more: dict[str, Any] = {}
    if option.read is truth:
        more = {"nargs": "?", "const": (True,) if option.varied else True}
    metavar = METAVARS.get(option.read, option.name.upper())
    if option.varied and not metavar.endswith(",..."):
        metavar += ",..."
    if option.is_positional:
        more |= {"nargs": "+"} if option.several else {}
    else:
        more |= {"dest": option.name, "action": "append" if option.several else "store"}
    if completing and option.choices and not option.varied:
        more |= {"choices": option.choices}
    added = group.add_argument(
        *((option.name,) if option.is_positional else (option.flag, *option.aliases)),
        type=alternatives(option.read) if option.varied else option.read,
        help=(option.help + (f" (default: {default})" if default else "")).replace("%", "%%"),
        metavar=option.name.upper() if option.is_positional else metavar,
        default=argparse.SUPPRESS if option.setting else option.default,
        **more,
    )
    if completing and names_files(option):
        added.complete = shtab.FILE  # type: ignore[attr-defined]


def names_files(option: Option) -> bool:
    """Whether an option takes files or folders."""
    return option.read in (Path, folders) or option.name in ("pictures", "good", "defect", "region", "ignore")
