"""The detector: prototypes and their calibration on a backbone; it scores, saves and loads."""

import io
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from promptad.backbone.clip import Backbone, load_backbone
from promptad.data.pictures import ImageLike, read_picture
from promptad.errors import InputError
from promptad.files import whole_file
from promptad.prototypes import Prototypes
from promptad.records import ImageFeatures, Prediction
from promptad.scoring import Calibration, Scores, score_features, to_prediction
from promptad.settings import BackboneSettings, Settings

FORMAT = "promptad multi-prototype"
FORMAT_VERSION = 1
CHECKPOINT_KEYS = {
    *("format", "format_version", "normal_prototypes", "abnormal_prototypes", "centre", "normal_share"),
    *("abnormal_share", "calibration", "settings", "weights_sha256", "dataset", "class_name", "support_images"),
    "support_sha256",
}
ANCESTOR_KEYS = {"text_features", "feature_gallery1", "feature_gallery2"}
BATCH_SIZE = 32  # pictures that go through the image tower together


@dataclass(frozen=True, eq=False)
class Detector:
    """A trained detector of one class."""

    backbone: Backbone
    prototypes: Prototypes
    calibration: Calibration
    settings: Settings
    dataset: str
    class_name: str
    support_images: tuple[str, ...]  # their names
    support_sha256: str  # of their pixels

    def encode(
        self,
        pictures: Sequence[ImageLike],
        batch_size: int = BATCH_SIZE,
        advance: Callable[[int], None] = lambda _: None,
    ) -> ImageFeatures:
        """Read and encode N pictures; `advance` is told how many are done with each batch.

        Raises:
            InputError: no picture, or one that cannot be read.
        """
        if len(pictures) == 0:
            raise InputError("no images to score: give at least one")
        return self.backbone.encode_pictures(pictures, batch_size, read_picture, advance)

    def score(self, features: ImageFeatures) -> Scores:
        """Score the features of N pictures, in deviations from normal."""
        return score_features(features, self.prototypes, self.calibration)

    def predict(self, pictures: Sequence[ImageLike], batch_size: int = BATCH_SIZE) -> Prediction:
        """Score N pictures in [0, 1] and map where they are anomalous."""
        scores = self.score(self.encode(pictures, batch_size))
        return to_prediction(scores, self.calibration, self.settings.scoring)

    def save(self, path: Path) -> None:
        """Write a checkpoint that `torch.load(weights_only=True)` reads: tensors and plain data alone.

        Raises:
            InputError: the folder cannot be written to.
        """
        checkpoint = {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "normal_prototypes": self.prototypes.normal.cpu(),
            "abnormal_prototypes": self.prototypes.abnormal.cpu(),
            "centre": self.prototypes.centre.cpu(),
            "normal_share": self.prototypes.normal_share.cpu(),
            "abnormal_share": self.prototypes.abnormal_share.cpu(),
            "calibration": {name: value.cpu() for name, value in vars(self.calibration).items()},
            "settings": self.settings.to_dict(),
            "weights_sha256": self.backbone.weights_sha256,
            "dataset": self.dataset,
            "class_name": self.class_name,
            "support_images": list(self.support_images),
            "support_sha256": self.support_sha256,
        }
        written = io.BytesIO()
        torch.save(checkpoint, written)
        with whole_file(path) as temporary:
            temporary.write_bytes(written.getvalue())


