"""An exported tower in the place of a backbone's image encoder."""

from dataclasses import dataclass, replace
from importlib.metadata import version

import torch
from torch import Tensor

from promptad.backbones.clip import Backbone
from promptad.errors import InputError, check_choice
from promptad.features import ImageFeatures
from promptad.runtime.engines import ENGINES, TORCH, Graph


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
        squares = ((pixels.cpu() * self.std + self.mean) * 255).round().to(torch.uint8).permute(0, 2, 3, 1)
        found = self.graph.run({"images": squares.contiguous().numpy()})
        class_token, patches, *kept = (torch.from_numpy(own).to(pixels.device) for own in found.values())
        return ImageFeatures(class_token, patches if local else patches[:, :0], tuple(kept) if layers else ())


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
    if backbone.device.type != "cpu":
        raise InputError(f"`engine` {engine} works on the CPU: leave it out, or use `use_cpu` True")
    from promptad.export.onnx import encoder_graph, joined, preparation_graph, to_bytes  # noqa: PLC0415 as above

    tower = joined(preparation_graph(backbone), encoder_graph(backbone, layers=True))
    graph = ENGINES[engine](to_bytes(tower), backbone.settings.precision, threads)
    return TowerEncoder.in_place_of(backbone, graph, engine)
