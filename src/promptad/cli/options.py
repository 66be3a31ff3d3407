"""The options of the command line: what each is called, sets and means."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from promptad.cli.values import folders, names, numbers, phrases, rate, shares, truth
from promptad.data.datasets import DATASETS
from promptad.export.registry import SUFFIXES
from promptad.export.tower_encoder import TORCH
from promptad.reports.comparison.rows import BASELINE, OURS
from promptad.runtime.engines import ENGINES
from promptad.runtime.rejects import WAYS
from promptad.runtime.watch_options import GIVE_UP, SETTLE
from promptad.serve.server import HOST, MAX_MB, PORT, QUEUE, TOKEN_VARIABLE
from promptad.settings import BATCH_SIZE, MULTI_PROTOTYPE, SINGLE_ANCHOR, Settings


@dataclass(frozen=True)
class Option:
    """One option; `setting` is the path of what it sets, such as "training.lr", or empty if it sets nothing saved.

    A flag without dashes is a positional argument.
    """

    flag: str
    read: Callable[[str], Any]
    help: str
    setting: str = ""
    default: Any = None
    system: str = ""  # the method that it applies to, if not to all
    several: bool = False  # whether it may be given more than once

    @property
    def name(self) -> str:
        """The option's name among parsed arguments."""
        return self.flag.lstrip("-").replace("-", "_").lower()


