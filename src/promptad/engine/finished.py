"""What a result folder holds already of a job: its detector and its measures, of exactly its settings and images."""

from promptad.backbones.clip import Backbone
from promptad.data.fingerprints import files_sha256, support_sha256
from promptad.engine.context import Job
from promptad.engine.evaluate import run_id
from promptad.errors import InputError
from promptad.models.checkpoint import MEMORY_KEY
from promptad.models.registry import read_checkpoint
from promptad.results.table import HASH_DIGITS, read_results


def is_finished(job: Job, backbone: Backbone) -> bool:
    """Return whether a class has been trained and evaluated with exactly these settings, support and test images."""
    try:
        checkpoint = read_checkpoint(job.results.checkpoint(job.class_name), job.settings.system)
    except InputError:
        return False
    if "settings" not in checkpoint:
        return False
    trained = run_id(checkpoint["settings"], checkpoint["support_sha256"])
    wanted = run_id(job.settings, support_sha256(job.support_images, job.settings.bit_depth))
    if trained != wanted or checkpoint["weights_sha256"] != backbone.weights_sha256:
        return False
    if checkpoint.get(MEMORY_KEY) != (backbone.memory and backbone.memory.weights_sha256):
        return False
    if not job.dataset.can_be_evaluated:
        return True
    row = measured_row(job)
    return row is not None and row["data"] == files_sha256(job.dataset.test)[:HASH_DIGITS]


def measured_row(job: Job) -> dict[str, str] | None:
    """Return the saved row of exactly a job's settings and support images; None if it was not measured."""
    wanted = job.class_name, run_id(job.settings, support_sha256(job.support_images, job.settings.bit_depth))
    rows = (row for row in read_results(job.results.csv) if (row["class"], row["run"]) == wanted)
    return next(rows, None)
