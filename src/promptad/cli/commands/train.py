"""The commands train and train-all: detectors from support images."""

import shlex

from rich.console import Console

from promptad.cli.datasets import read_classes, read_one_class, read_part
from promptad.cli.given import Arguments, make_seeds
from promptad.cli.jobs import make_jobs, result_folder
from promptad.cli.workers import find_workers
from promptad.engine.all_classes import train_all
from promptad.engine.runs import train_one
from promptad.engine.work import ThisProcess
from promptad.errors import InputError
from promptad.runtime.predictions import ONE_IMAGE
from promptad.settings import MULTI_PROTOTYPE


def run_train(given: Arguments, console: Console) -> None:
    """Train one class, or a part of the user's own."""
    part = None
    if given["good"]:
        part, given = read_part(given, console)
    elif given["name"]:
        raise InputError(f"`name` {given['name']!r} is of your own pictures: give them with `good`")
    seeds = make_seeds(given)
    for settings in seeds:
        result_folder(given, settings).check_writable()
    jobs, context = make_jobs(given, seeds, [part or read_one_class(given, console)], console)
    train_one(jobs, context)
    if part:
        folder = result_folder(given, seeds[0]).folder
        if seeds[0].training.k_shot == 1:
            console.print(ONE_IMAGE, soft_wrap=True)
        if seeds[0].system == MULTI_PROTOTYPE:  # the baseline decides nothing
            console.print(f"judge pictures with: promptad predict {shlex.quote(str(folder))} PICTURES", soft_wrap=True)


def run_train_all(given: Arguments, console: Console) -> None:
    """Train all classes of a data set."""
    seeds = make_seeds(given)
    if given["class_name"]:
        raise InputError(f"`class_name` {given['class_name']}: train-all takes `classes` {given['class_name']}")
    for settings in seeds:
        result_folder(given, settings).check_writable()
    classes = read_classes(given, console)
    jobs, context = make_jobs(given, seeds, classes, console)
    workers = find_workers(given, jobs, {context.backbone.settings: context}, console)
    on_gpu = context.backbone.on_gpu and isinstance(workers, ThisProcess)
    train_all(jobs, context, workers, together=on_gpu if given["together"] is None else given["together"])