DATA = (
    Option("--dataset", str, f"where pictures come from: {', '.join(DATASETS)}", default="mvtec"),
    Option("--class-name", str, "the part: a folder of the data set, and what it is called in the prompts"),
    Option("--data-root", Path, "folder above the data sets (default: $PROMPTAD_DATA, else data)"),
    Option("--root-dir", Path, "folder that results go to", default=Path("result")),
    Option(
        "--support-list",
        Path,
        "file that names the support images: a path a line, or the original PromptAD's '#k: id id'",
    ),
)
METHOD = (
    Option("--system", str, f"'{MULTI_PROTOTYPE}', or the baseline '{SINGLE_ANCHOR}'", "system"),
    Option(
        "--level",
        str,
        "what is learned from: 'image' for class and patch tokens, 'pixel' for patch tokens alone",
        "level",
    ),
    Option(
        "--k-shot",
        int,
        "support images: 1 to 4 are usual; more of them cover more of what is normal",
        "training.k_shot",
    ),
    Option("--n_pro", int, "normal prototypes; several cover a part that looks good in several ways", "prompts.n_pro"),
    Option("--n_pro_ab", int, "abnormal prototypes; several cover several ways to be bad", "prompts.n_pro_ab"),
    Option("--n_ctx", int, "learned vectors in a normal context", "prompts.n_ctx"),
    Option("--n_ctx_ab", int, "learned vectors in an abnormal context", "prompts.n_ctx_ab"),
    Option(
        "--start",
        str,
        f"contexts start from real 'words' or at 'random' (default: words; {SINGLE_ANCHOR}: random)",
        "prompts.start",
    ),
    Option(
        "--normal-states",
        truth,
        "put a word such as 'flawless' before the part's name in normal prompts",
        "prompts.normal_states",
        system=MULTI_PROTOTYPE,
    ),
    Option("--states", phrases, "your own part's defects, such as 'with hole, with scratch'", "prompts.states"),
)
TRAINING = (
    Option("--Epoch", int, "epochs, of one step each", "training.epochs"),
    Option(
        "--select",
        str,
        "the epoch that is kept: the 'last', that of the least 'train-loss', or 'test-oracle', which looks at the test"
        " labels as the original PromptAD does",
        "training.select",
    ),
    Option("--lr", float, "learning rate; lower it if the loss rises", "training.lr"),
    Option("--momentum", float, "decay of the optimiser's mean gradient", "training.momentum"),
    Option("--weight-decay", float, "decay of the contexts", "training.weight_decay"),
    Option("--seed", int, "of the choice of support images, their views and random starts", "training.seed"),
    Option("--seeds", numbers, "several seeds, such as 0-4 or 111,112: prints mean and deviation"),
    Option("--views", int, "label-free views of each support image", "training.views", system=MULTI_PROTOTYPE),
    Option(
        "--turn",
        float,
        "degrees that views are turned by, at most, either way; 180 where parts lie anyhow",
        "training.turn",
        system=MULTI_PROTOTYPE,
    ),
    Option(
        "--least-crop",
        float,
        "the least share of each side that a view shows; 1: all of it",
        "training.least_crop",
        system=MULTI_PROTOTYPE,
    ),
    Option(
        "--trust",
        float,
        "in the starting words, 0 to 1: the larger it is, the nearer prompts stay to them (default: as far as CLIP"
        " recognises the part by its name, and its words react to disturbed views)",
        "training.trust",
        system=MULTI_PROTOTYPE,
    ),
    Option("--lambda1", float, "weight of the match loss", "single_anchor.lambda1", system=SINGLE_ANCHOR),
    Option("--eta-min", float, "learning rate at the end", "single_anchor.eta_min", system=SINGLE_ANCHOR),
    *(
        Option(
            f"--weight-{name}",
            float,
            f"weight of the {name} loss; 0 switches it off",
            f"training.weights.{name}",
            system=MULTI_PROTOTYPE,
        )
        for name in asdict(Settings())["training"]["weights"]
    ),
)
BACKBONE = (
    Option(
        "--backbone",
        str,
        "a plain-ViT CLIP of open_clip, or 'tiny', which is bundled and the demo's own",
        "backbone.name",
    ),
    Option("--pretrained-dataset", str, "open_clip's tag of the weights, or a weight file", "backbone.pretrained"),
    Option(
        "--precision",
        str,
        "of the backbone's matrix products: float32, or bfloat16 or float16, faster where the processor has them",
        "backbone.precision",
    ),
    Option(
        "--img-resize", int, "pixels a side that pictures are resized to (default: the backbone's)", "backbone.resize"
    ),
    Option(
        "--bit-depth",
        int,
        "bits that a camera's 16-bit pictures fill, such as 12 (default: what the support images need)",
        "bit_depth",
    ),
    Option("--img-cropsize", int, "pixels a side of the central square that is kept (default: all)", "backbone.crop"),
)
SCORING = (
    Option("--resolution", int, "pixels a side of the anomaly map", "scoring.resolution"),
    Option("--sigma", float, "pixels; the Gaussian that smooths the map", "scoring.sigma"),
    Option(
        "--calibration",
        str,
        "of scores: by 'position' in the picture, by 'prototype', or 'none'",
        "scoring.calibration",
        system=MULTI_PROTOTYPE,
    ),
    Option(
        "--image-score",
        str,
        "what an image score is made of: 'class-token', 'patches' or 'both'",
        "scoring.image_score",
        system=MULTI_PROTOTYPE,
    ),
    Option(
        "--top-share",
        float,
        "0 to 1: the share of patches, the largest ones, whose mean is their part of an image score; 0: the largest"
        " alone",
        "scoring.top_share",
        system=MULTI_PROTOTYPE,
    ),
    Option(
        "--memory-bank",
        truth,
        f"compare patches with those of the support images too (default: False; {SINGLE_ANCHOR}: True)",
        "scoring.memory",
    ),
    Option(
        "--fusion",
        str,
        "what words and layers count for in and beside a memory bank: by their 'reaction' to disturbed views, or all"
        " as much: 'sum'",
        "scoring.fusion",
        system=MULTI_PROTOTYPE,
    ),
    Option(
        "--far-views",
        truth,
        "keep zoomed and relit views of the support images in the memory bank, too",
        "scoring.far_views",
        system=MULTI_PROTOTYPE,
    ),
    Option(
        "--memory-layers",
        shares,
        "depths of the backbone's blocks that a memory bank is made of, as shares of all, by commas",
        "backbone.memory_layers",
        system=MULTI_PROTOTYPE,
    ),
    Option(
        "--memory-distance",
        names,
        "of a patch to a memory bank, one or several, by commas: to its 'nearest' row, to the nearest of rows 'refined'"
        " by the picture itself, 'soft' to a mean of the 5 nearest, to the 'subspace' of all rows",
        "scoring.memory_distances",
        system=MULTI_PROTOTYPE,
    ),
    Option(
        "--position-share",
        float,
        "0 to 1: how much a memory bank's score allows for places where normal parts differ",
        "scoring.position_share",
        system=MULTI_PROTOTYPE,
    ),
)
FALSE_ALARM_RATE = Option(
    "--false-alarm-rate",
    rate,
    "share of good pictures that the decision may reject, such as 0.01, or in per cent with their sign",
    "scoring.false_alarm_rate",
    system=MULTI_PROTOTYPE,
)
SECOND_RATE = "a second, larger rate: what only it would reject is 'unsure', and left to you to decide"
UNSURE = Option(
    "--unsure",
    rate,
    f"{SECOND_RATE} (default: none)",
    "scoring.unsure_rate",
    system=MULTI_PROTOTYPE,
)
UNSURE_NOW = replace(UNSURE, setting="", system="", help=f"{SECOND_RATE} (default: as it is)")
RATE_NOW = replace(FALSE_ALARM_RATE, setting="", system="", help=FALSE_ALARM_RATE.help + " (default: as it is)")
THRESHOLD = Option("--threshold", float, "raw score above which a picture is rejected (default: by the rate)")
WEIGHTS = BACKBONE[1]
GPU = Option("--gpu-id", int, "number of the GPU (default: 0 where there is one, else the CPU)")
CPU = Option("--use-cpu", truth, "work on the CPU even where there is a GPU", default=False)
BATCH = Option(
    "--batch-size", int, "pictures that are encoded together; lower it if memory runs out", default=BATCH_SIZE
)
ENGINE = Option(
    "--engine",
    str,
    f"what encodes pictures on a CPU: {', '.join((TORCH, *ENGINES))}; the last two need some seconds to start, and are"
    " faster from then on",
    default=TORCH,
)
MACHINE = (
    GPU,
    CPU,
    ENGINE,
    Option("--feature-cache", truth, "keep the features of pictures on disk for the next run", default=True),
    Option("--cache-size", float, "GB of features that are kept in $PROMPTAD_CACHE (or the user's cache)", default=4.0),
    BATCH,
)
OUTPUT = (
    Option("--save-diagnostics", truth, "write the prototypes' diagnostics, as JSON and drawn", default=True),
    Option("--vis", truth, "draw every test picture with its map, mask and contours", default=False),
)
CHECKPOINT = Option("--checkpoint", Path, "the detector to test (default: where train put it)")
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
OWN = (
    Option("--good", str, "your own pictures of good parts: a folder, or files, by commas or repeated", several=True),
    Option("--name", str, "what your own part is called in the prompts, such as 'metal bracket'"),
)
MOVED = (replace(WEIGHTS, setting="", help="the weight file, if it has moved (default: as trained)"), GPU, CPU)
TRAINED = Option("CHECKPOINT", Path, "the trained detector: its file, or the folder of a part of your own")
PREDICT = (
    Option(
        "CHECKPOINT", Path, "the trained detector: its file, the folder of a part of your own, or an exported detector"
    ),
    Option("PICTURES", str, "pictures to judge: files, folders (with all below them) or patterns", several=True),
    Option("--output", Path, "folder to write predictions.jsonl to, and overlays/", default=Path("predictions")),
    Option("--overlays", truth, "draw each picture with its map and the regions that are anomalous", default=False),
    Option(
        "--fail-on-anomaly",
        truth,
        "exit with 3 if a picture is rejected or cannot be read, with 4 if one is unsure",
        default=False,
    ),
    RATE_NOW,
    THRESHOLD,
    UNSURE_NOW,
    *MOVED,
    replace(ENGINE, default=None, help=f"{ENGINE.help} (default: {TORCH}, or the usual one of an exported detector)"),
    BATCH,
)
WATCH = (
    Option("DETECTOR", Path, PREDICT[0].help),
    Option("FOLDER", Path, "folder that pictures arrive in, with all below it"),
    replace(PREDICT[2], help="folder to append to predictions.jsonl in, with overlays/ and what a restart needs"),
    Option("--once", truth, "judge what is there and not yet judged, and end, for cron", default=False),
    Option("--settle", float, "seconds without a change after which a picture is complete", default=SETTLE),
    Option("--give-up", float, "seconds without a change until one that cannot be read is an error", default=GIVE_UP),
    Option("--poll", float, "seconds between looks at a folder of a network (default: the system tells of changes)"),
    Option("--rejected", str, f"what is done with rejected pictures: {' or '.join(WAYS)} them (default: nothing)"),
    Option("--rejected-to", Path, "folder that rejected pictures are copied or moved to"),
    Option("--webhook", str, "address, http or https, that the lines of rejected pictures are sent to"),
    Option("--webhook-all", truth, "send the lines of all pictures", default=False),
    *PREDICT[3:],
)

