"""The parts of a backbone: an image encoder and a text encoder into one shared space."""

from typing import Protocol

from torch import Tensor

from promptad.backbones.prompt_trees import PromptTrees
from promptad.features import ImageFeatures


class ImageEncoder(Protocol):
    """A frozen encoder of images."""

    image_size: int  # pixels a side
    width: int  # of the intermediate features
    dimensions: int  # D, of class token and patch tokens
    layer_indices: tuple[int, ...]  # the blocks that the intermediate features come from
    engine: str  # that computes: "torch", or another one and its version

    def encode(self, pixels: Tensor, layers: bool = False, local: bool = True) -> ImageFeatures:
        """Encode normalised pixels [N, 3, S, S] into unit class tokens [N, D] and patch tokens [N, side², D].

        With `layers`, the intermediate features for a memory bank are returned too: unit [N, side², width], one for
        each of `layer_indices`. Without `local`, patch tokens may be left out: [N, 0, D].
        """


class PatchEncoder(Protocol):
    """A frozen encoder of images into patch features alone, which a memory bank is made of."""

    image_size: int  # pixels a side
    interpolation: str  # that an image is resized by, one of `INTERPOLATIONS`
    layer_indices: tuple[int, ...]  # the blocks that the features come from
    mean: Tensor  # [3, 1, 1], of pixels in [0, 1]
    std: Tensor  # [3, 1, 1]
    weights_sha256: str  # of the weights, as loaded
    engine: str  # that computes, as of an `ImageEncoder`

    @property
    def width(self) -> int:
        """The width of the features."""

    def encode(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """Encode normalised pixels [N, 3, S, S] into unit features [N, side², width], of each of `layer_indices`."""


class Tokenizer(Protocol):
    """The tokenizer of a text encoder."""

    @property
    def start(self) -> tuple[int, ...]:
        """The tokens that start a prompt."""

    @property
    def end(self) -> tuple[int, ...]:
        """The tokens that end a prompt."""

    @property
    def padding(self) -> int:
        """The token that fills a prompt up, for text encoders that read it."""

    def encode(self, text: str, first: bool = True) -> list[int]:
        """Return the tokens of a text, without start and end; `first` says whether it begins a prompt."""


class TextEncoder(Protocol):
    """A frozen encoder of prompts; gradients flow through it to learned vectors.

    Prompts come packed in trees, whose shared beginnings a causal encoder computes once. One that is not causal unpacks
    them (`PromptTrees.unpacked`) and reads whole prompts.
    """

    width: int  # of the vectors in a prompt
    context_length: int  # tokens that a prompt may have

    def embed(self, tokens: Tensor) -> Tensor:
        """Look up the embeddings [..., width] of `tokens` [...], which are their numbers."""

    def encode(self, vectors: Tensor, trees: PromptTrees) -> Tensor:
        """Encode prompts, trees of rows of `vectors` [row, width], into unit text features [prompt, D]."""

    def encode_raw(self, vectors: Tensor, trees: PromptTrees) -> Tensor:
        """Encode prompts as `encode` does of `vectors` and `trees`, into features of any length."""
