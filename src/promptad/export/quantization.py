"""An image encoder in 8-bit integers, calibrated on support images; and what that changes."""

import logging
import math
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr
from torch import Tensor

from promptad.data.fingerprints import support_sha256
from promptad.data.images import ImageLike
from promptad.errors import InputError
from promptad.export.base import Model, PrecisionChange, package
from promptad.export.onnx import PIXELS
from promptad.features import ImageFeatures, SupportFeatures
from promptad.models.base import AnomalyDetector
from promptad.models.support import support_views
from promptad.settings import OWN_REGION
from promptad.utils.quiet import quiet_logging

MOST_VIEWS = 32  # that the ranges of activations are taken from
MULTIPLIED = ("MatMul", "Gemm")


def check_support(detector: AnomalyDetector, images: Sequence[ImageLike]) -> None:
    """Check that images are those that a detector learned from, and that nothing but them is needed.

    Raises:
        InputError: they are others, one cannot be read, or each has a region of its own.
    """
    if detector.settings.picture.region == OWN_REGION:
        raise InputError("`precision` int8: its pictures have a region each, which no export knows: take float16")
    if support_sha256(images, detector.settings.bit_depth) != detector.subject.support_sha256:
        raise InputError(
            f"`good`: the detector of {detector.class_name!r} learned from {detector.settings.training.k_shot} other"
            " pictures: give those, unchanged"
        )


def quantized(encoder: Model, views: Sequence[Tensor]) -> Model:
    """Return an encoder whose products with weights are of 8-bit integers.

    Weights have a scale for each output (symmetric), activations one for each tensor, by the least and largest values
    on the pixels [1, 3, S, S] of some views. Attention, normalisation and all sums stay in float32.
    """
    onnx, tools = package("onnx"), package("onnxruntime.quantization")
    waiting = iter(views)

    class Reader(tools.CalibrationDataReader):  # type: ignore[misc, name-defined]  # of a package that may be missing
        def get_next(self) -> dict[str, np.ndarray] | None:
            view = next(waiting, None)
            return None if view is None else {PIXELS: view.cpu().numpy()}

    weights = {weight.name for weight in encoder.graph.initializer}
    for number, node in enumerate(encoder.graph.node):
        node.name = node.name or f"node_{number}"
    chosen = [node.name for node in encoder.graph.node if node.op_type in MULTIPLIED and weights & set(node.input)]
    # It recommends a preparation that changes nothing here.
    with quiet_logging(logging.WARNING), tempfile.TemporaryDirectory() as folder:
        whole, integers = Path(folder, "whole.onnx"), Path(folder, "integers.onnx")
        onnx.save(encoder, whole)
        tools.quantize_static(
            whole,
            integers,
            Reader(),
            quant_format=tools.QuantFormat.QDQ,
            op_types_to_quantize=list(MULTIPLIED),
            nodes_to_quantize=chosen,
            per_channel=True,
            weight_type=tools.QuantType.QInt8,
            activation_type=tools.QuantType.QUInt8,
        )
        return onnx.load(integers)


def calibration_views(detector: AnomalyDetector, images: Sequence[ImageLike]) -> list[Tensor]:
    """Return the pixels [1, 3, S, S] of views of the support images, as many of each, with which int8 is calibrated."""
    backbone, settings = detector.backbone, detector.settings
    count = max(1, min(settings.training.views, math.ceil(MOST_VIEWS / len(images))))
    views = support_views(backbone, images[:MOST_VIEWS], settings, count)
    return [backbone.pixels([view]) for view in views]


def measure_change(
    detector: AnomalyDetector, before: SupportFeatures, changed: AnomalyDetector, after: SupportFeatures
) -> PrecisionChange:
    """Compare a detector's scores of its support images' views with those of the detector on other features.

    Disturbed views are compared, too, where there are any with what the detector needs.
    """
    with_memory = detector.settings.scoring.memory

    def outputs(own: AnomalyDetector, support: SupportFeatures) -> dict[str, np.ndarray]:
        disturbed = support.probes if with_memory else support.disturbed
        kinds = [support.views, *([] if disturbed is None else [disturbed.images])]
        plain = [replace(kind, layers=kind.layers if with_memory else (), distances=None) for kind in kinds]
        found = own.decide(own.score(own.add_memory_distances(ImageFeatures.joined(plain))))
        return {name: value.cpu().numpy() for name, value in found.items()}

    old, new = outputs(detector, before), outputs(changed, after)
    correlation = float(spearmanr(old["raw_score"], new["raw_score"]).statistic) if len(old["score"]) > 2 else 1.0
    decisions = int((old["is_anomalous"] != new["is_anomalous"]).sum()) if "is_anomalous" in old else None
    return PrecisionChange(len(old["score"]), decisions, correlation, float(np.abs(old["score"] - new["score"]).max()))
