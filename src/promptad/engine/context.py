"""Jobs, and the context that they run in."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console

from promptad.backbones.clip import Backbone
from promptad.data.reading import Reading
from promptad.evaluation.evaluator import TestSplit, read_test_split
from promptad.results.paths import ResultFolder
from promptad.settings import BATCH_SIZE, Settings
from promptad.structures import ClassDataset, TestImage
from promptad.utils.progress import add_task, progress_bar


@dataclass(frozen=True)
class Job:
    """One class to train with one seed: plain data, which can be sent to another process."""

    dataset: ClassDataset
    settings: Settings
    support_images: tuple[Path, ...]
    results: ResultFolder

    @property
    def class_name(self) -> str:
        """The class that is trained."""
        return self.dataset.class_name


class TestSplitCache:
    """Caches the last test split, since several seeds of a class are evaluated on the same features."""

    __test__ = False  # keeps pytest from collecting the class for its name

    def __init__(self) -> None:
        self.key: tuple[ClassDataset, Reading, int, bool] | None = None  # and how it was read, with what
        self.split: TestSplit | None = None


@dataclass(frozen=True)
class RunContext:
    """What jobs run with, and what they write besides checkpoints and rows."""

    backbone: Backbone
    console: Console
    batch_size: int = BATCH_SIZE
    save_diagnostics: bool = True
    draw_predictions: bool = False
    masks: Path | None = None  # folder of the images' regions, where each has its own
    format_advice: Callable[[str], str] = str  # what becomes of the settings that an advice names in backticks
    splits: TestSplitCache = field(default_factory=TestSplitCache)

    def read_test_split(self, dataset: ClassDataset, settings: Settings) -> TestSplit | None:
        """Encode the test split of a class with a progress bar; None if it cannot be evaluated on."""
        if not dataset.can_be_evaluated:
            return None
        reading = Reading.of(settings, self.masks)
        key = dataset, reading, settings.scoring.resolution, settings.scoring.memory
        if self.splits.split is None or self.splits.key != key:
            with progress_bar(self.console) as progress:
                bar = add_task(progress, f"read {dataset.class_name}", len(dataset.test))
                self.splits.split = self.encode_split(
                    dataset.test, settings, reading, lambda count: progress.advance(bar, count)
                )
            self.splits.key = key
            for note in self.splits.split.notes():
                self.console.print(note, soft_wrap=True)
        return self.splits.split

    def encode_split(
        self, images: Sequence[TestImage], settings: Settings, reading: Reading, advance: Callable[[int], None]
    ) -> TestSplit:
        """Encode test images that are read so; `advance` takes how many are done."""
        return read_test_split(
            self.backbone,
            images,
            settings.scoring.resolution,
            self.batch_size,
            reading,
            advance,
            settings.scoring.memory,
        )
