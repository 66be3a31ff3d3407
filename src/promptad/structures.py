"""Data classes shared across the package; numpy is all they need."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from promptad.errors import InputError

ANOMALY, GOOD = "anomaly", "good"  # the labels of a prediction
DEFECTIVE = "defective"  # a verdict of people on a picture, beside good
UNSURE = "unsure"  # a third one, where a second threshold is asked for: between both
UNLIKE = "unlike the part"  # the reason of an anomaly that is no part with a defect
LIKE_DEFECT = "like the defect"  # begins the reason of an anomaly that looks like what people called a defect
SCORE_THRESHOLD = 0.5  # of normalised scores and anomaly maps: at it, the raw ones are at their threshold
NO_PLACE = "no place in its map is above 0.5: look at all of it"  # of an anomaly without a region


@dataclass(frozen=True)
class TestImage:
    """A labelled image of a test split. Training, model selection and calibration must not read it."""

    __test__ = False  # keeps pytest from collecting the class for its name

    path: Path  # of the image's file
    defect: str  # "good", or the kind of defect
    mask_path: Path | None  # white on the defect, or a folder of such files; None if normal or if no mask exists

    @property
    def is_anomalous(self) -> bool:
        """Whether the image shows a defect."""
        return self.defect != GOOD


@dataclass(frozen=True)
class ClassDataset:
    """The images of one class: `normal` for training, `test` (may be empty) for evaluation."""

    dataset: str  # its name, such as "mvtec"
    class_name: str  # of the class
    normal: tuple[Path, ...]  # images to learn from
    test: tuple[TestImage, ...]  # images to measure on
    notes: tuple[str, ...] = ()  # what a user should know of how they were read

    @property
    def can_be_evaluated(self) -> bool:
        """Whether the test split has normal and anomalous images."""
        return len({image.is_anomalous for image in self.test}) == 2


@dataclass(frozen=True)
class Explanation:
    """Why an image has its score: the terms (weighted z-scores), and the nearest states.

    The terms sum to the raw score, unless `lack` is above 1 or there is a `defect`: then it is at least a little above
    the threshold.
    """

    prototype: int  # the abnormal prototype with the highest z-score, counted from 1
    nearest_states: tuple[str, ...]  # the states most similar to the most unusual patch
    class_token: float | None  # term of the class token; None if it is not part of the score
    patches: float | None  # term of the patches
    memory: float | None  # term of the memory bank
    lack: float | None = None  # of what an image of the part should show: above 1 the raw score is above the threshold
    distance: float | None = None  # to the support images as a whole, no part of the score: up to 1 if it is good
    defect: str | None = None  # the known defect that it is like: "in 003.png"; None if it is like none
    prototype_words: str = ""  # the states nearest to that prototype; empty if they are not known

    @property
    def reason(self) -> str:
        """Why the image may be anomalous, in words."""
        if self.lack is not None and self.lack > 1:
            return UNLIKE
        if self.defect is not None:
            return f"{LIKE_DEFECT} {self.defect}"
        return f"most like: {', '.join(self.nearest_states)}"


def is_without_place(label: str, max_score: float, reason: str) -> bool:
    """Whether an image is an anomaly though its map is nowhere above the threshold, and the reason does not say why."""
    return label == ANOMALY and max_score <= SCORE_THRESHOLD and not reason.startswith((UNLIKE, LIKE_DEFECT))


class Frame(NamedTuple):
    """Where an anomaly map lies on its picture: its edges, as shares of the picture's sides."""

    left: float  # of the width, from 0 to 1
    top: float  # of the height, from 0 to 1
    right: float  # of the width
    bottom: float  # of the height

    def on(self, width: int, height: int) -> tuple[float, float, float, float]:
        """Return it in pixels of a picture of this `width` and `height`: left, top, right, bottom."""
        return self.left * width, self.top * height, self.right * width, self.bottom * height

    def part(self, near: float, far: float) -> "Frame":
        """Return the frame of what lies from the share `near` to the share `far` of its own sides."""
        (left, top, right, bottom), across, down = self, self.right - self.left, self.bottom - self.top
        return Frame(left + near * across, top + near * down, right - (1 - far) * across, bottom - (1 - far) * down)


WHOLE = Frame(0.0, 0.0, 1.0, 1.0)


@dataclass(frozen=True)
class Look:
    """The light and sharpness of an image as a whole."""

    brightness: float  # mean grey level, 0 to 255
    sharpness: float  # how fine its steps from pixel to pixel are; 0 of one colour throughout


@dataclass(frozen=True)
class Region:
    """An anomalous part of an image, as a box in pixels of the upright original."""

    left: int  # the first column
    top: int  # the first row
    right: int  # exclusive
    bottom: int  # exclusive
    max_score: float  # highest value of the anomaly map inside, above 0.5
    x: int  # position of max_score: its column
    y: int  # and its row


@dataclass(frozen=True)
class Prediction:
    """Anomaly scores of N images: 0.5 is the threshold, if the method has one."""

    score: np.ndarray  # [N] float64 in [0, 1]
    anomaly_map: np.ndarray  # [N, resolution, resolution] float32 in [0, 1]; with tiles [N, H, W]
    raw_score: np.ndarray  # [N] float64, before normalisation: z-scores, unbounded
    threshold: float | None = None  # of the raw score
    unsure_threshold: float | None = None  # of it: above this and up to the other one, a decision is left to people
    explanations: tuple[Explanation, ...] = ()  # one for each image, if the method has explanations

    @property
    def label(self) -> tuple[str, ...]:
        """For each image "good" if its raw score is at most the threshold, else "anomaly": NaN is never good.

        With a second threshold below, what lies between them is "unsure".

        Raises:
            InputError: the single-anchor baseline has no threshold.
        """
        if self.threshold is None:
            raise InputError("the single-anchor baseline calibrates nothing and decides nothing: use its scores alone")
        least = self.threshold if self.unsure_threshold is None else min(self.unsure_threshold, self.threshold)
        return tuple(
            GOOD if raw <= least else UNSURE if raw <= self.threshold else ANOMALY for raw in self.raw_score.tolist()
        )


def prototype_names(diagnostics: Mapping[str, Any], side: str) -> list[str]:
    """Return the words nearest to each prototype of a side, "normal" or "abnormal", in diagnostics.

    Those of an older version have none.
    """
    return [", ".join(name["words"]) for name in diagnostics.get("prototype_words", {}).get(side, ())]


@dataclass(frozen=True)
class Evaluation:
    """Image-level and pixel-level results in [0, 1].

    A pixel result is None if the test split has no masks, one that needs a threshold if the method has none.
    """

    image_auroc: float  # area under the ROC curve of image scores
    image_ap: float  # average precision of them
    image_f1_max: float  # best F1 over all thresholds
    recall_1: float | None = None  # at the detector's threshold for 1 % false alarms
    false_alarms_1: float | None = None  # what share of normal images this threshold rejects
    recall_5: float | None = None  # at its threshold for 5 %
    false_alarms_5: float | None = None  # what share of normal images that one rejects
    pixel_auroc: float | None = None  # of all pixels together
    pixel_ap: float | None = None  # the same
    pixel_f1_max: float | None = None  # the same, over all thresholds
    aupro: float | None = None  # up to 30 % false positives
    aupro_05: float | None = None  # up to 5 %
    seg_f1: float | None = None  # at the detector's own pixel threshold
    aupimo: float | None = None  # mean over anomalous images
