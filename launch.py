"""Starts a `promptad` command for the scripts beside this file, in the project's environment."""

import os
import sys
from pathlib import Path

ENVIRONMENT = Path(__file__).resolve().parent / ".venv" / "bin" / "python"


def launch(command: str, *options: str) -> None:
    """Run `promptad COMMAND` with these options and this script's arguments, which come before them.

    It runs by the interpreter that has the package installed.
    """
    try:
        from promptad.cli.main import main  # noqa: PLC0415 it may be installed for another interpreter only
    except ModuleNotFoundError as error:
        if error.name != "promptad":
            raise
        if not ENVIRONMENT.exists() or Path(sys.prefix) == ENVIRONMENT.parent.parent:
            print("promptad is not installed: ./train_single_class.sh installs it, then try again", file=sys.stderr)
            sys.exit(2)
        os.execv(ENVIRONMENT, [str(ENVIRONMENT), *sys.argv])
    sys.exit(main([command, *options, *sys.argv[1:]]))
