"""From options to the jobs of a training, where their results go, and what they run with."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from rich.console import Console

from promptad.backbones.clip import Backbone
from promptad.backbones.feature_cache import FeatureCache, default_cache_folder
from promptad.backbones.timm_vit import licence_note
from promptad.backbones.weight_source import weights_note
from promptad.cli.flags import with_flags
from promptad.cli.given import Arguments
from promptad.cli.machine import check_batch_size, find_device
from promptad.data.few_shot import choose_support, read_support_list
from promptad.data.region_of_interest import masks_folder
from promptad.engine.context import ContextSettings, Job, RunContext
from promptad.errors import InputError
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
    for note in filter(None, (weights_note(settings), licence_note(settings))):
        console.print(note, soft_wrap=True)
    return context_settings(given, find_device(given, console)).load(settings, console)


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


def context_settings(given: Arguments, device: torch.device) -> ContextSettings:
    """Return what trainings and tests run with, besides a backbone.

    Raises:
        InputError: the size of batches or of the cache cannot be.
    """
    check_batch_size(given)
    if not given["cache_size"] >= 0:
        raise InputError(f"`cache_size` {given['cache_size']}: must be a number of at least 0")
    return ContextSettings(
        device=str(device),
        engine=given["engine"],
        cache=FeatureCache(default_cache_folder(), given["cache_size"] * 2**30) if given["feature_cache"] else None,
        batch_size=given["batch_size"],
        save_diagnostics=given["save_diagnostics"],
        draw_predictions=given["vis"],
        masks=masks_folder(given["region"] or ()),
        format_advice=with_flags,
    )
