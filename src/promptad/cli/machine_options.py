"""The options of the machine that works: its device, how much at once, and who works beside it."""

from promptad.cli.option import Option
from promptad.cli.values import truth
from promptad.runtime.engines import ENGINES, TORCH
from promptad.settings import BATCH_SIZE

DEVICE = Option("--device", str, "cpu, cuda or a certain GPU, such as cuda:1 (default: a GPU, if there is one)")
GPU = Option("--gpu-id", int, "the same by the number of a GPU (default: 0 where there is one, else the CPU)")
CPU = Option("--use-cpu", truth, "the same as the device cpu: work on the CPU even where there is a GPU", default=False)
BATCH = Option(
    "--batch-size", int, "pictures that are encoded together; lower it if memory runs out", default=BATCH_SIZE
)
ENGINE = Option(
    "--engine",
    str,
    f"what encodes pictures on a CPU: {', '.join((TORCH, *ENGINES))}; the last two need some seconds to start, and are"
    " faster from then on",
    default=TORCH,
    choices=(TORCH, *ENGINES),
)
MACHINE = (
    DEVICE,
    GPU,
    CPU,
    ENGINE,
    Option("--feature-cache", truth, "keep the features of pictures on disk for the next run", default=True),
    Option("--cache-size", float, "GB of features that are kept in $PROMPTAD_CACHE (or the user's cache)", default=4.0),
    BATCH,
)
WORKERS = Option(
    "--workers",
    int,
    "processes of this machine that train side by side, with its cores shared out among them",
    default=1,
)
CLUSTER = Option(
    "--cluster",
    str,
    "train on a Ray cluster: its address, host:port, or 'auto', the one that runs, else one that is started here",
    choices=("auto",),
)
