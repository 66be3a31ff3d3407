"""The commands, with their options."""

from pathlib import Path

from promptad.cli.detector_options import CONFIRM, EXPORT, PREDICT, SERVE, SET_THRESHOLD, WATCH
from promptad.cli.learning_options import CPU, DATA, GPU, LEARNING, OWN
from promptad.cli.option import Option
from promptad.cli.values import folders, names, numbers, truth
from promptad.data.corruptions import CORRUPTIONS
from promptad.reports.comparison.rows import BASELINE, OURS

CHECKPOINT = Option("--checkpoint", Path, "the detector to test (default: where train put it)")
DISTURB = Option(
    "--disturb",
    names,
    "measure on disturbed test pictures, too, each at three strengths: one or several, by commas, of"
    f" {', '.join(CORRUPTIONS)} (default: none)",
)
TOGETHER = Option("--together", truth, "train all classes side by side (default: on a GPU)")
CLASSES = Option("--classes", names, "classes, separated by commas (default: all)")
DEMO = (
    Option("--output", Path, "folder to draw the class folders in", default=Path("data") / "demo"),
    CLASSES,
    Option("--line", int, "number of the production line: each has its own look", default=0),
    Option("--difficulty", str, "easy, normal or hard", default="normal"),
    Option("--sheet", Path, "picture file to draw a contact sheet of the classes in"),
)
COMPARE = (
    DATA[0],
    Option("--root-dir", folders, "folders of results, separated by commas (default: result)"),
    Option("--baseline", str, "the system to compare with; +memory is its form with a memory bank", default=BASELINE),
    Option("--ours", str, "the system that is compared with it", default=OURS),
    Option("--k-shot", numbers, "numbers of support images, such as 1,2,4 (default: all that have results)"),
    Option("--seeds", numbers, "seeds, such as 0-2 (default: all that have results)"),
    CLASSES,
    Option("--select", str, "which epoch was kept, such as last; only test-oracle shows what test labels chose"),
    Option("--output", Path, "folder to write comparison.csv, .md and .png to (default: none)"),
)

ONE_K = Option("--k-shot", int, "number of support images (default: the only one that has results)")
CHOICE = tuple(ONE_K if option.name == ONE_K.name else option for option in COMPARE if option.name != "output")
REPORT = (
    *CHOICE,
    Option("--predictions", Path, "what predict wrote of pictures without labels, in the place of saved results"),
    Option("--output", Path, "the page to write", default=Path("report.html")),
    GPU,
    CPU,
)
COMMANDS: dict[str, tuple[str, tuple[Option, ...]]] = {
    "train": ("train, measure and diagnose the detector of one class", (*LEARNING, *OWN)),
    "predict": ("judge pictures without labels: a decision, and where the defect is", PREDICT),
    "threshold": ("show a detector's threshold, and what others would ask; or set it", SET_THRESHOLD),
    "confirm": (
        "tell a detector where it was wrong: it learns in seconds, and that can be undone",
        CONFIRM,
    ),
    "watch": ("judge each picture that arrives in a folder once, also after a kill and a restart", WATCH),
    "export": ("write a detector as a file that runs without torch", EXPORT),
    "serve": ("answer over HTTP, with a page: judge pictures by exported detectors", SERVE),
    "test": ("measure and diagnose a trained detector again", (*LEARNING, CHECKPOINT, DISTURB)),
    "train-all": ("train all classes of a data set; start it again and it goes on", (*LEARNING, CLASSES, TOGETHER)),
    "compare": ("compare two systems in saved results, class by class", COMPARE),
    "report": ("write saved results, or predictions, as one HTML page with figures and the worst pictures", REPORT),
    "demo-data": ("draw the demo data set", DEMO),
}
