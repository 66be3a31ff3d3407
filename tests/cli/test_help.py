"""The help of each command."""

import re
from contextlib import redirect_stdout
from io import StringIO

import pytest

from promptad.cli.main import main
from promptad.cli.options import COMMANDS


@pytest.mark.parametrize("command", COMMANDS)
def test_help_shows_meaning_and_default_of_each_option(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "1000")  # so that no line is broken at a hyphen
    output = StringIO()
    with redirect_stdout(output), pytest.raises(SystemExit, match=r"^0$"):
        main([command, "--help"])
    printed = " ".join(output.getvalue().split())
    for option in COMMANDS[command].options:
        if not option.flag.startswith("-"):
            assert f"{option.flag} {option.help}" in printed
            continue
        line = rf"{option.flag} \S+( \S+ \S+)? {re.escape(option.help)}(?P<default> \(default: [^()]+\))?"
        match = re.search(line, printed)
        assert match, option.flag
        has_default = option.default is not None or option.setting not in ("", "prompts.states")
        assert bool(match["default"]) == (has_default and "(default" not in option.help), option.flag
