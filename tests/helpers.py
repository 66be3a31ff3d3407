"""What tests of the command line work with: small drawn classes, and a command called in this process."""

import io
import shutil
import warnings
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

from promptad.command_line import main
from promptad.data.demo import DEFECT_FOLDERS, make_demo_class

SHOWN = (UserWarning, RuntimeWarning, FutureWarning)  # categories that Python prints to a user


@dataclass(frozen=True)
class Outcome:
    """How a command ended, and what it printed; `errors` holds the warnings that a user would see."""

    code: int
    output: str
    errors: str


def call(*arguments: str | Path) -> Outcome:
    output, errors = io.StringIO(), io.StringIO()
    with redirect_stdout(output), redirect_stderr(errors), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        code = main([str(argument) for argument in arguments])
    seen = "".join(f"{warning.message}\n" for warning in caught if issubclass(warning.category, SHOWN))
    return Outcome(code, output.getvalue(), errors.getvalue() + seen)


def assert_refused(outcome: Outcome, *words: str) -> None:
    """A user's mistake: code 2 and one line, which holds the `words`."""
    assert outcome.code == 2, outcome
    assert outcome.errors.count("\n") == 1, outcome.errors
    assert outcome.errors.startswith("promptad: ")
    assert outcome.errors.endswith("\n")
    assert "Traceback" not in outcome.output + outcome.errors
    for word in words:
        assert word in outcome.errors


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below the folder."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def draw_small_class(folder: Path, class_name: str, scratch: Path) -> None:
    """Draw a demo class with four training pictures, four good test pictures and two each of two defects."""
    whole, small = make_demo_class(scratch, class_name), folder / class_name
    defects = list(DEFECT_FOLDERS[class_name])[-2:]
    names = ["readme.txt", *(f"{split}/good/{number:03}.png" for split in ("train", "test") for number in range(4))]
    for defect in defects:
        for number in range(2):
            names += [f"test/{defect}/{number:03}.png", f"ground_truth/{defect}/{number:03}_mask.png"]
    for name in names:
        (small / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(whole / name, small / name)
