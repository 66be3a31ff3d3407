"""The options of a sweep: those of learning, any of which may have several values, and its own."""

from dataclasses import replace
from pathlib import Path

from promptad.cli.learning_options import LEARNING_GROUPS
from promptad.cli.option import Option
from promptad.cli.values import names, truth
from promptad.results.columns import IMAGE_COLUMNS, PIXEL_COLUMNS
from promptad.settings import TEST_ORACLE

LEFT_OUT = ("class_name", "seed")  # for `classes` and `seeds`
USUAL = {
    "root_dir": ("folder that each setting gets a folder of results in", Path("sweep")),
    "save_diagnostics": ("write the prototypes' diagnostics of each training, as JSON and drawn", False),
}
SWEEP = (
    Option("--output", Path, "folder to write sweep.csv, .md, .json and .png to (default: the folder of results)"),
    Option("--json", truth, "print the result as JSON, and all else to standard error", default=False),
)
SEARCHES = ("optuna",)
SEARCH = (
    Option(
        "--search",
        str,
        "look through ranges of settings, LOW:HIGH or LOW:HIGH:log, by 'optuna' (default: a grid of all values)",
        choices=SEARCHES,
    ),
    Option("--trials", int, "how many settings a search tries"),
    Option(
        "--tune-on",
        names,
        f"classes that a search chooses by, none of which is reported; or '{TEST_ORACLE}': the test labels that are"
        " reported choose",
    ),
    Option(
        "--objective",
        str,
        "the metric whose mean over classes and seeds a search chooses by (default: i_roc)",
        choices=(*IMAGE_COLUMNS, *PIXEL_COLUMNS),
    ),
    Option("--search-seed", int, "of the search's own random draws (default: 0)"),
)


def _of_sweep(option: Option) -> Option:
    if option.setting:
        return replace(option, varied=True, several=True)
    words, default = USUAL.get(option.name, (option.help, option.default))
    return replace(option, help=words, default=default)


SWEEP_LEARNING = {
    title: tuple(_of_sweep(option) for option in options if option.name not in LEFT_OUT)
    for title, options in LEARNING_GROUPS.items()
}
