"""The command line, as `promptad` and as `python -m promptad`; without torch it tells what runs there."""

import sys
from importlib.util import find_spec


def main() -> int:
    """Run a command; return its exit code."""
    if find_spec("torch") is None:
        print(
            "promptad: torch is not installed: exported detectors run without it, by python -m promptad.runtime and"
            " python -m promptad.serve; everything else needs it: pip install torch torchvision",
            file=sys.stderr,
        )
        return 2
    from promptad.cli.main import main as run  # noqa: PLC0415 it needs torch

    return run()


if __name__ == "__main__":
    sys.exit(main())
