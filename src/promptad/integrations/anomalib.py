"""The detector as a model of anomalib 2.7: its engine fits, tests and exports it; its data modules bring the images."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.transforms.v2 import CenterCrop, Compose, Normalize, Transform

from promptad.backbones.clip import Backbone
from promptad.backbones.factory import load_backbone
from promptad.data.few_shot import choose_support
from promptad.errors import InputError
from promptad.estimator import PromptAD
from promptad.export.graphs import Encoder, image_encoder_of
from promptad.features import ImageFeatures
from promptad.integrations.pillow_resize import PillowResize
from promptad.models.base import AnomalyDetector
from promptad.models.checkpoint import with_format
from promptad.models.registry import check_checkpoint, restore_detector
from promptad.settings import MULTI_PROTOTYPE, Settings, default_settings
from promptad.structures import SCORE_THRESHOLD

try:
    from anomalib import LearningType
    from anomalib.data import Batch, InferenceBatch
    from anomalib.data.utils import LabelName
    from anomalib.models.components import AnomalibModule
    from anomalib.pre_processing import PreProcessor
except ModuleNotFoundError as error:
    raise InputError("promptad.integrations.anomalib needs anomalib 2.7: pip install 'promptad[anomalib]'") from error

LEARNED = "promptad"  # the key of a checkpoint that holds the detector
MODEL = "model."  # begins the keys of the weights, which are no part of a checkpoint


class Promptad(AnomalibModule):  # type: ignore[misc]  # anomalib is of an environment of its own
    """The multi-prototype detector, trained on the normal images of a data module's train split.

    It keeps its own threshold, which is set from the support images: 0.5 of scores and maps. No image or label of the
    validation and test splits reaches it.

    Args:
        class_name: what the part is, in words; None takes the data module's category.
        k_shot: number of support images, chosen by the seed and the file names; None takes all of the train split.
        seed: of that choice, of views and of random starts; None is that of the settings.
        n_pro: number of normal prototypes; None is that of the settings.
        n_pro_ab: number of abnormal prototypes, likewise.
        backbone: a CLIP of open_clip that is read, or "tiny", which is bundled; None is that of the settings.
        pretrained: the backbone's weights, a tag of open_clip or a file; None is that of the settings.
        memory_bank: whether patches are also compared with those of the support images.
        false_alarm_rate: the share of normal images that may be labelled anomalous, which sets the threshold.
        pre_processor: as of anomalib; True resizes and normalises as the backbone needs it.
        post_processor: as of anomalib; True passes scores, labels and maps on as they are.
        evaluator: as of anomalib.
        visualizer: as of anomalib.

    Raises:
        InputError: an invalid value, or a backbone that cannot be loaded or is no ViT.
    """

    def __init__(  # noqa: PLR0913 a model's settings, each an option of anomalib's command line
        self,
        class_name: str | None = None,
        *,
        k_shot: int | None = None,
        seed: int | None = None,
        n_pro: int | None = None,
        n_pro_ab: int | None = None,
        backbone: str | None = None,
        pretrained: str | None = None,
        memory_bank: bool = False,
        false_alarm_rate: float | None = None,
        pre_processor: nn.Module | bool = True,
        post_processor: nn.Module | bool = True,
        evaluator: Any = True,
        visualizer: Any = True,
    ) -> None:
        given: dict[str, dict[str, Any]] = {
            "prompts": {"n_pro": n_pro, "n_pro_ab": n_pro_ab},
            "training": {"seed": seed},
            "backbone": {"name": backbone, "pretrained": pretrained},
            "scoring": {"memory": memory_bank, "false_alarm_rate": false_alarm_rate},
        }
        settings = with_given(default_settings(MULTI_PROTOTYPE), given)
        model = DetectorModel(load_backbone(settings.backbone, torch.device("cpu")))
        super().__init__(
            # anomalib asks for its parts before this model has any, so they are made here.
            pre_processor=InputPreProcessor(model.backbone) if pre_processor is True else pre_processor,
            post_processor=AsItIs() if post_processor is True else post_processor,
            evaluator=evaluator,
            visualizer=visualizer,
        )
        self.settings, self.class_name, self.k_shot, self.model = settings, class_name, k_shot, model

    @property
    def learning_type(self) -> LearningType:
        """One class: of a few-shot model anomalib would skip the fit."""
        return LearningType.ONE_CLASS

    @property
    def trainer_arguments(self) -> dict[str, Any]:
        """One pass over the train split, on one device."""
        return {"max_epochs": 1, "num_sanity_val_steps": 0, "devices": 1}

    @staticmethod
    def configure_optimizers() -> None:
        """Return none: the detector is trained at the start of the fit, by its own."""

    def on_train_start(self) -> None:
        """Train the detector on the support images, which are read from their files.

        Raises:
            InputError: there is no name of the part, too few images, or one that cannot be read.
        """
        images = self.support_images()
        detector = PromptAD(self.name_of_part(), settings=self.settings, device=self.device)
        self.model.set_detector(detector.fit(images).detector)

    def support_images(self) -> tuple[Path, ...]:
        """Return the files of the support images: of the normal images of the train split, all or `k_shot` of them.

        Raises:
            InputError: the train split has fewer, or does not tell the files of its images.
        """
        samples = getattr(self.trainer.train_dataloader.dataset, "samples", None)
        if samples is None:
            raise InputError("the train images have no paths: give a data module or a data set of anomalib")
        normal = [Path(path) for path in samples.image_path[samples.label_index != LabelName.ABNORMAL]]
        return choose_support(normal, self.k_shot or max(len(normal), 1), self.settings.training.seed)

    def name_of_part(self) -> str:
        """Return what the part is, in words.

        Raises:
            InputError: neither the model nor its data module tells.
        """
        name = self.class_name or getattr(self.trainer.datamodule, "category", None)
        if not name:
            raise InputError("what the part is is not known: give `class_name`, such as 'metal bracket'")
        return cast(str, name)

    def training_step(self, batch: Batch, *_: Any) -> Tensor:
        """Return a loss of 0: nothing is left to train."""
        return torch.zeros((), device=batch.image.device, requires_grad=True)

    def validation_step(self, batch: Batch, *_: Any) -> Batch:
        """Return the batch with its predictions."""
        return batch.update(**self.model(batch.image)._asdict())

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Put the detector into a checkpoint, as tensors and plain data, in place of the backbone's weights."""
        super().on_save_checkpoint(checkpoint)
        kept = {name: own for name, own in checkpoint["state_dict"].items() if not name.startswith(MODEL)}
        checkpoint["state_dict"] = kept
        if (detector := self.model.detector) is not None:
            checkpoint[LEARNED] = with_format(MULTI_PROTOTYPE, detector.content())

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take the detector from a checkpoint.

        Raises:
            InputError: it is of another backbone, of other weights or of a newer promptad.
        """
        super().on_load_checkpoint(checkpoint)
        if LEARNED in checkpoint:
            file, cpu = Path("the checkpoint of anomalib"), torch.device("cpu")
            content = check_checkpoint(file, checkpoint[LEARNED], MULTI_PROTOTYPE)
            backbone = self.model.backbone
            self.model.set_detector(restore_detector(file, content, cpu, MULTI_PROTOTYPE, backbone=backbone))
        checkpoint["state_dict"] |= {MODEL + name: own for name, own in self.model.state_dict().items()}

    def save(self, path: str | Path) -> None:
        """Write the detector as a checkpoint of promptad, which `PromptAD.load` and the commands read.

        Raises:
            InputError: nothing is learned yet, or the folder cannot be written to.
        """
        self.model.learned.save(Path(path))


class DetectorModel(nn.Module):
    """From normalised pixels to anomalib's predictions: the image encoder and, once it is learned, the detector."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone
        self.detector: AnomalyDetector | None = None
        self.encoder = Encoder(image_encoder_of(backbone), layers=False)

    def set_detector(self, detector: AnomalyDetector) -> None:
        """Take a detector, with its backbone."""
        self.backbone, self.detector, self.head = detector.backbone, detector, detector.head
        self.encoder = Encoder(image_encoder_of(detector.backbone), detector.settings.scoring.memory)

    @property
    def learned(self) -> AnomalyDetector:
        """The detector.

        Raises:
            InputError: nothing is learned yet.
        """
        if self.detector is None:
            raise InputError("this Promptad has learned nothing yet: call the engine's fit, or load a checkpoint")
        return self.detector

    def forward(self, pixels: Tensor) -> InferenceBatch:
        """Return scores [N], labels [N], maps and masks [N, 1, S, S] for normalised pixels [N, 3, S, S]."""
        detector = self.learned
        known = detector.add_memory_distances(self._features(pixels))
        found = detector.decide(detector.score(known))
        maps = F.interpolate(found["anomaly_map"][:, None], pixels.shape[-2:], mode="bilinear", align_corners=False)
        labels, masks = found["is_anomalous"], maps > SCORE_THRESHOLD
        scores = found["score"].float().clamp(0, 1)  # OpenVINO drops a last conversion, and its output has two names
        return InferenceBatch(pred_score=scores, pred_label=labels, anomaly_map=maps, pred_mask=masks)

    def _features(self, pixels: Tensor) -> ImageFeatures:
        if torch.compiler.is_compiling():
            class_token, patch_tokens, *layers = self.encoder(pixels)
            return ImageFeatures(class_token, patch_tokens, tuple(layers))
        return self.encoder.encoder.encode(pixels, self.encoder.layers)