EXPORT = (
    TRAINED,
    Option(
        "--to",
        str,
        f"format: {', '.join(SUFFIXES)}; the last holds the head alone (default: by the output's name, else onnx)",
    ),
    Option("--output", Path, "file to write (default: beside the checkpoint)"),
    Option(
        "--precision",
        str,
        "of the image encoder: float32, float16 (half the file) or int8 (a third, and faster)",
        default="float32",
    ),
    Option("--tower", Path, "file of its own for the image encoder, which several detectors share (default: none)"),
    Option("--good", str, "for int8: the pictures that the detector learned from, or their folder", several=True),
    Option("--system", str, "of the checkpoint", default=MULTI_PROTOTYPE),
    RATE_NOW,
    UNSURE_NOW,
    *MOVED,
)

SERVE = (
    Option("DETECTORS", Path, "exported detectors, or folders that hold some: a part each", several=True),
    Option("--host", str, "address to listen at; 0.0.0.0 for all of this machine's", default=HOST),
    Option("--port", int, "port to listen at; 0 for any that is free", default=PORT),
    Option("--token", str, f"what requests must bring as a bearer token (default: ${TOKEN_VARIABLE}, else none)"),
    Option("--engine", str, f"{' or '.join(ENGINES)} (default: the usual one of each file)"),
    Option("--threads", int, "threads of the engine (default: one a core)"),
    Option("--queue", int, "pictures that may wait; further ones are refused", default=QUEUE),
    Option("--max-mb", float, "megabytes that one request may have", default=MAX_MB),
)

