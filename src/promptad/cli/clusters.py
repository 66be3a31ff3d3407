"""From options to pictures that a cluster judges."""

import time
from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from promptad.cli.detectors import open_predictor
from promptad.cli.drawing import find_drawing
from promptad.cli.given import Arguments
from promptad.cli.parts import find_parts
from promptad.cli.places import find_checkpoint
from promptad.errors import InputError, check_choice
from promptad.integrations.cluster_pictures import FilePictures, find_pictures, names_sha256
from promptad.integrations.object_stores import is_stored
from promptad.integrations.picked import Pictures, refuse_masks
from promptad.integrations.ray_cluster import Cluster, import_ray, joined_cluster
from promptad.integrations.ray_predict import ActorWork, JudgingEffort, Opened, judge_shards
from promptad.integrations.shard_files import FORMATS, check_names
from promptad.integrations.shard_folder import ShardFolder, ShardPlan
from promptad.runtime.alone import alone
from promptad.runtime.drift import Drift, follow
from promptad.runtime.engines import SUFFIXES
from promptad.runtime.judge import Tally, check_decides, reading_again, tell_of
from promptad.runtime.metadata import Metadata
from promptad.runtime.predict import together
from promptad.runtime.predictions import LOCK, MANIFEST, ONE_IMAGE, PredictionRun
from promptad.utils.progress import add_task, progress_bar
from promptad.utils.provenance import package_commit, package_version

LEAST_SHARD = 1024  # pictures of a shard, by default; so many more that batches are whole
THREADS = 1  # of an actor: its cores
CPU: Arguments = {"device": "cpu", "gpu_id": None, "use_cpu": False}  # where a detector is opened to be asked


def predict_on_cluster(given: Arguments, console: Console) -> int:
    """Predict very many images on a Ray cluster, shard by shard; return the exit code.

    Raises:
        InputError: several parts, an option that is of one process, no cluster, or what `predict` refuses.
    """
    started = time.perf_counter()
    path = _one_detector(given)
    import_ray()
    pictures = find_pictures(given["pictures"], besides=given["output"])
    predictor, masks = open_predictor(path, given | CPU, console)
    known = predictor.metadata
    check_decides(known, path)
    check_names(given["shard_format"] or "jsonl", pictures.names)
    _check_goes_with(pictures, given, masks)
    plan = _plan(PredictionRun.of(path, known, masks), pictures, known, given)
    if known.settings.training.k_shot == 1:
        console.print(ONE_IMAGE, soft_wrap=True)
    with alone(given["output"], LOCK, "output"):
        shards = ShardFolder(given["output"], plan)
        if there := plan.count - len(shards.missing):
            console.print(f"{there} of {plan.count} shards are there already, and kept", soft_wrap=True)
        cluster, effort = _judge(pictures, shards, path, given, console) if shards.missing else (None, JudgingEffort())
        tallies = _finish(shards, pictures, known, console, _machines(cluster, effort, started))
        if cluster is not None:
            _tell_effort(cluster, effort, time.perf_counter() - started, console)
    total = sum(tallies, Tally())
    return total.exit_code(pictures.left_out.unread) if given["fail_on_anomaly"] else 0


def _one_detector(given: Arguments) -> Path:
    """Return the file of the detector.

    Raises:
        InputError: there are several, or an option does not go with a cluster.
    """
    if find_parts(given["checkpoint"], given["which"]):
        raise InputError(f"`cluster`: {given['checkpoint']} holds several parts; name the detector of one")
    if is_stored(str(given["output"]).replace(":/", "://", 1)):
        raise InputError(
            f"`output` {given['output']} is in an object store: name a folder that all machines share, and copy it"
        )
    if (device := given["device"]) is not None and device not in ("cpu", "cuda"):
        raise InputError(f"`device` {device}: each actor of a cluster has a GPU of its own; give cuda or cpu")
    check_choice("shard format", given["shard_format"] or "jsonl", FORMATS)
    if (size := given["shard_size"]) is not None and size < 1:
        raise InputError(f"`shard_size` {size}: must be at least 1")
    return find_checkpoint(given["checkpoint"])


def _check_goes_with(pictures: Pictures, given: Arguments, masks: Path | None) -> None:
    """Check that what needs files is asked for pictures that are files.

    Raises:
        InputError: it is not.
    """
    if isinstance(pictures, FilePictures):
        return
    if given["overlays"]:
        raise InputError("`overlays` are drawn on pictures in files alone: leave it out, or name files or folders")
    refuse_masks(masks)


