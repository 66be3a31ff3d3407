"""The estimator: fit, predict, save and load, for use from Python."""

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from PIL import Image

from promptad.backbone.loading import choose_device, load_backbone
from promptad.data.pictures import ImageLike
from promptad.detection import AnomalyDetector, Subject
from promptad.errors import InputError
from promptad.fitting import encode_support, support_sha256
from promptad.judgement import Judgement
from promptad.selection import Selection
from promptad.settings import MULTI_PROTOTYPE, Settings, default_settings
from promptad.systems import Pupil, learn, load_detector


class PromptAD:
    """A few-shot anomaly detector that learns from a few normal pictures and the part's name.

    Args:
        class_name: what the part is, in words, such as "carpet" or "metal bracket".
        n_pro: number of normal prototypes.
        n_pro_ab: number of abnormal prototypes.
        backbone: a plain-ViT CLIP of open_clip, or "tiny", which lies in the package.
        states: the part's own defects, such as ["with hole", "with scratch"]; None takes the written ones.
        system: "multi-prototype", or the baseline "single-anchor", each with its own defaults.
        settings: everything else; the arguments above come before it, and it comes before `system`.
        gpu: number of the GPU to work on; None is the CPU.

    Raises:
        InputError: a value that cannot be, or a backbone that cannot be loaded.
    """

    def __init__(
        self,
        class_name: str,
        *,
        n_pro: int | None = None,
        n_pro_ab: int | None = None,
        backbone: str | None = None,
        states: Sequence[str] | None = None,
        system: str = MULTI_PROTOTYPE,
        settings: Settings | None = None,
        gpu: int | None = None,
    ) -> None:
        settings = settings or default_settings(system)
        asked: dict[str, Any] = {"n_pro": n_pro, "n_pro_ab": n_pro_ab, "states": states}
        prompts = replace(settings.prompts, **{name: value for name, value in asked.items() if value is not None})
        chosen = settings.backbone if backbone is None else replace(settings.backbone, name=backbone)
        self.class_name = class_name
        self.settings = replace(settings, prompts=prompts, backbone=chosen)
        self.device, remark = choose_device(gpu)
        if remark:
            warnings.warn(remark, stacklevel=2)
        self._detector: AnomalyDetector | None = None

    def fit(self, images: Iterable[ImageLike] | ImageLike) -> Self:
        """Learn from normal images, or from one: paths, PIL images, or RGB arrays or tensors.

        Arrays and tensors are [H, W, 3] or [3, H, W], in uint8 or in floats from 0 to 1.

        Raises:
            InputError: no image, or one that cannot be read.
        """
        images = _as_list(images)
        if len(images) == 0:
            raise InputError("no images to learn from: give at least one picture of a good part")
        training = replace(self.settings.training, k_shot=len(images))
        self.settings = replace(self.settings, training=training)
        backbone = load_backbone(self.settings.backbone, self.device)
        support = encode_support(backbone, images, self.settings)
        names = tuple(Path(i).name if isinstance(i, str | Path) else f"image {n}" for n, i in enumerate(images))
        subject = Subject("own", self.class_name, names, support_sha256(images))
        selection = Selection(self.settings.training)
        for (step,) in learn(backbone, [Pupil(subject, support, self.settings)]):
            selection.offer(step)
        self._detector = selection.detector()
        return self

    @property
    def detector(self) -> AnomalyDetector:
        """The trained detector.

        Raises:
            InputError: nothing was learned yet.
        """
        if self._detector is None:
            raise InputError("this PromptAD has learned nothing yet: call fit, or PromptAD.load")
        return self._detector

    def predict(self, images: Iterable[ImageLike] | ImageLike) -> Judgement:
        """Judge N images, given as for `fit`: scores [N] in [0, 1], maps [N, resolution, resolution], decisions.

        0.5 is the threshold that a good picture exceeds at the false-alarm rate of the settings.
        """
        pictures, detector = _as_list(images), self.detector
        whole, _ = detector.backbone.square_of(detector.settings.scoring.resolution)
        return Judgement(**vars(detector.predict(pictures)), pictures=pictures, whole=whole)

    def score(self, images: Iterable[ImageLike] | ImageLike) -> np.ndarray:
        """Return the scores [N] of N images, without maps: faster where the image score is that of the class token."""
        return self.detector.score_pictures(_as_list(images))

    def save(self, path: str | Path) -> None:
        """Write a checkpoint."""
        self.detector.save(Path(path))

    @classmethod
    def load(
        cls, path: str | Path, *, system: str = MULTI_PROTOTYPE, weights: str | None = None, gpu: int | None = None
    ) -> "PromptAD":
        """Load a checkpoint of a system; `weights` is where the backbone's weights lie now, if they have moved.

        Raises:
            InputError: no checkpoint, a damaged one, one of the other system or of other weights.
        """
        detector = load_detector(Path(path), choose_device(gpu)[0], system, weights=weights)
        loaded = cls(detector.class_name, settings=detector.settings, gpu=gpu)
        loaded._detector = detector
        return loaded


def _as_list(images: Iterable[ImageLike] | ImageLike) -> list[ImageLike]:
    """Return images as a list; one alone is known by its type, or by its three axes."""
    if isinstance(images, str | Path | Image.Image):
        return [images]
    if isinstance(images, np.ndarray | torch.Tensor) and images.ndim == 3:
        return [images]
    return list(images)
