"""Jobs, and the context that they run in."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from rich.console import Console

from promptad.backbones.clip import Backbone
from promptad.backbones.factory import load_backbone
from promptad.backbones.feature_cache import FeatureCache
from promptad.data.reading import Reading
from promptad.evaluation.evaluator import TestSplit, read_test_split
from promptad.export.tower_encoder import with_engine
from promptad.results.paths import ResultFolder
from promptad.runtime.engines import TORCH
from promptad.settings import BATCH_SIZE, BackboneSettings, Settings
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


@dataclass(frozen=True, kw_only=True)
class ContextSettings:
    """What a context is made of: plain data, which can be sent to another process."""

    device: str  # that the backbone computes on
    engine: str = TORCH  # that encodes images
    cache: FeatureCache | None = None
    batch_size: int = BATCH_SIZE
    save_diagnostics: bool = True
    draw_predictions: bool = False
    masks: Path | None = None
    format_advice: Callable[[str], str] = str

    def load(self, backbone: BackboneSettings, console: Console) -> RunContext:
        """Load a backbone, and return the context.

        Raises:
            InputError: as of `load_backbone` and `with_engine`.
        """
        return self.context(load_backbone(backbone, torch.device(self.device)), console)

    def context(self, backbone: Backbone, console: Console) -> RunContext:
        """Return the context with a backbone that is loaded.

        Raises:
            InputError: as of `with_engine`.
        """
        return RunContext(
            replace(with_engine(backbone, self.engine), cache=self.cache),
            console,
            self.batch_size,
            self.save_diagnostics,
            self.draw_predictions,
            self.masks,
            self.format_advice,
        )