def _plan(run: PredictionRun, pictures: Pictures, known: Metadata, given: Arguments) -> ShardPlan:
    names, batch = pictures.names, together(known, given["batch_size"])
    inputs = {"kind": pictures.kind, "named": given["pictures"], "pictures": len(names), "sha256": names_sha256(names)}
    size = given["shard_size"] or -(-LEAST_SHARD // batch) * batch
    options = {"batch_size": given["batch_size"], "engine": given["engine"], "overlays": given["overlays"]}
    return ShardPlan(run, names, inputs, size, given["shard_format"] or "jsonl", options)


def _judge(
    pictures: Pictures, shards: ShardFolder, path: Path, given: Arguments, console: Console
) -> tuple[Cluster, JudgingEffort]:
    """Judge the missing shards on a cluster, with a progress bar."""
    opening = partial(open_for_actor, path, given)
    work = ActorWork(opening, str(Path.cwd()), given["output"], given["batch_size"], THREADS)
    with joined_cluster(given["cluster"], console) as cluster, progress_bar(console) as progress:
        on_gpus = _is_for_gpus(cluster, path, given)
        count = len(shards.plan.names)
        missing = sum(stop - start for start, stop in map(shards.plan.range_of, shards.missing))
        bar = add_task(progress, "judge", count, count - missing)
        effort = judge_shards(
            cluster, pictures, shards, work, lambda more: progress.advance(bar, more), on_gpus=on_gpus
        )
        return cluster, effort


def _is_for_gpus(cluster: Cluster, path: Path, given: Arguments) -> bool:
    """Whether each actor is to have a GPU.

    Raises:
        InputError: one is asked for, and the cluster has none.
    """
    if path.suffix in SUFFIXES or given["use_cpu"] or given["device"] == "cpu":
        return False
    if given["device"] == "cuda" and not cluster.gpus:
        raise InputError("`device` cuda: the cluster has no GPU; leave it out")
    return cluster.gpus > 0


def open_for_actor(path: Path, given: Arguments, threads: int) -> Opened:
    """Open a detector in an actor, which uses so many threads on a CPU.

    Raises:
        InputError: as `open_predictor`.
    """
    torch.set_num_threads(threads)
    predictor, masks = open_predictor(path, given, Console(quiet=True), threads)
    drawing = find_drawing(given)
    return Opened(predictor, masks, drawing and reading_again(predictor.metadata, drawing, masks))


def _finish(
    shards: ShardFolder, pictures: Pictures, known: Metadata, console: Console, machines: Mapping[str, Any]
) -> list[Tally]:
    """Tell what was found, and write the manifest; return the tallies of the shards.

    Raises:
        InputError: no picture could be read.
    """

    def tell(line: str) -> None:
        console.print(line, soft_wrap=True)

    tallies: list[Tally] = []
    drift, changes = Drift(known.looks), list[str]()

    def followed() -> Any:
        for record in shards.records(tallies):
            changes.extend(follow(drift, [record]))
            yield record

    total = tell_of(followed(), tell)
    for note in pictures.left_out.notes():
        tell(note)
    if total.unreadable == total.total and (shards.folder / MANIFEST).is_file():
        shards.discard()
        raise InputError("none of the pictures could be read: see above; the earlier predictions are kept")
    decision = {"threshold": known.threshold, "false_alarm_range": known.false_alarm_range}
    shards.finish(tallies, {"decision": decision, **machines})
    tell(f"written: {shards.folder / MANIFEST} and {len(tallies)} shards")
    for line in changes[:1]:
        tell(line)
    if total.unreadable == total.total:
        raise InputError("none of the pictures could be read: see their lines above")
    return tallies


def _machines(cluster: Cluster | None, effort: JudgingEffort, started: float) -> dict[str, Any]:
    """Return what judged: versions, and of the shards that were judged now, where and how long."""
    versions = {"promptad": package_version(), "commit": package_commit(), "ray": import_ray().__version__}
    if cluster is None:
        return {"versions": versions}
    own = {"nodes": cluster.nodes, "cores": cluster.cpus, "gpus": cluster.gpus, "start_seconds": cluster.seconds}
    seconds = {"seconds": time.perf_counter() - started}
    return {"versions": versions, "last_run": own | asdict(effort) | seconds}


def _tell_effort(cluster: Cluster, effort: JudgingEffort, seconds: float, console: Console) -> None:
    """Print how long it took, and whether a cluster was worth its start."""
    rate = f"{effort.pictures / seconds:.1f} pictures/s" if seconds else ""
    console.print(f"{effort.pictures} pictures in {seconds:.0f} s by {effort.actors} actors, {rate}", soft_wrap=True)
    opening = effort.opening / max(1, effort.actors)
    if effort.judging + opening < seconds:
        start = f"the cluster's start {cluster.seconds:.0f} s, " if cluster.is_own else ""
        console.print(
            f"judging took {effort.judging:.0f} s of work, {start}all together {seconds:.0f} s: without a cluster this"
            " is faster",
            soft_wrap=True,
        )