class InputPreProcessor(PreProcessor):  # type: ignore[misc]  # as above
    """Resizes images as Pillow does, and normalises them as a backbone needs it; masks are resized alike.

    It follows from the backbone, so that nothing of it is in a checkpoint.
    """

    def __init__(self, backbone: Backbone) -> None:
        side = backbone.image_encoder.image_size
        cropped: Sequence[Transform] = () if side == backbone.resize else (CenterCrop(side),)
        mean, std = (own.flatten().tolist() for own in (backbone.mean, backbone.std))
        super().__init__(Compose([PillowResize(backbone.resize), *cropped, Normalize(mean, std)]))

    def checkpoint_config(self) -> dict[str, Any]:
        """Return nothing."""
        return {}

    def load_checkpoint_config(self, config: dict[str, Any]) -> None:
        """Take nothing."""


class AsItIs(nn.Module):
    """A post-processor that passes predictions on: they are normalised, and decided by the detector's threshold.

    anomalib's own takes labels of the validation split to set one.
    """

    def forward(self, predictions: InferenceBatch) -> InferenceBatch:
        """Return the predictions."""
        return predictions


def with_given(settings: Settings, given: dict[str, dict[str, Any]]) -> Settings:
    """Return settings with what is given in its groups; None leaves a value as it is."""
    changed = {
        group: replace(getattr(settings, group), **{name: own for name, own in values.items() if own is not None})
        for group, values in given.items()
    }
    return replace(settings, **changed)
