"""The command test: a trained detector, measured again."""

from dataclasses import asdict, replace
from pathlib import Path

from rich.console import Console

from promptad.cli.datasets import read_one_class
from promptad.cli.given import Arguments, chosen_system, make_seeds, setting_at
from promptad.cli.jobs import context_settings, result_folder
from promptad.cli.learning_options import LEARNING
from promptad.cli.machine import find_device
from promptad.data.corruptions import CORRUPTIONS, Corruption, corruptions_of
from promptad.engine.context import RunContext
from promptad.engine.robustness import measure_disturbed
from promptad.engine.runs import evaluate_class, print_seeds
from promptad.errors import InputError
from promptad.models.base import Subject
from promptad.models.registry import load_detector, read_checkpoint
from promptad.results.paths import ResultFolder
from promptad.runtime.asked_region import in_region
from promptad.settings import Settings


def run_test(given: Arguments, console: Console) -> None:
    """Evaluate a trained detector, or one of each seed, with the settings that it was trained with."""
    corruptions = find_corruptions(given)
    dataset, device = read_one_class(given, console), find_device(given, console)
    context: RunContext | None = None
    tested: list[tuple[Settings, ResultFolder]] = []
    for asked in make_seeds(given):
        path = given["checkpoint"] or result_folder(given, asked).checkpoint(dataset.class_name)
        settings = settings_of(path, given, asked)
        detector = load_detector(
            path,
            device,
            chosen_system(given),
            backbone=None if context is None else context.backbone,
            weights=given.get("pretrained_dataset"),
            memory_weights=given.get("memory_pretrained"),
            settings=settings,
            subject=Subject(dataset.dataset, dataset.class_name, (), ""),
        )
        if detector.class_name != dataset.class_name:
            raise InputError(f"{path} is a detector of {detector.class_name!r}, not of {dataset.class_name!r}")
        context = context or context_settings(given, device).context(detector.backbone, console)
        detector, _ = in_region(detector, given["region"] or (), given["ignore"] or ())
        tested.append((settings, result_folder(given, settings)))
        record = evaluate_class(detector, dataset, tested[-1][1], context)
        if corruptions:
            measure_disturbed(record, corruptions, tested[-1][1], context)
    if len(tested) > 1:
        print_seeds(tested[0][0], [folder for _, folder in tested], {dataset.class_name}, console)


def settings_of(path: Path, given: Arguments, asked: Settings) -> Settings:
    """Return the settings of a checkpoint, at the resolution, false-alarm rate and weights that are asked for now.

    An upstream checkpoint holds none: those `asked` for on the command line count.

    Raises:
        InputError: the user gave another value for a setting that the detector was trained with.
    """
    checkpoint = read_checkpoint(path, chosen_system(given))
    if "settings" not in checkpoint:
        return asked
    trained: Settings = checkpoint["settings"]
    plain = asdict(trained)
    places = "backbone.pretrained", "backbone.memory_pretrained"
    free = ("scoring.resolution", "scoring.sigma", "scoring.false_alarm_rate", *places)
    for option in LEARNING:
        if option.setting in free or not option.setting or option.name not in given:
            continue
        value = setting_at(plain, option.setting.split("."))
        if given[option.name] not in (value, None):  # None of `tiles` is auto
            raise InputError(
                f"{option.flag} {given[option.name]}: {path} was trained with {value}; leave it out, or train again"
            )
    changed = ("resolution", "sigma", "false_alarm_rate")
    scoring = {name: given.get(name, getattr(trained.scoring, name)) for name in changed}
    return replace(trained, scoring=replace(trained.scoring, **scoring))


def find_corruptions(given: Arguments) -> list[Corruption]:
    """Return the disturbances that are asked for; none by default."""
    if given["disturb"] is None:
        return []
    if not given["disturb"]:
        raise InputError(f"`disturb` is empty: choose from {', '.join(CORRUPTIONS)}")
    return corruptions_of(given["disturb"])
