"""The estimator: fit, predict, save and load, for use from Python."""

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import numpy as np

from promptad.backbones.factory import choose_device, load_backbone
from promptad.data.fingerprints import support_sha256
from promptad.data.images import ImageLike, as_list
from promptad.data.reading import Reading
from promptad.data.region_of_interest import Place, as_places, masks_folder
from promptad.engine.model_selection import ModelSelection
from promptad.errors import InputError
from promptad.export.base import Exported, ExportOptions
from promptad.export.registry import export
from promptad.models.base import AnomalyDetector, Subject, TrainTask
from promptad.models.folder import load_folder
from promptad.models.hub import HubMixin, fetch_folder
from promptad.models.multi_prototype.detector import MultiPrototypeDetector
from promptad.models.multi_prototype.teaching import confirm, new_verdicts, undo
from promptad.models.multi_prototype.verdicts import Verdict
from promptad.models.registry import load_detector, train
from promptad.models.support import encode_support, with_bit_depth, with_region, with_tiles
from promptad.runtime.asked_region import in_region
from promptad.settings import MULTI_PROTOTYPE, Settings, default_settings
from promptad.visualization.prediction import ImagePrediction


class PromptAD(HubMixin):
    """A few-shot anomaly detector, trained on a few normal images and the name of the part.

    Args:
        class_name: what the part is, in words, such as "carpet" or "metal bracket".
        n_pro: number of normal prototypes.
        n_pro_ab: number of abnormal prototypes.
        backbone: a plain-ViT CLIP of open_clip, or "tiny", which is bundled.
        states: the part's own defects, such as ["with hole", "with scratch"]; None uses the built-in states.
        system: the method, "multi-prototype" or the baseline "single-anchor", each with its own defaults.
        region: what counts of a picture: a box (left, top, right, bottom) in pixels, the file of a mask, white where it
            counts, or several of these, which add up; or a folder of masks, one for each picture, of its name.
        ignore: what does not count: boxes and files of masks.
        tiles: (rows, columns) that large or long pictures are cut into, or "auto", as suits them. None: not cut.
        settings: everything else; the arguments above override it, but `system`, which it overrides.
        gpu: index of the GPU; None is the CPU.

    Attributes:
        k_shot_: number of images given to `fit`.

    Raises:
        InputError: an invalid value, or a backbone that cannot be loaded.
    """

    def __init__(  # noqa: PLR0913 an estimator's settings
        self,
        class_name: str,
        *,
        n_pro: int | None = None,
        n_pro_ab: int | None = None,
        backbone: str | None = None,
        states: Sequence[str] | None = None,
        region: Place | Sequence[Place] | None = None,
        ignore: Place | Sequence[Place] | None = None,
        tiles: tuple[int, int] | str | None = None,
        system: str = MULTI_PROTOTYPE,
        settings: Settings | None = None,
        gpu: int | None = None,
    ) -> None:
        settings = settings or default_settings(system)
        given: dict[str, Any] = {"n_pro": n_pro, "n_pro_ab": n_pro_ab, "states": states}
        prompts = replace(settings.prompts, **{name: value for name, value in given.items() if value is not None})
        chosen = settings.backbone if backbone is None else replace(settings.backbone, name=backbone)
        self.class_name = class_name
        picture = settings.picture if tiles is None else replace(settings.picture, tiles=_tiles(tiles))
        self.settings = replace(settings, prompts=prompts, backbone=chosen, picture=picture)
        self.region, self.ignore = as_places(region), as_places(ignore)
        self.device, warning = choose_device(gpu)
        if warning:
            warnings.warn(warning, stacklevel=2)
        self._detector: AnomalyDetector | None = None

    def fit(self, images: Iterable[ImageLike] | ImageLike) -> Self:
        """Learn from normal images, or from one: paths, PIL images, or RGB arrays or tensors.

        Arrays and tensors are [H, W, 3] or [3, H, W], in uint8 or in floats from 0 to 1.

        Raises:
            InputError: no image, or one that cannot be read.
        """
        images = as_list(images)
        if len(images) == 0:
            raise InputError("no images to learn from: give at least one picture of a good part")
        training = replace(self.settings.training, k_shot=len(images))
        settings = with_bit_depth(replace(self.settings, training=training), images)
        settings = with_region(settings, images, self.region, self.ignore)
        backbone = load_backbone(settings.backbone, self.device)
        settings = with_tiles(settings, images, backbone.image_encoder.image_size)
        support = encode_support(backbone, images, settings, masks=masks_folder(self.region))
        names = tuple(Path(i).name if isinstance(i, str | Path) else f"image {n}" for n, i in enumerate(images))
        subject = Subject("own", self.class_name, names, support_sha256(images, settings.bit_depth))
        selection = ModelSelection(settings.training)
        for (state,) in train(backbone, [TrainTask(subject, support, settings)]):
            selection.update(state)
        self._detector = selection.detector()
        return self

    @property
    def detector(self) -> AnomalyDetector:
        """The trained detector.

        Raises:
            InputError: the estimator is not fitted.
        """
        if self._detector is None:
            raise InputError("this PromptAD has learned nothing yet: call fit, or PromptAD.load")
        return self._detector

    @property
    def k_shot_(self) -> int:
        """The number of support images."""
        return self.detector.settings.training.k_shot

    def predict(
        self, images: Iterable[ImageLike] | ImageLike, region: Place | Sequence[Place] | None = None
    ) -> ImagePrediction:
        """Predict N images, given as for `fit`: scores [N] in [0, 1], maps [N, resolution, resolution], labels.

        0.5 is the threshold that a normal image exceeds at the false-alarm rate of the settings. Maps of tiles are put
        together [N, H, W].

        Args:
            images: the images.
            region: what counts of them, if it is not what counted in `fit`: the camera has moved, or each has its own.

        Raises:
            InputError: the estimator is not fitted, an image cannot be read or does not fit the region, or it learned
                without one.
        """
        given = as_list(images)
        detector, masks = self._in_region(region)
        known = detector.metadata
        return ImagePrediction(
            **vars(detector.predict(given, masks=masks)),
            images=given,
            frame=known.frame,
            reading=Reading.of(known.settings, masks),
        )

    def score_samples(
        self, images: Iterable[ImageLike] | ImageLike, region: Place | Sequence[Place] | None = None
    ) -> np.ndarray:
        """Return the scores [N] of N images, without anomaly maps: faster if scores use the class token only.

        `region` is as for `predict`.
        """
        detector, masks = self._in_region(region)
        return detector.score_images(as_list(images), masks=masks)

    def _in_region(self, region: Place | Sequence[Place] | None) -> tuple[AnomalyDetector, Path | None]:
        asked = as_places(region)
        if not asked and masks_folder(self.region) is not None:
            asked = self.region  # the folder that `fit` was given
        return in_region(self.detector, asked, ())

    def confirm(
        self,
        good: Iterable[ImageLike] | ImageLike = (),
        defect: Iterable[ImageLike] | ImageLike = (),
        region: Place | None = None,
    ) -> Self:
        """Learn from verdicts on images, given as for `fit`: `good` ones, and those with a `defect`.

        Nothing is trained anew, and all of it can be undone. What looks like a defect of these is rejected from then
        on. A verdict that is known already is left out with a warning. `region` is the folder of masks, where each
        image has its own, if it is not that of `fit`.

        Raises:
            InputError: the estimator is not fitted, or of the baseline, which decides nothing; an image cannot be read,
                or was called the opposite.
        """
        detector = self._decided()
        goods, defects = as_list(good), as_list(defect)
        if not goods and not defects:
            raise InputError("there is nothing to confirm: give `good` or `defect`")
        new = new_verdicts(detector, goods, defects)
        for verdict in new.repeated:
            warnings.warn(f"known already: {verdict.called} is {verdict.label}", stacklevel=2)
        self._detector = confirm(detector, new, masks=self._in_region(region)[1])
        return self

    @property
    def verdicts(self) -> tuple[Verdict, ...]:
        """The verdicts that were learned from: name, hash, time, and whether the image is good."""
        taught = self._decided().taught
        return () if taught is None else taught.verdicts

    def undo(self, *names: str) -> Self:
        """Forget verdicts, named by files, beginnings of hashes, or as "all", as if they had never been given.

        Raises:
            InputError: no verdict is of that name, or several are.
        """
        self._detector = undo(self._decided(), names)
        return self

    def _decided(self) -> MultiPrototypeDetector:
        """Return the trained detector, which decides.

        Raises:
            InputError: it is of the baseline.
        """
        if not isinstance(detector := self.detector, MultiPrototypeDetector):
            raise InputError("the single-anchor baseline decides nothing, so there is nothing to confirm")
        return detector

    def save(self, path: str | Path) -> None:
        """Write a checkpoint."""
        self.detector.save(Path(path))

    def export(
        self,
        path: str | Path,
        *,
        precision: str = "float32",
        tower: str | Path | None = None,
        good: Iterable[ImageLike] = (),
    ) -> Exported:
        """Export the detector in the format of the path's suffix: .onnx, .xml of OpenVINO, or .safetensors of its head.

        `promptad.runtime.Session` predicts with the first two, without torch.

        Args:
            path: the file to write.
            precision: of the image encoder, "float32", "float16" (half the file) or "int8" (a third, and faster).
            tower: a file of its own for the image encoder, which several detectors share; written if it is not there.
            good: for int8, the images that were given to `fit`.

        Raises:
            InputError: the estimator is not fitted, the suffix is unknown, a package is missing, the images are others,
                or the tower is of another backbone.
        """
        shared = None if tower is None else Path(tower)
        options = ExportOptions(precision=precision, tower=shared, support=as_list(good))
        return export(self.detector, Path(path), options)

    @classmethod
    def load(
        cls, path: str | Path, *, system: str = MULTI_PROTOTYPE, weights: str | None = None, gpu: int | None = None
    ) -> "PromptAD":
        """Load a checkpoint of a method; `weights` is the current path of the backbone's weights, if moved.

        Raises:
            InputError: the checkpoint is missing, damaged, of another method or of other weights.
        """
        return cls._of(load_detector(Path(path), choose_device(gpu)[0], system, weights=weights), gpu)

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | Path,
        *,
        weights: str | None = None,
        gpu: int | None = None,
        **options: Any,
    ) -> "PromptAD":
        """Load what `save_pretrained` or `push_to_hub` saved, of any method, from a folder or from the hub.

        Args:
            pretrained_model_name_or_path: the folder, or the repository's name, such as "user/bracket".
            weights: the backbone's weights, where the folder does not bring them by name or they are to be downloaded:
                their path or tag.
            gpu: index of the GPU; None is the CPU.
            options: of the download: `revision`, `token`, `cache_dir`, `force_download`, `local_files_only`.

        Raises:
            InputError: there is no such folder or repository, the hub cannot be reached, or the folder is incomplete,
                damaged, of a newer promptad or of other weights.
        """
        folder = fetch_folder(pretrained_model_name_or_path, **options)
        return cls._of(load_folder(folder, choose_device(gpu)[0], weights), gpu)

    @classmethod
    def _of(cls, detector: AnomalyDetector, gpu: int | None) -> "PromptAD":
        """Return an estimator that has learned what a detector has."""
        loaded = cls(detector.class_name, settings=detector.settings, gpu=gpu)
        loaded._detector = detector
        return loaded


def _tiles(tiles: tuple[int, int] | str) -> tuple[int, int] | None:
    """Return tiles as settings hold them; None is what suits the pictures."""
    if not isinstance(tiles, str):
        return tiles
    if tiles != "auto":
        raise InputError(f"`tiles` {tiles!r}: give (rows, columns), or 'auto'")
    return None
