"""A detector's graphs in ONNX, whole or as a tower and a head: traced, joined, stored, and told what they are."""

import hashlib
import warnings
from collections.abc import Sequence
from inspect import Parameter, signature
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from promptad.backbones.clip import Backbone
from promptad.errors import InputError
from promptad.export.base import Model, package
from promptad.export.graphs import (
    Encoder,
    Head,
    Memory,
    Preparation,
    feature_names,
    image_encoder_of,
    layer_names,
    memory_encoder_of,
    sample_features,
)
from promptad.features import ImageFeatures
from promptad.models.base import AnomalyDetector
from promptad.runtime.metadata import IMAGES, KEY, MEMORY_IMAGES, ExportedText
from promptad.utils.files import whole_file
from promptad.utils.quiet import quiet_logging

PIXELS = "pixels"
MOST_IMAGES = 4096  # in a batch
LARGE = 2**12  # numbers of a weight that is stored in half precision
LARGEST_FILE = 2**31  # bytes, of protocol buffers
HALF_RANGE = float(np.finfo(np.float16).max)
SUFFIX = "_float32"  # of a weight that was stored in half precision


def encoder_graph(backbone: Backbone, layers: bool) -> Model:
    """Return the image encoder: from normalised pixels [N, 3, S, S] to its features, with layers if asked for.

    Raises:
        InputError: the backbone cannot be exported, or the extra onnx is not installed.
    """
    encoder = image_encoder_of(backbone)
    pixels = torch.zeros(2, 3, encoder.image_size, encoder.image_size, device=backbone.device)
    names = feature_names(len(encoder.layer_indices) if layers else 0)
    return _traced(Encoder(encoder, layers), (pixels,), (PIXELS,), names)


def preparation_graph(backbone: Backbone) -> Model:
    """Return how squares [N, S, S, 3] uint8 become pixels."""
    side = backbone.image_encoder.image_size
    images = torch.zeros(2, side, side, 3, dtype=torch.uint8, device=backbone.device)
    return _traced(Preparation(backbone), (images,), (IMAGES,), (PIXELS,))


def memory_graph(backbone: Backbone) -> Model:
    """Return the second encoder: from squares [N, M, M, 3] uint8 to the layers of a memory bank.

    Raises:
        InputError: it cannot be exported, or the extra onnx is not installed.
    """
    encoder = memory_encoder_of(backbone)
    images = torch.zeros(2, encoder.image_size, encoder.image_size, 3, dtype=torch.uint8, device=backbone.device)
    return _traced(Memory(encoder), (images,), (MEMORY_IMAGES,), layer_names(len(encoder.layer_indices)))


def head_graph(detector: AnomalyDetector) -> Model:
    """Return the head: from features to the outputs of `runtime.postprocess`."""
    backbone = detector.backbone
    layers = len(backbone.banked.layer_indices) if detector.settings.scoring.memory else 0
    features = sample_features(backbone, layers)
    with torch.no_grad():
        names = detector.outputs(ImageFeatures(features[0], features[1], features[2:]))
    return _traced(Head(detector), features, feature_names(layers), tuple(names))


def joined(first: Model, second: Model) -> Model:
    """Return one graph of two: the second takes what the first gives; what it does not take is left out."""
    compose = package("onnx.compose")
    taken = {own.name for own in second.graph.input}
    first, second = (
        compose.add_prefix(model, prefix, rename_inputs=False, rename_outputs=False)
        for model, prefix in ((first, "first/"), (second, "second/"))
    )
    outputs = [own.name for own in second.graph.output]
    return compose.merge_models(first, second, [(name, name) for name in sorted(taken)], outputs=outputs)


def beside(first: Model, second: Model) -> Model:
    """Return one graph of two that share nothing: it takes what both take, and gives what both give."""
    compose = package("onnx.compose")
    first, second = (
        compose.add_prefix(model, prefix, rename_inputs=False, rename_outputs=False)
        for model, prefix in ((first, "one/"), (second, "other/"))
    )
    return compose.merge_models(first, second, [])


def in_half_precision(model: Model) -> Model:
    """Return a graph whose large weights are stored in float16; it computes in float32, as engines on CPUs do."""
    onnx = package("onnx")
    kept, casts = [], []
    for weight in model.graph.initializer:
        values = onnx.numpy_helper.to_array(weight)
        if values.dtype != np.float32 or values.size < LARGE or np.abs(values).max() > HALF_RANGE:
            kept.append(weight)
            continue
        kept.append(onnx.numpy_helper.from_array(values.astype(np.float16), weight.name + SUFFIX))
        casts.append(onnx.helper.make_node("Cast", [weight.name + SUFFIX], [weight.name], to=onnx.TensorProto.FLOAT))
    half = onnx.ModelProto()
    half.CopyFrom(model)
    del half.graph.initializer[:], half.graph.node[:], half.graph.value_info[:]
    half.graph.initializer.extend(kept)
    half.graph.node.extend([*casts, *model.graph.node])
    return half


def write_onnx(model: Model, text: ExportedText, path: Path) -> tuple[Path, ...]:
    """Write a graph with the text of what it is; return its file.

    Raises:
        InputError: it is too large for one file, or the folder cannot be written to.
    """
    del model.metadata_props[:]
    package("onnx").helper.set_model_props(model, {KEY: text.to_json()})
    with whole_file(path, "output") as temporary:
        temporary.write_bytes(to_bytes(model))
    return (path,)


def identity_of(model: Model) -> str:
    """Return the SHA-256 of a graph and its weights."""
    return hashlib.sha256(model.SerializeToString(deterministic=True)).hexdigest()


def to_bytes(model: Model) -> bytes:
    """Return a graph as the bytes of its file.

    Raises:
        InputError: it is too large for one file.
    """
    if (size := model.ByteSize()) >= LARGEST_FILE:
        raise InputError(f"its graph has {size / 2**30:.1f} GB, and an ONNX file holds 2: lower `precision` to float16")
    return bytes(model.SerializeToString())


def _traced(module: nn.Module, inputs: tuple[Tensor, ...], names: Sequence[str], outputs: Sequence[str]) -> Model:
    """Trace a module on example inputs, of which it takes any number of images."""
    package("onnxscript")  # which torch traces with
    any_number = {0: torch.export.Dim("images", min=1, max=MOST_IMAGES)}
    named = [own for own in signature(module.forward).parameters.values() if own.kind is not Parameter.VAR_POSITIONAL]
    further = (any_number,) * (len(inputs) - len(named))
    shapes = (any_number,) * len(named) + ((further,) if further else ())
    with torch.no_grad(), quiet_logging(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            module.eval(),
            inputs,
            dynamo=True,
            dynamic_shapes=shapes,
            input_names=list(names),
            output_names=list(outputs),
            verbose=False,
        )
    assert program is not None
    return _without_notes(program.model_proto)


def _without_notes(model: Model) -> Model:
    """Delete what tracing notes of where code lies, which is of no use elsewhere."""
    for node in model.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    del model.graph.value_info[:]
    return model
