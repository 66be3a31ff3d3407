"""How accurate both systems are on MVTec AD, or another data set that you have, as the table that a paper prints.

python benchmarks/mvtec.py --data-root DIR [--dataset mvtec|visa|mvtec2|loco|demo] [--output FOLDER] [--json FILE]

All classes, k, seeds and systems are trained and measured into --root-dir, as `promptad train-all` does it. What is
finished there is left as it is, so a second start goes on. Published numbers are quoted beside, never counted in. Other
options are those of `promptad train-all`, such as --resolution 400.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any, NoReturn

from paper_table import (
    Published,
    Results,
    Training,
    as_json,
    class_rows,
    means_rows,
    read_published,
    remarks,
    terminal_table,
    title_of,
    write_csv,
    write_markdown,
)
from rich.console import Console
from rich.progress import Task

from promptad.cli.datasets import find_data, print_notes
from promptad.cli.given import Arguments, make_seeds
from promptad.cli.jobs import make_jobs, result_folder
from promptad.cli.main import FlagConsole, exit_code
from promptad.cli.options import COMMANDS
from promptad.cli.parser import parse
from promptad.cli.values import names, numbers
from promptad.data.datasets import DATASETS, class_names, read_class
from promptad.data.demo import DEMO_CLASSES
from promptad.data.fingerprints import support_sha256
from promptad.engine.all_classes import train_all
from promptad.engine.context import Job, RunContext, TestSplitCache
from promptad.engine.evaluate import run_id
from promptad.engine.finished import is_finished
from promptad.errors import InputError, check_choice
from promptad.evaluation.pixel_metrics import USUAL_LIMIT
from promptad.reports.comparison.rows import BASELINE, FREE, MEMORY, OURS, package_in_words
from promptad.results.table import HASH_DIGITS, read_results
from promptad.settings import METHODS, TEST_ORACLE, Settings, default_settings
from promptad.structures import ClassDataset
from promptad.utils.files import whole_file
from promptad.utils.json_text import flat_paths
from promptad.utils.progress import add_task, progress_bar

SYSTEMS = (OURS, BASELINE)
PASSED = {  # options that `promptad train-all` reads, with the benchmark's own defaults
    "--dataset": "mvtec",
    "--data-root": None,
    "--root-dir": str(Path("result") / "mvtec"),
    "--classes": None,
    "--seeds": "0-2",
    "--epochs": None,
    "--backbone": None,
    "--pretrained-dataset": None,
    "--use-cpu": None,
}
SPELLINGS = {"--epochs": ("--epochs", "--epoch"), "--pretrained-dataset": ("--pretrained-dataset", "--pretrained")}
TOLD = (*FREE, "system", "training.epochs", "backbone.name", "scoring.memory")  # settings, elsewhere in the protocol
OWN_MEASURES = {
    "mvtec2": "of its public test alone; it asks for SegF1 and AUPRO to 5 %, which are in the saved rows",
    "loco": "sPRO, which counts a set area of a defect as all of it, is not taken: AUPRO counts every marked pixel",
}
OWN_WAYS = {"seed": "--seeds", "system": "--systems", "memory_bank": "--systems", "class_name": "--classes"}


@dataclass(frozen=True)
class Plan:
    """What to train, and with what."""

    dataset: str
    jobs: tuple[Job, ...]
    context: RunContext


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; return 0, or 2 after a user's mistake, which is printed in one line (130 after Ctrl-C)."""
    width = None if sys.stdout.isatty() else 100
    console = FlagConsole(highlight=False, markup=False, width=width)
    return exit_code(lambda: run(sys.argv[1:] if arguments is None else arguments, console), "mvtec.py")


def run(arguments: Sequence[str], console: Console) -> int:
    """Train what is not finished, then print and write the table; return 0.

    Raises:
        InputError: a wrong option, or trainings that failed: the others are done, and the table is written.
    """
    options, given = read_options(arguments)
    started = time.monotonic()
    plan = make_plan(options, given, console)
    failures = train_missing(plan, console)
    minutes = (time.monotonic() - started) / 60
    results = results_of(plan)
    published, protocol = read_published(plan.dataset, options.k_shot), protocol_of(plan, results)
    print_tables(results, published, protocol, console)
    write_files(results, published, protocol, options)
    console.print(
        f"{len(plan.jobs)} trainings, {minutes:.1f} minutes now, {_spent(results):.1f} in all", soft_wrap=True
    )
    if failures:
        raise InputError(f"{len(failures)} trainings failed; " + "; ".join(failures))
    return 0


