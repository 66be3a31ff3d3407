"""The commands, with their options and examples, in groups."""

from pathlib import Path

from promptad.cli.detector_options import CONFIRM, EXPORT, MOVED, PREDICT_GROUPS, SERVE, SET_THRESHOLD, WATCH_GROUPS
from promptad.cli.learning_options import DATA, LEARNING_GROUPS, OWN
from promptad.cli.machine_options import BATCH, CLUSTER, CPU, DEVICE, GPU, WORKERS
from promptad.cli.option import Command, Option
from promptad.cli.sweep_options import SEARCH, SWEEP, SWEEP_LEARNING
from promptad.cli.values import class_choice, folders, names, numbers, truth
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
CLASSES = Option("--classes", class_choice, "classes, separated by commas, or 'all' (default: all)")
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
PAGE = (
    Option("--output", Path, "the page to write", default=Path("report.html")),
    Option("--predictions", Path, "what predict wrote of pictures without labels, in the place of saved results"),
)
LISTED_BACKBONES = (
    Option("--like", str, "only those whose names hold this, such as SigLIP2 (default: all with known weights)"),
    Option("--measure", truth, "measure seconds a picture, with random weights: nothing is downloaded", default=False),
)
SHELLS = ("bash", "zsh", "fish", "powershell", "tcsh")
SHELL = Option("SHELL", str, f"the shell: {', '.join(SHELLS)}", choices=SHELLS)

_OWN = {"your own part": OWN}
COMMAND_GROUPS: dict[str, dict[str, Command]] = {
    "learn": {
        "train": Command(
            "train, measure and diagnose the detector of one class",
            _OWN | LEARNING_GROUPS,
            (
                "promptad train --good parts/bracket --name 'metal bracket'",
                "promptad train --class-name carpet --k-shot 2 --n_pro 3 --n_pro_ab 6 --epochs 100",
                "promptad train --dataset demo --class-name carpet --seeds 0-2 --memory-bank",
            ),
        ),
        "train-all": Command(
            "train all classes of a data set; start it again and it goes on",
            {"which classes, and by whom": (CLASSES, TOGETHER, WORKERS, CLUSTER)} | LEARNING_GROUPS,
            (
                "promptad train-all --k-shot 4 --seeds 0-4",
                "promptad train-all --dataset folder --data-root parts --classes bracket,gear",
            ),
        ),
    },
    "judge": {
        "predict": Command(
            "judge pictures without labels: a decision, and where the defect is",
            PREDICT_GROUPS,
            (
                "promptad predict result/metal_bracket new_pictures --overlays",
                "promptad predict result/metal_bracket 'line3/*.png' --false-alarm-rate 0.1% --output monday",
                "promptad predict bracket.onnx new_pictures --fail-on-anomaly",
                "promptad predict result/metal_bracket archive --cluster auto --output judged",
            ),
        ),
        "watch": Command(
            "judge each picture that arrives in a folder once, also after a kill and a restart",
            WATCH_GROUPS,
            (
                "promptad watch result/metal_bracket arriving --output watched",
                "promptad watch result/metal_bracket arriving --rejected move --rejected-to rejects",
            ),
        ),
        "serve": Command(
            "answer over HTTP, with a page: judge pictures by exported detectors",
            {"the service": SERVE},
            ("promptad serve bracket.onnx gear.onnx --port 8000",),
        ),
    },
    "decide, and correct": {
        "threshold": Command(
            "show a detector's threshold, and what others would ask; or set it",
            {"the decision": SET_THRESHOLD, "machine": MOVED},
            (
                "promptad threshold result/metal_bracket",
                "promptad threshold result/metal_bracket --false-alarm-rate 1%",
            ),
        ),
        "confirm": Command(
            "tell a detector where it was wrong: it learns in seconds, and that can be undone",
            {"verdicts": CONFIRM, "machine": (*MOVED, BATCH)},
            (
                "promptad confirm result/metal_bracket --verdicts verdicts.json",
                "promptad confirm result/metal_bracket --good new_pictures/017.png",
                "promptad confirm result/metal_bracket --undo 017.png",
            ),
        ),
    },
    "measure": {
        "test": Command(
            "measure and diagnose a trained detector again",
            {"which detector": (CHECKPOINT, DISTURB)} | LEARNING_GROUPS,
            (
                "promptad test --dataset demo --class-name carpet --k-shot 2",
                "promptad test --dataset demo --class-name carpet --disturb light,blur",
            ),
        ),
        "sweep": Command(
            "train and measure many settings, a grid or a search; start it again and it goes on",
            {"the sweep": (CLASSES, *SWEEP, WORKERS, CLUSTER), "a search": SEARCH} | SWEEP_LEARNING,
            (
                "promptad sweep --dataset demo --n_pro 1,3,5 --n_pro_ab 4,6,8 --k-shot 1,2,4 --seeds 0-2",
                "promptad sweep --memory-bank True,False --classes carpet,grid --json > sweep.json",
                "promptad sweep --search optuna --trials 30 --lr 0.0005:0.01:log --n_pro 2:5 --tune-on carpet,grid",
            ),
        ),
        "compare": Command(
            "compare two systems in saved results, class by class",
            {"which results": COMPARE},
            ("promptad compare --dataset demo --ours multi-prototype+memory --output comparison",),
        ),
        "report": Command(
            "write saved results, or predictions, as one HTML page with figures and the worst pictures",
            {"the page": PAGE, "which results": CHOICE, "machine": (DEVICE, GPU, CPU)},
            ("promptad report --predictions predictions --output report.html", "promptad report --dataset demo"),
        ),
    },
    "more": {
        "export": Command(
            "write a detector as a file that runs without torch",
            {"the file": EXPORT, "machine": MOVED},
            (
                "promptad export result/metal_bracket --output bracket.onnx",
                "promptad export result/metal_bracket --precision int8 --good parts/bracket",
            ),
        ),
        "backbones": Command(
            "list the backbones that can be read, and what works with each",
            {"which backbones": LISTED_BACKBONES, "machine": (DEVICE, GPU, CPU)},
            ("promptad backbones", "promptad backbones --like B-16-SigLIP2 --measure"),
        ),
        "demo-data": Command(
            "draw the demo data set", {"what is drawn": DEMO}, ("promptad demo-data --sheet demo.jpg",)
        ),
        "completion": Command(
            "print what a shell needs to complete commands and options",
            {"the shell": (SHELL,)},
            (
                "promptad completion bash > ~/.local/share/bash-completion/completions/promptad",
                "promptad completion zsh > ~/.zfunc/_promptad",
                "promptad completion fish > ~/.config/fish/completions/promptad.fish",
            ),
        ),
    },
}
COMMANDS = {name: command for group in COMMAND_GROUPS.values() for name, command in group.items()}