def load_detector(
    path: Path, device: torch.device, backbone: Backbone | None = None, weights: str | None = None
) -> Detector:
    """Load a detector from a checkpoint.

    Args:
        path: the checkpoint.
        device: where its backbone is loaded, unless `backbone` is given.
        backbone: one already loaded.
        weights: where the backbone's weights lie now, if not where they lay when the checkpoint was written.

    Raises:
        InputError: no such file, a truncated one, one of the single-anchor ancestor, of a newer version, of another
            backbone or of other weights.
    """
    checkpoint = read_checkpoint(path)
    settings: Settings = checkpoint["settings"]
    if backbone is None:
        own = settings.backbone if weights is None else replace(settings.backbone, pretrained=weights)
        backbone = load_backbone(own, device)
    _check_backbone(path, checkpoint, settings, backbone)

    def moved(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {name: value.to(backbone.device) for name, value in tensors.items()}

    prototypes = {
        "normal": checkpoint["normal_prototypes"],
        "abnormal": checkpoint["abnormal_prototypes"],
        **{name: checkpoint[name] for name in ("centre", "normal_share", "abnormal_share")},
    }
    return Detector(
        backbone,
        Prototypes(**moved(prototypes)),
        Calibration(**moved(checkpoint["calibration"])),
        settings,
        checkpoint["dataset"],
        checkpoint["class_name"],
        tuple(checkpoint["support_images"]),
        checkpoint["support_sha256"],
    )


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint's plain data, its settings as such, and check that it is one of ours.

    Raises:
        InputError: no such file, a truncated one, one of the single-anchor ancestor or of a newer version.
    """
    if not path.is_file():
        raise InputError(f"no checkpoint {path}: train the class first, with promptad train")
    checkpoint = _read_archive(path)
    keys = set(checkpoint) if isinstance(checkpoint, dict) else set()
    if keys & ANCESTOR_KEYS:
        raise InputError(
            f"{path} is of the single-anchor PromptAD ({', '.join(sorted(keys & ANCESTOR_KEYS))}), which has one"
            " averaged anchor where this system needs prototypes; train again: promptad train --class-name CLASS"
        )
    if "format" not in keys or checkpoint["format"] != FORMAT:
        raise InputError(f"{path} is no checkpoint of promptad: train the class again, with promptad train")
    if checkpoint.get("format_version", 0) > FORMAT_VERSION:
        raise InputError(
            f"{path} has format version {checkpoint['format_version']}, this promptad reads up to {FORMAT_VERSION};"
            " install a newer promptad"
        )
    if missing := CHECKPOINT_KEYS - keys:
        raise InputError(f"{path} is incomplete ({', '.join(sorted(missing))}): train the class again")
    try:
        checkpoint["settings"] = Settings.from_dict(checkpoint["settings"])
    except (KeyError, TypeError) as error:
        raise InputError(f"{path} has settings that this promptad does not know: train the class again") from error
    return checkpoint  # type: ignore[no-any-return]


def _read_archive(path: Path) -> Any:
    """Return what lies in a file of torch's, its checksums tested: torch writes them, but does not read them."""
    try:
        with zipfile.ZipFile(path) as records:
            damaged = records.testzip()  # the name of a file whose checksum is wrong
        content = None if damaged else torch.load(path, map_location="cpu", weights_only=True)
    except Exception:  # whatever a foreign file may raise
        content = None
    if content is None:
        raise InputError(f"{path} is truncated or no checkpoint: train the class again, with promptad train")
    return content


def _check_backbone(path: Path, checkpoint: Mapping[str, Any], settings: Settings, backbone: Backbone) -> None:
    trained, here = settings.backbone, backbone.settings
    if (trained.name, trained.resize, trained.crop) != (here.name, here.resize, here.crop):
        raise InputError(
            f"{path} was trained on backbone {_in_words(trained)}, not {_in_words(here)}: use that one or train again"
        )
    if checkpoint["weights_sha256"] != backbone.weights_sha256:
        raise InputError(
            f"{path} was trained on other weights of {trained.name} (SHA-256 {checkpoint['weights_sha256'][:12]}…, here"
            f" {backbone.weights_sha256[:12]}…): give those by --pretrained-dataset, or train again"
        )


def _in_words(settings: BackboneSettings) -> str:
    size = f"--img-resize {settings.resize}" if settings.resize else "its own picture size"
    return f"{settings.name} at {size}" + (f", --img-cropsize {settings.crop}" if settings.crop else "")