def read_options(arguments: Sequence[str]) -> tuple[argparse.Namespace, Arguments]:
    """Return the benchmark's own options, and those of `promptad train-all`.

    Raises:
        InputError: an unknown option, or a value that cannot be read.
    """
    options, others = _parser().parse_known_args([_spelled(word) for word in arguments])
    for system in options.systems:
        check_choice("system", system, [*METHODS, *(name + MEMORY for name in METHODS)])
    if len({system.removesuffix(MEMORY) for system in options.systems}) < len(options.systems):
        raise InputError(
            f"--systems {','.join(options.systems)}: with and without a memory bank a system has the same files: run"
            " them one after another, each with its own `root_dir`"
        )
    words = [word for flag in PASSED if (value := getattr(options, flag)) for word in (flag, value)]
    given = parse(["train-all", *words, "--save-diagnostics", "False", *others])[1]
    for name, flag in OWN_WAYS.items():
        if given.get(name) is not None:
            raise InputError(f"`{name}` {given[name]}: give {flag} instead")
    if given["support_list"]:
        raise InputError(f"`support_list` {given['support_list']}: leave it out, seeds draw the support images here")
    return options, given


def make_plan(options: argparse.Namespace, given: Arguments, console: Console) -> Plan:
    """Read the data set and the backbone; return all trainings, those of a class one after another."""
    check_choice("data set", given["dataset"], DATASETS)
    settings = [own for system in options.systems for k in options.k_shot for own in settings_of(given, system, k)]
    for own in settings:
        result_folder(given, own).check_writable()
    classes = read_classes(given, console)
    print_notes(classes, console)
    jobs, context = make_jobs(given, settings, classes, console)
    return Plan(given["dataset"], tuple(jobs), context)


def settings_of(given: Arguments, system: str, k: int) -> list[Settings]:
    """Return the settings of a system at one k, with each seed; "+memory" has a memory bank."""
    asked = {"system": system.removesuffix(MEMORY), "k_shot": k, "memory_bank": system.endswith(MEMORY)}
    return make_seeds(given | asked)


def read_classes(given: Arguments, console: Console) -> list[ClassDataset]:
    """Return the images of all classes that are asked for; the demo's are drawn."""
    folder = find_data(given, given["classes"] or DEMO_CLASSES, console)
    return [
        read_class(given["dataset"], folder, name) for name in given["classes"] or class_names(given["dataset"], folder)
    ]


def train_missing(plan: Plan, console: Console) -> list[str]:
    """Train and measure what is not finished, with the time left over all; return what failed, in words."""
    missing = [job for job in plan.jobs if not is_finished(job, plan.context.backbone)]
    done, total, failures = len(plan.jobs) - len(missing), len(plan.jobs), []
    console.print(f"{done} of {total} trainings were finished before, and are left as they are", soft_wrap=True)
    with progress_bar(console) as progress:
        bar = add_task(progress, "all trainings", total, done)
        for jobs, context in groups_of(missing, plan.context):
            progress.update(bar, note=_name_of(jobs))
            try:
                train_all(jobs, context, together=len(jobs) > 1)
            except InputError as error:
                failures.append(f"{_name_of(jobs)}: {error}")
            progress.advance(bar, len(jobs))
            if not console.is_terminal:
                console.print(_progress_line(progress.tasks[0], jobs), soft_wrap=True)
    return failures


def _progress_line(task: Task, jobs: Sequence[Job]) -> str:
    """Return what a progress bar says, for a log."""
    left = "" if task.time_remaining is None else f", {task.time_remaining / 60:.0f} minutes left"
    return f"{task.completed:.0f} of {task.total:.0f}{left}: {_name_of(jobs)}"


def groups_of(jobs: Sequence[Job], context: RunContext) -> Iterator[tuple[list[Job], RunContext]]:
    """Yield jobs that are trained at once: on a GPU those of a class and system side by side, else one by one.

    Each system has its own cache of the last test split: only a memory bank needs the features of its layers.
    """
    silent = replace(context, console=Console(quiet=True))
    contexts = {system: replace(silent, splits=TestSplitCache()) for system in dict.fromkeys(map(system_of, jobs))}
    for (_, system), own in groupby(jobs, lambda job: (job.class_name, system_of(job))):
        group = list(own)
        for part in [group] if _on_gpu(context) else [[job] for job in group]:
            yield part, contexts[system]


def results_of(plan: Plan) -> Results:
    """Return the saved rows of a plan's trainings: of these settings, support images and weights alone."""
    weights = plan.context.backbone.weights_sha256[:HASH_DIGITS]
    asked, rows = [], []
    for job in plan.jobs:
        training = job.settings.training
        asked.append(Training(job.class_name, system_of(job), training.k_shot, training.seed))
        run_of = run_id(job.settings, support_sha256(job.support_images, job.settings.bit_depth))
        wanted = (job.class_name, run_of, weights)
        saved = read_results(job.results.csv)
        rows += [row for row in saved if (row["class"], row["run"], row["weights"]) == wanted]
    return Results(plan.dataset, tuple(asked), tuple(rows))


