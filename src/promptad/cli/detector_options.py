"""The options of what works on a trained detector: predict, watch, export, serve, threshold, confirm."""

from dataclasses import replace
from pathlib import Path

from promptad.cli.learning_options import FALSE_ALARM_RATE, IGNORE, MEMORY_WEIGHTS, REGION, SECOND_RATE, UNSURE, WEIGHTS
from promptad.cli.machine_options import BATCH, CPU, DEVICE, ENGINE, GPU
from promptad.cli.option import Option
from promptad.cli.values import names, numbers, truth
from promptad.export.formats import SUFFIXES
from promptad.runtime.engines import ENGINES, TORCH
from promptad.runtime.rejects import WAYS
from promptad.runtime.watch_options import GIVE_UP, SETTLE
from promptad.serve.server import HOST, MAX_MB, PORT, QUEUE, TOKEN_VARIABLE
from promptad.settings import MULTI_PROTOTYPE

UNSURE_NOW = replace(UNSURE, setting="", system="", help=f"{SECOND_RATE} (default: as it is)")
RATE_NOW = replace(FALSE_ALARM_RATE, setting="", system="", help=FALSE_ALARM_RATE.help + " (default: as it is)")
THRESHOLD = Option("--threshold", float, "raw score above which a picture is rejected (default: by the rate)")
MOVED = (
    replace(WEIGHTS, setting="", help="the weight file, if it has moved (default: as trained)"),
    replace(MEMORY_WEIGHTS, setting="", system="", help="the same of a memory backbone (default: as trained)"),
    DEVICE,
    GPU,
    CPU,
)
TRAINED = Option("CHECKPOINT", Path, "the trained detector: its file, or the folder of a part of your own")
ANY_DETECTOR = "the trained detector: its file, the folder of a part of your own, or an exported detector"
OVERLAYS = Option(
    "--overlays", truth, "draw each picture with its map and the regions that are anomalous", default=False
)
FAILING = Option(
    "--fail-on-anomaly",
    truth,
    "exit with 3 if a picture is rejected or cannot be read, with 4 if one is unsure",
    default=False,
)
DECIDED_NOW = {
    "the decision": (RATE_NOW, THRESHOLD, UNSURE_NOW),
    "what counts of a picture": (
        replace(REGION, help=f"{REGION.help} (default: as it learned)"),
        replace(IGNORE, help=f"{IGNORE.help} (default: as it learned)"),
    ),
    "machine": (
        *MOVED,
        replace(
            ENGINE, default=None, help=f"{ENGINE.help} (default: {TORCH}, or the usual one of an exported detector)"
        ),
        BATCH,
    ),
}
PREDICT_GROUPS = {
    "what is judged": (
        Option("CHECKPOINT", Path, f"{ANY_DETECTOR}; or a folder of several of them, a part each"),
        Option("PICTURES", str, "pictures to judge: files, folders (with all below them) or patterns", several=True),
        Option("--which", truth, "of several parts: find the part by the pictures, not by sub-folders", default=False),
    ),
    "output": (
        Option("--output", Path, "folder to write predictions.jsonl to, and overlays/", default=Path("predictions")),
        OVERLAYS,
        FAILING,
    ),
    "very many pictures, on a cluster": (
        Option(
            "--cluster",
            str,
            "judge by Ray, in shards: on the cluster at HOST:PORT, or auto for the one that runs, or a new one here",
        ),
        Option("--shard-size", int, "pictures of a shard (default: 1024, and as many more as fill a batch)"),
        Option("--shard-format", str, "jsonl or parquet (default: jsonl)", choices=("jsonl", "parquet")),
    ),
} | DECIDED_NOW
WATCH_GROUPS = {
    "what is watched": (
        Option("DETECTOR", Path, ANY_DETECTOR),
        Option("FOLDER", Path, "folder that pictures arrive in, with all below it"),
        Option("--once", truth, "judge what is there and not yet judged, and end, for cron", default=False),
        Option("--settle", float, "seconds without a change after which a picture is complete", default=SETTLE),
        Option(
            "--give-up", float, "seconds without a change until one that cannot be read is an error", default=GIVE_UP
        ),
        Option(
            "--poll", float, "seconds between looks at a folder of a network (default: the system tells of changes)"
        ),
    ),
    "output": (
        Option(
            "--output",
            Path,
            "folder to append to predictions.jsonl in, with overlays/ and what a restart needs",
            default=Path("predictions"),
        ),
        OVERLAYS,
        FAILING,
        Option(
            "--rejected",
            str,
            f"what is done with rejected pictures: {' or '.join(WAYS)} them (default: nothing)",
            choices=tuple(WAYS),
        ),
        Option("--rejected-to", Path, "folder that rejected pictures are copied or moved to"),
        Option("--webhook", str, "address, http or https, that the lines of rejected pictures are sent to"),
        Option("--webhook-all", truth, "send the lines of all pictures", default=False),
    ),
} | DECIDED_NOW

EXPORT = (
    TRAINED,
    Option(
        "--to",
        str,
        f"format: {', '.join(SUFFIXES)}; the last holds the head alone (default: by the output's name, else onnx)",
        choices=tuple(SUFFIXES),
    ),
    Option("--output", Path, "file to write (default: beside the checkpoint)"),
    Option(
        "--precision",
        str,
        "of the image encoder: float32, float16 (half the file) or int8 (a third, and faster)",
        default="float32",
        choices=("float32", "float16", "int8"),
    ),
    Option("--tower", Path, "file of its own for the image encoder, which several detectors share (default: none)"),
    Option("--good", str, "for int8: the pictures that the detector learned from, or their folder", several=True),
    Option("--system", str, "of the checkpoint", default=MULTI_PROTOTYPE),
    RATE_NOW,
    UNSURE_NOW,
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
)

CONFIRM = (
    TRAINED,
    Option("--good", str, "pictures that are good: files, folders or patterns; may be given again", several=True),
    Option("--defect", str, "pictures that are defective, in the same way", several=True),
    Option("--predictions", Path, "folder that predict or watch wrote, whose lines the next two options name"),
    Option("--good-lines", numbers, "lines of predictions.jsonl whose pictures are good, such as 3,7-9"),
    Option("--defect-lines", numbers, "lines of predictions.jsonl whose pictures are defective"),
    Option("--verdicts", Path, "file of verdicts that the page of report --predictions has downloaded"),
    Option("--list", truth, "show all verdicts that the detector was taught", default=False),
    Option("--undo", names, "verdicts to take back, by names of files or beginnings of hashes, or all"),
    Option("--region", Path, "folder of masks, where the detector learned from pictures with a region each"),
)
