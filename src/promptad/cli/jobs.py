"""From options to the jobs of a training, where their results go, and what they run with."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from promptad.backbones.clip import Backbone
from promptad.backbones.factory import load_backbone
from promptad.backbones.feature_cache import FeatureCache, default_cache_folder
from promptad.backbones.open_clip_vit import weights_note
from promptad.cli.flags import with_flags
from promptad.cli.given import Arguments
from promptad.cli.machine import check_batch_size, find_device
from promptad.data.few_shot import choose_support, read_support_list
from promptad.data.region_of_interest import masks_folder
from promptad.engine.context import Job, RunContext
from promptad.errors import InputError
from promptad.export.tower_encoder import with_engine
from promptad.models.support import with_bit_depth, with_region, with_tiles
from promptad.results.paths import PartFolder, ResultFolder
from promptad.settings import BackboneSettings, Settings
from promptad.structures import ClassDataset


def make_jobs(
    given: Arguments, seeds: Sequence[Settings], classes: Sequence[ClassDataset], console: Console
) -> tuple[list[Job], RunContext]:
    """Return the jobs of each class and seed, those of a class one after another, and what they run with."""
    jobs = plan_jobs(given, seeds, classes)
    context = load_context(given, seeds[0].backbone, console)
    return decide_tiles(jobs, context.backbone), context


def plan_jobs(given: Arguments, seeds: Sequence[Settings], classes: Sequence[ClassDataset]) -> list[Job]:
    """Return the jobs of each class and seed as far as no backbone is needed, those of a class one after another."""
    return [_make_job(given, dataset, settings) for dataset in classes for settings in seeds]


def load_context(given: Arguments, settings: BackboneSettings, console: Console) -> RunContext:
    """Load a backbone, and return what jobs run with."""
    if note := weights_note(settings):
        console.print(note, soft_wrap=True)
    return make_context(given, console, load_backbone(settings, find_device(given, console)))


def decide_tiles(jobs: Sequence[Job], backbone: Backbone) -> list[Job]:
    """Return jobs with the tiles that suit their support images and the backbone."""
    side = backbone.image_encoder.image_size
    return [replace(job, settings=with_tiles(job.settings, job.support_images, side)) for job in jobs]


def _make_job(given: Arguments, dataset: ClassDataset, settings: Settings) -> Job:
    support = _choose_support(given, settings, dataset)
    settings = with_bit_depth(with_region(settings, support, given["region"] or (), given["ignore"] or ()), support)
    return Job(dataset, settings, support, result_folder(given, settings))


def _choose_support(given: Arguments, settings: Settings, images: ClassDataset) -> tuple[Path, ...]:
    k, seed = settings.training.k_shot, settings.training.seed
    if given["support_list"]:
        return read_support_list(given["support_list"], images.class_name, images.normal, k)
    return choose_support(images.normal, k, seed)


def result_folder(given: Arguments, settings: Settings) -> ResultFolder:
    """Return the folder that the results of these settings go to."""
    k, seed = settings.training.k_shot, settings.training.seed
    if given.get("good"):
        own = given["root_dir"] / "_".join(given["name"].split())
        return PartFolder(own, "own", k, seed, settings.system, settings.level)
    return ResultFolder(given["root_dir"], given["dataset"], k, seed, settings.system, settings.level)


def make_context(given: Arguments, console: Console, backbone: Backbone) -> RunContext:
    """Return what trainings and tests run with."""
    check_batch_size(given)
    if not given["cache_size"] >= 0:
        raise InputError(f"`cache_size` {given['cache_size']}: must be a number of at least 0")
    cache = FeatureCache(default_cache_folder(), given["cache_size"] * 2**30) if given["feature_cache"] else None
    return RunContext(
        replace(with_engine(backbone, given["engine"]), cache=cache),
        console,
        given["batch_size"],
        given["save_diagnostics"],
        given["vis"],
        masks_folder(given["region"] or ()),
        with_flags,
    )
