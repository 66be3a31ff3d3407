"""An exported tower in the place of a backbone's image encoder."""

from dataclasses import dataclass, replace
from importlib.metadata import version

import numpy as np
import torch
from torch import Tensor

from promptad.backbones.clip import Backbone
from promptad.errors import InputError, check_choice
from promptad.features import ImageFeatures
from promptad.runtime.engines import ENGINES, TORCH, Graph
from promptad.runtime.metadata import IMAGES, MEMORY_IMAGES


@dataclass(eq=False)
class TowerEncoder:
    """An image encoder that a graph of a tower computes, in an engine."""

    graph: Graph
    engine: str  # and its version: other ones may differ in the last bits
    image_size: int
    width: int
    dimensions: int
    layer_indices: tuple[int, ...]
    mean: Tensor  # [3, 1, 1], of the pixels that it is given
    std: Tensor  # [3, 1, 1]

    @classmethod
    def in_place_of(cls, backbone: Backbone, graph: Graph, engine: str) -> Backbone:
        """Return a backbone with a tower as its image encoder."""
        own, mean, std = backbone.image_encoder, backbone.mean.cpu(), backbone.std.cpu()
        sizes = own.image_size, own.width, own.dimensions, own.layer_indices
        return replace(backbone, image_encoder=cls(graph, f"{engine} {version(engine)}", *sizes, mean, std))

    def encode(self, pixels: Tensor, layers: bool = False, local: bool = True) -> ImageFeatures:
        """Encode as an `ImageEncoder` does. The tower normalises by itself: pixels are turned back, which is exact."""
        found = self.graph.run({IMAGES: _turned_back(pixels, self.mean, self.std)})
        class_token, patches, *kept = (torch.from_numpy(own).to(pixels.device) for own in found.values())
        return ImageFeatures(class_token, patches if local else patches[:, :0], tuple(kept) if layers else ())


@dataclass(eq=False)
class TowerMemory:
    """An encoder for a memory bank that a graph computes, in an engine."""

    graph: Graph
    engine: str  # and its version
    image_size: int
    interpolation: str
    width: int
    layer_indices: tuple[int, ...]
    mean: Tensor
    std: Tensor
    weights_sha256: str

    @classmethod
    def in_place_of(cls, backbone: Backbone, graph: Graph, engine: str) -> Backbone:
        """Return a backbone with a graph as the encoder for its memory bank."""
        own = backbone.memory
        assert own is not None, "there is no encoder for the memory bank"
        known = own.image_size, own.interpolation, own.width, own.layer_indices, own.mean, own.std, own.weights_sha256
        return replace(backbone, memory=cls(graph, f"{engine} {version(engine)}", *known))

    def encode(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """Encode as a `PatchEncoder` does. The graph normalises by itself, as of a tower."""
        found = self.graph.run({MEMORY_IMAGES: _turned_back(pixels, self.mean, self.std)})
        return tuple(torch.from_numpy(layer).to(pixels.device) for layer in found.values())


def _turned_back(pixels: Tensor, mean: Tensor, std: Tensor) -> np.ndarray:
    """Return the squares [N, S, S, 3] uint8 that were normalised to pixels; that is exact."""
    squares = ((pixels.cpu() * std + mean) * 255).round().to(torch.uint8).permute(0, 2, 3, 1)
    return np.ascontiguousarray(squares.numpy())


def with_engine(backbone: Backbone, engine: str, threads: int | None = None) -> Backbone:
    """Return a backbone whose images are encoded by an engine: "torch" is its own.

    Its image encoder is exported in memory; that, and the import of what exports, take some seconds. OpenVINO computes
    in the backbone's precision. `threads` is how many it uses; None is one for each core.

    Raises:
        InputError: an unknown engine, one that is not installed, a GPU, or a backbone that cannot be exported.
    """
    check_choice("engine", engine, (TORCH, *ENGINES))
    if engine == TORCH:
        return backbone
    if backbone.on_gpu:
        raise InputError(f"`engine` {engine} works on the CPU: leave it out, or use `use_cpu` True")
    from promptad.export.onnx import encoder_graph, joined, memory_graph, preparation_graph, to_bytes  # noqa: PLC0415 as above

    tower = joined(preparation_graph(backbone), encoder_graph(backbone, layers=backbone.memory is None))
    graph = ENGINES[engine](to_bytes(tower), backbone.settings.precision, threads)
    encoding = TowerEncoder.in_place_of(backbone, graph, engine)
    if backbone.memory is None:
        return encoding
    memory = ENGINES[engine](to_bytes(memory_graph(backbone)), backbone.settings.precision, threads)
    return TowerMemory.in_place_of(encoding, memory, engine)