def protocol_of(plan: Plan, results: Results) -> dict[str, str]:
    """Return how the numbers came about, by what is said of it."""
    backbone, settings = plan.context.backbone, [job.settings for job in plan.jobs]
    images = {row["class"]: int(row["test_images"]) for row in results.rows}
    selected = _each(own.training.select for own in settings)
    unusual = unusual_of(settings)
    labels = "CHOSE THE EPOCH" if TEST_ORACLE in selected else "selected nothing: they are read by the metrics alone"
    return {
        "data set": f"{plan.dataset}, {sum(images.values())} test images of {len(images)} classes",
        "methods": "single-anchor is PromptAD, multi-prototype its successor; +memory has a memory bank",
        "support images": 'of its normal training images, for each seed the first k by sha256("<seed>/<file name>")',
        "seeds": _each(own.training.seed for own in settings),
        "epoch kept": f"{selected}, of {_each(own.training.epochs for own in settings)}",
        "test labels": labels,
        "detectors": "one of each class, system, k and seed, for images and pixels alike",
        "pixels": f"{_each(row['protocol'] or 'not told' for row in results.rows)}; masks with them",
        "pixel metrics": f"over all test images of a class; AUPRO to {100 * USUAL_LIMIT:.0f} % of false positives",
        "backbone": f"{backbone.settings.name}, {backbone.settings.without_folders().pretrained}",
        "weights": f"SHA-256 {backbone.weights_sha256[:HASH_DIGITS]}",
        "settings": f"the default ones{f', but for {_each(unusual)}' if unusual else ''}",
        "test data": ", ".join(dict.fromkeys(f"{row['class']} {row['data']}" for row in results.rows)) + " (SHA-256)",
        **({"data set's own measures": OWN_MEASURES[plan.dataset]} if plan.dataset in OWN_MEASURES else {}),
        "measured by": _each(package_in_words(row["version"], row["commit"]) for row in results.rows),
    }


def unusual_of(settings: Sequence[Settings]) -> list[str]:
    """Return each setting that is not the method's default and is told nowhere else, with its value."""
    found = []
    for own in settings:
        usual = dict(flat_paths(default_settings(own.system).to_dict()))
        given = flat_paths(own.to_dict())
        found += [f"{path} {value}" for path, value in given if value != usual[path] and path not in TOLD]
    return list(dict.fromkeys(found))


def print_tables(results: Results, published: Published, protocol: Mapping[str, str], console: Console) -> None:
    """Print the tables, what they count, and the protocol."""
    for k in dict.fromkeys(training.k for training in results.asked):
        console.print(terminal_table(f"{results.dataset} by class, k = {k}, in %", class_rows(results, k)))
    console.print(terminal_table(title_of(results), means_rows(results, published)))
    for line in (*remarks(results, published), *(f"{name}: {value}" for name, value in protocol.items())):
        console.print(line, soft_wrap=True)


def write_files(
    results: Results, published: Published, protocol: Mapping[str, str], options: argparse.Namespace
) -> None:
    """Write the tables, and the results as JSON, where that is asked for."""
    if options.output:
        write_markdown(options.output / "table.md", title_of(results), results, published, protocol)
        write_csv(options.output / "table.csv", results, published)
    if options.json:
        written = {
            "measured": as_json(list(results.lines())),
            "quoted": as_json(published.lines),
            "missing": [str(training) for training in results.missing],
            "protocol": dict(protocol),
            "minutes": _spent(results),
        }
        with whole_file(options.json, "json") as temporary:
            temporary.write_text(json.dumps(written, indent=2) + "\n", encoding="utf-8")


def system_of(job: Job) -> str:
    """Return the system of a job, with "+memory" where it has a memory bank."""
    return job.settings.system + MEMORY * job.settings.scoring.memory


def _on_gpu(context: RunContext) -> bool:
    return context.backbone.device.type == "cuda"


def _name_of(jobs: Sequence[Job]) -> str:
    training, more = jobs[0].settings.training, f" and {len(jobs) - 1} more" if len(jobs) > 1 else ""
    return f"{jobs[0].class_name}, {system_of(jobs[0])}, k = {training.k_shot}, seed {training.seed}{more}"


def _spent(results: Results) -> float:
    """Return the minutes of training and measuring of all saved rows."""
    return sum(float(row["seconds"]) for row in results.rows) / 60


def _each(values: Any) -> str:
    return ", ".join(map(str, dict.fromkeys(values)))


class _Parser(argparse.ArgumentParser):
    """A parser whose complaints are one line."""

    def error(self, message: str) -> NoReturn:
        raise InputError(message)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(description=__doc__.splitlines()[0], allow_abbrev=False)
    told = {option.flag: option.help for option in COMMANDS["train-all"].options}
    for flag, default in PASSED.items():
        shown = told[flag] + (f" (default: {default})" if default else "")
        parser.add_argument(*SPELLINGS.get(flag, (flag,)), dest=flag, default=default, metavar="VALUE", help=shown)
    parser.add_argument("--k-shot", type=numbers, default=(1, 2, 4), help="numbers of support images (default: 1,2,4)")
    parser.add_argument("--systems", type=names, default=SYSTEMS, help=f"by commas (default: {','.join(SYSTEMS)})")
    parser.add_argument("--output", type=Path, help="folder to write table.md and table.csv to")
    parser.add_argument("--json", type=Path, help="file to write the results to")
    return parser


def _spelled(word: str) -> str:
    """Return a flag with - for _, in small letters, and any other word as it is."""
    flag, equals, value = word.partition("=")
    return flag.replace("_", "-").lower() + equals + value if flag.startswith("--") else word


if __name__ == "__main__":
    sys.exit(main())