SET_THRESHOLD = (
    TRAINED,
    RATE_NOW,
    THRESHOLD,
    UNSURE_NOW,
    *MOVED,
)

LEARNING = (*DATA, *METHOD, *TRAINING, *BACKBONE, *SCORING, FALSE_ALARM_RATE, UNSURE, *MACHINE, *OUTPUT)
COMMANDS: dict[str, tuple[str, tuple[Option, ...]]] = {
    "train": ("train, measure and diagnose the detector of one class", (*LEARNING, *OWN)),
    "predict": ("judge pictures without labels: a decision, and where the defect is", PREDICT),
    "threshold": ("show a detector's threshold, and what others would ask; or set it", SET_THRESHOLD),
    "watch": ("judge each picture that arrives in a folder once, also after a kill and a restart", WATCH),
    "export": ("write a detector as a file that runs without torch", EXPORT),
    "serve": ("answer over HTTP, with a page: judge pictures by exported detectors", SERVE),
    "test": ("measure and diagnose a trained detector again", (*LEARNING, CHECKPOINT)),
    "train-all": ("train all classes of a data set; start it again and it goes on", (*LEARNING, CLASSES, TOGETHER)),
    "compare": ("compare two systems in saved results, class by class", COMPARE),
    "report": ("write saved results, or predictions, as one HTML page with figures and the worst pictures", REPORT),
    "demo-data": ("draw the demo data set", DEMO),
}
