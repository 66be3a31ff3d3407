"""The estimator: fit, predict and score."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from sklearn.base import BaseEstimator, OutlierMixin

from promptad.backbones.factory import as_device, load_backbone
from promptad.backbones.feature_cache import CacheLike, as_cache
from promptad.backbones.timm_vit import licence_note
from promptad.data.fingerprints import support_sha256
from promptad.data.inputs import Images, as_images
from promptad.data.reading import Reading
from promptad.data.region_of_interest import Place, as_places, masks_folder
from promptad.engine.model_selection import ModelSelection
from promptad.errors import InputError
from promptad.estimator.confirmed import Confirmed
from promptad.estimator.stored import Stored
from promptad.models.base import AnomalyDetector, Subject, TrainTask
from promptad.models.registry import train
from promptad.models.support import encode_support, with_bit_depth, with_region, with_tiles
from promptad.settings import BATCH_SIZE, MULTI_PROTOTYPE, Settings, default_settings
from promptad.utils.progress import ProgressLike, reported
from promptad.visualization.prediction import ImagePrediction

log = logging.getLogger(__name__)


class PromptAD(Stored, Confirmed, OutlierMixin, BaseEstimator):
    """A few-shot anomaly detector, trained on a few normal images and the name of the part.

    It is an estimator of scikit-learn: `get_params`, `set_params` and `clone` work, and so do its scorers, since
    `decision_function` has its signs. Only `predict` is richer: it gives scores, labels, maps and reasons.

    Args:
        class_name: what the part is, in words, such as "carpet" or "metal bracket".
        n_pro: number of normal prototypes; None is that of the settings.
        n_pro_ab: number of abnormal prototypes, likewise.
        backbone: a CLIP of open_clip that `promptad backbones` lists, or "tiny", which is bundled.
        memory_backbone: a second encoder that sees pictures alone, such as "dinov2-small", and keeps a memory bank of
            the support images; None is that of the settings.
        states: the part's own defects, such as ["with hole", "with scratch"]; None uses the built-in states.
        region: what counts of a picture: a box (left, top, right, bottom) in pixels, the file of a mask, white where it
            counts, or several of these, which add up; or a folder of masks, one for each picture, of its name.
        ignore: what does not count: boxes and files of masks.
        tiles: (rows, columns) that large or long pictures are cut into, or "auto", as suits them. None: not cut.
        system: the method, "multi-prototype" or the baseline "single-anchor", each with its own defaults.
        settings: everything else; the arguments above override it, but `system`, which it overrides.
        device: what computes, "cpu", "cuda", "cuda:1" or a torch.device; None is the CPU.

    Attributes:
        k_shot_: number of images given to `fit`.
        settings_: all settings, as they were learned with.
        offset_: what `decision_function` takes off `score_samples`: minus the threshold of raw scores.

    Raises:
        InputError: an invalid value, a device that is not there, or a backbone that cannot be loaded.
    """

    def __init__(  # noqa: PLR0913 an estimator's settings
        self,
        class_name: str,
        *,
        n_pro: int | None = None,
        n_pro_ab: int | None = None,
        backbone: str | None = None,
        memory_backbone: str | None = None,
        states: Sequence[str] | None = None,
        region: Place | Sequence[Place] | None = None,
        ignore: Place | Sequence[Place] | None = None,
        tiles: tuple[int, int] | str | None = None,
        system: str = MULTI_PROTOTYPE,
        settings: Settings | None = None,
        device: str | torch.device | None = None,
    ) -> None:
        self.class_name, self.system, self.settings, self.device = class_name, system, settings, device
        self.n_pro, self.n_pro_ab, self.backbone, self.states = n_pro, n_pro_ab, backbone, states
        self.memory_backbone = memory_backbone
        self.region, self.ignore, self.tiles = region, ignore, tiles
        self._detector: AnomalyDetector | None = None
        self._chosen_settings()  # what is wrong is said at once
        as_device(device)

    def _chosen_settings(self) -> Settings:
        """Return the settings with what the arguments override."""
        settings = self.settings or default_settings(self.system)
        given: dict[str, Any] = {"n_pro": self.n_pro, "n_pro_ab": self.n_pro_ab, "states": self.states}
        prompts = replace(settings.prompts, **{name: value for name, value in given.items() if value is not None})
        backbone = settings.backbone if self.backbone is None else replace(settings.backbone, name=self.backbone)
        if self.memory_backbone is not None:
            backbone = replace(backbone, memory_backbone=self.memory_backbone)
        scoring = replace(settings.scoring, memory=True) if self.memory_backbone else settings.scoring
        picture = settings.picture if self.tiles is None else replace(settings.picture, tiles=_tiles(self.tiles))
        return replace(settings, prompts=prompts, backbone=backbone, scoring=scoring, picture=picture)

    def fit(
        self,
        images: Images,
        y: object = None,  # noqa: ARG002 scikit-learn's tools give it
        *,
        progress: ProgressLike = False,
        cache: CacheLike = None,
    ) -> Self:
        """Learn from normal images, or from one.

        Args:
            images: paths, PIL images, arrays or tensors: grey [H, W], RGB [H, W, 3], RGBA [H, W, 4] or with channels
                first, as uint8, uint16 or floats from 0 to 1; batches [N, 3, H, W] or [N, H, W, 3] of these, or an
                iterable that yields images or batches, also in tuples that begin with them, as a DataLoader does; a
                folder, with its sub-folders, or a pattern with *.
            y: not used.
            progress: True shows a bar on a terminal or in a notebook; a function is called with the number of epochs
                that are done.
            cache: where features of images are kept on disk, and taken from the next time: a folder, a `FeatureCache`,
                or True for the one of the command line. The estimator keeps it.

        Raises:
            InputError: no image, or one that cannot be read.
        """
        images = as_images(images)
        if len(images) == 0:
            raise InputError("no images to learn from: give at least one picture of a good part")
        chosen, counted = self._chosen_settings(), as_places(self.region)
        settings = with_bit_depth(replace(chosen, training=replace(chosen.training, k_shot=len(images))), images)
        settings = with_region(settings, images, counted, as_places(self.ignore))
        backbone = replace(load_backbone(settings.backbone, as_device(self.device)), cache=as_cache(cache))
        settings = with_tiles(settings, images, backbone.image_encoder.image_size)
        support = encode_support(backbone, images, settings, masks=masks_folder(counted))
        names = tuple(Path(i).name if isinstance(i, str | Path) else f"image {n}" for n, i in enumerate(images))
        subject = Subject("own", self.class_name, names, support_sha256(images, settings.bit_depth))
        selection = ModelSelection(settings.training)
        with reported(progress, f"train {self.class_name}", settings.training.epochs) as advance:
            for (state,) in train(backbone, [TrainTask(subject, support, settings)]):
                selection.update(state)
                if state.number > 0:  # which is the start
                    advance(1)
        self._detector = selection.detector()
        if note := licence_note(settings.backbone):
            log.info("%s", note)
        for finding in self._detector.findings():
            log.info("%s: %s", self.class_name, finding)
        return self

    def predict(
        self,
        images: Images,
        *,
        region: Place | Sequence[Place] | None = None,
        false_alarm_rate: float | None = None,
        batch_size: int = BATCH_SIZE,
        progress: ProgressLike = False,
        cache: CacheLike = None,
    ) -> ImagePrediction:
        """Predict N images: scores [N] in [0, 1], maps [N, resolution, resolution], labels, regions and reasons.

        0.5 is the threshold that a normal image exceeds at the false-alarm rate. Maps of tiles are put together
        [N, H, W]. The prediction is a sequence of those of single images.

        Args:
            images: the images, given as for `fit`.
            region: what counts of them, if it is not what counted in `fit`: the camera has moved, or each has its own.
            false_alarm_rate: decides by the threshold for this share of normal images, between 0 and 1, this time only.
            batch_size: images, or tiles of them, that go through the image encoder together.
            progress: True shows a bar on a terminal or in a notebook; a function is called with the number of images
                that are done.
            cache: as of `fit`, for this time only; None is what was given to `fit` or `load`, False is none.

        Raises:
            InputError: the estimator is not fitted, an image cannot be read or does not fit the region, it learned
                without one, or there is no such rate or batch.
        """
        given = as_images(images)
        detector, masks = self._asked(region, false_alarm_rate, cache)
        with reported(progress, "judge", len(given)) as advance:
            found = detector.predict(given, batch_size, masks, advance)
        known = detector.metadata
        reading = Reading.of(known.settings, masks)
        return ImagePrediction(**vars(found), images=given, frame=known.frame, reading=reading)

    def score_samples(
        self,
        images: Images,
        *,
        region: Place | Sequence[Place] | None = None,
        batch_size: int = BATCH_SIZE,
        progress: ProgressLike = False,
        cache: CacheLike = None,
    ) -> np.ndarray:
        """Return how normal N images are [N] float64: the lower, the more abnormal, as in scikit-learn.

        It is minus the raw score of `predict`, unbounded, and takes no time for maps.

        Args:
            images: the images, given as for `fit`.
            region: as of `predict`.
            batch_size: as of `predict`.
            progress: as of `predict`.
            cache: as of `predict`.

        Raises:
            InputError: as of `predict`, but for a method without a threshold, which has scores.
        """
        given = as_images(images)
        detector, masks = self._asked(region, None, cache)
        with reported(progress, "score", len(given)) as advance:
            raw = detector.score_images(given, batch_size, masks, advance)
        return np.where(np.isnan(raw), -np.inf, -raw)  # NaN is never good

    def decision_function(self, images: Images, **options: Any) -> np.ndarray:
        """Return `score_samples` less `offset_` [N] float64: below 0 exactly where `predict` says "anomaly".

        `options` are the arguments of `score_samples`.

        Raises:
            InputError: as of `score_samples`, or the method has no threshold.
        """
        offset = self.offset_
        return self.score_samples(images, **options) - offset

    def __repr__(self) -> str:  # type: ignore[override]  # scikit-learn's own has a length
        """Return in one line what it is of, what it learned from, and by which threshold it decides."""
        settings = self._chosen_settings() if self._detector is None else self.settings_
        told = [settings.system, f"backbone {settings.backbone.name}"]
        if self._detector is None:
            return f"PromptAD({self.class_name!r}, not fitted, {', '.join(told)})"
        images = f"{self.k_shot_} image{'s' * (self.k_shot_ > 1)}"
        threshold = self._detector.metadata.threshold
        told.append("no threshold" if threshold is None else f"threshold {threshold:.4g}")
        return f"PromptAD({self._detector.class_name!r}, fitted on {images}, {', '.join(told)})"

    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:
        """Return what a notebook shows: that line, in place of scikit-learn's table of arguments."""
        return {"text/plain": repr(self)}


def _tiles(tiles: tuple[int, int] | str) -> tuple[int, int] | None:
    """Return tiles as settings hold them; None is what suits the pictures."""
    if not isinstance(tiles, str):
        return tiles
    if tiles != "auto":
        raise InputError(f"`tiles` {tiles!r}: give (rows, columns), or 'auto'")
    return None
