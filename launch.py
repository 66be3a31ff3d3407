"""Starts a `promptad` command for the scripts beside this file, in the project's environment."""

import os
import subprocess
import sys
from pathlib import Path

ENVIRONMENT = Path(__file__).resolve().parent / ".venv"
PYTHON = ENVIRONMENT / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def launch(command: str, *options: str) -> None:
    """Run `promptad COMMAND` with these options and this script's arguments, which come before them.

    It runs by the interpreter that has the package installed.
    """
    try:
        from promptad.cli.main import main  # noqa: PLC0415 it may be installed for another interpreter only
    except ModuleNotFoundError as error:
        if error.name != "promptad":
            raise
        if not PYTHON.exists() or Path(sys.prefix) == ENVIRONMENT:
            print("promptad is not installed: pip install . or ./train_single_class.sh does it", file=sys.stderr)
            sys.exit(2)
        if os.name == "nt":  # where a replaced process lets the terminal go on
            sys.exit(subprocess.run([PYTHON, *sys.argv], check=False).returncode)
        os.execv(PYTHON, [str(PYTHON), *sys.argv])
    sys.exit(main([command, *options, *sys.argv[1:]]))
