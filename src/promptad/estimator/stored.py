"""Files of a fitted estimator: checkpoints, exported detectors, and folders as the Hugging Face Hub keeps them."""

from pathlib import Path
from typing import Any, Self

import torch

from promptad.backbones.factory import as_device
from promptad.backbones.feature_cache import CacheLike, as_cache
from promptad.data.inputs import Images, as_images
from promptad.estimator.fitted import Fitted
from promptad.export.base import Exported, ExportOptions
from promptad.export.registry import export
from promptad.models.base import AnomalyDetector
from promptad.models.folder import load_folder
from promptad.models.hub import HubMixin, fetch_folder
from promptad.models.registry import load_detector
from promptad.settings import MULTI_PROTOTYPE, Settings


class Stored(Fitted, HubMixin):
    """Saves and exports what was learned, and loads it."""

    def __init__(
        self, class_name: str, *, system: str, settings: Settings | None, device: str | torch.device | None
    ) -> None:
        raise NotImplementedError  # an estimator's own

    def save(self, path: str | Path) -> None:
        """Write a checkpoint."""
        self.detector.save(Path(path))

    def export(
        self,
        path: str | Path,
        *,
        precision: str = "float32",
        tower: str | Path | None = None,
        good: Images = (),
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
        options = ExportOptions(precision=precision, tower=shared, support=as_images(good, "good"))
        return export(self.detector, Path(path), options)

    @classmethod
    def load(
        cls,
        path: str | Path,
        *,
        system: str = MULTI_PROTOTYPE,
        weights: str | None = None,
        memory_weights: str | None = None,
        device: str | torch.device | None = None,
        cache: CacheLike = None,
    ) -> Self:
        """Load a checkpoint of a method; `weights` is the current path of the backbone's weights, if moved.

        `memory_weights` is that of a memory backbone's; "hub" has them downloaded.

        `device` is as of the constructor, `cache` as of `fit`.

        Raises:
            InputError: the checkpoint is missing, damaged, of another method or of other weights.
        """
        detector = load_detector(Path(path), as_device(device), system, weights=weights, memory_weights=memory_weights)
        return cls._of(detector.with_cache(as_cache(cache)), device)

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | Path,
        *,
        weights: str | None = None,
        memory_weights: str | None = None,
        device: str | torch.device | None = None,
        cache: CacheLike = None,
        **options: Any,
    ) -> Self:
        """Load what `save_pretrained` or `push_to_hub` saved, of any method, from a folder or from the hub.

        Args:
            pretrained_model_name_or_path: the folder, or the repository's name, such as "user/bracket".
            weights: the backbone's weights, where the folder does not bring them by name or they are to be downloaded:
                their path or tag.
            memory_weights: the same of a memory backbone; "hub" has them downloaded.
            device: as of the constructor.
            cache: of features, as of `fit`.
            options: of the download: `revision`, `token`, `cache_dir`, `force_download`, `local_files_only`.

        Raises:
            InputError: there is no such folder or repository, the hub cannot be reached, or the folder is incomplete,
                damaged, of a newer promptad or of other weights.
        """
        folder = fetch_folder(pretrained_model_name_or_path, **options)
        detector = load_folder(folder, as_device(device), weights, memory_weights)
        return cls._of(detector.with_cache(as_cache(cache)), device)

    @classmethod
    def _of(cls, detector: AnomalyDetector, device: str | torch.device | None = None) -> Self:
        """Return an estimator that has learned what a detector has."""
        settings = detector.settings
        loaded = cls(detector.class_name, system=settings.system, settings=settings, device=device)
        loaded._detector = detector
        return loaded
