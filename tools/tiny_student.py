"""The tiny CLIP in training: its encoders as the package runs them, and its word embeddings."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from functools import cache
from pathlib import Path

import torch
from open_clip.tokenizer import SimpleTokenizer
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from promptad.backbones.frozen_clip import blocks_at
from promptad.backbones.image_encoder import ViTImageEncoder
from promptad.backbones.plain_clip import PlainClip
from promptad.backbones.prompt_trees import PromptTrees
from promptad.backbones.text_encoder import CausalTextEncoder
from promptad.features import ImageFeatures
from promptad.prompts.encode import SENTENCES_PER_TREE
from promptad.settings import BackboneSettings
from promptad.utils.files import whole_file

HOT = 4.6052  # largest logarithm of the temperature
FEW = 100  # tokens, up to which plain attention is faster to train in half precision


class Words(nn.Module):
    """The trained rows of the token table; all other tokens share the mean of them."""

    ids: Tensor  # [row], tokens

    def __init__(self, clip: PlainClip, tokenizer: SimpleTokenizer, texts: Iterable[str]) -> None:
        super().__init__()
        ids = sorted({token for text in texts for token in _prompt_ids(tokenizer, text)})
        self.register_buffer("ids", torch.tensor(ids))
        self.row_of = {token: row for row, token in enumerate(ids)}
        table = clip.token_embedding.weight.detach()
        spread = torch.randn(len(ids), table.shape[1]) * table[ids].std() * 0.3  # new words must not be equal
        counts = torch.tensor([float((table == row).all(1).sum() > 1) for row in table[ids]])[:, None]
        self.rows = nn.Parameter(table[ids] + spread * counts)


class Student(nn.Module):
    """A CLIP in training: its encoders as the package runs them, and its word embeddings."""

    def __init__(self, clip: PlainClip, precision: torch.dtype, texts: Iterable[str]) -> None:
        """Train the word embeddings of all words in `texts`."""
        super().__init__()
        self.clip, self.tokenizer, self.precision = clip, SimpleTokenizer(), precision
        self.words = Words(clip, self.tokenizer, texts)
        clip.token_embedding.requires_grad_(requires_grad=False)
        depths = BackboneSettings().memory_layers
        self.images, self.texts = (
            ViTImageEncoder(clip.visual, blocks_at(depths, clip.visual.transformer.resblocks)),
            CausalTextEncoder(clip),
        )
        self.nearness = nn.Parameter(torch.tensor([[20.0, 0.8]]).repeat(3, 1))  # [layer, steepness and middle]

    def encode_texts(self, texts: list[str]) -> Tensor:
        """Encode captions into unit features [text, D]."""
        vectors = self.words.rows
        prompts = [[self.words.row_of[token] for token in _prompt_ids(self.tokenizer, text)] for text in texts]
        parts = [prompts[start : start + SENTENCES_PER_TREE] for start in range(0, len(prompts), SENTENCES_PER_TREE)]
        with self._encoders(SENTENCES_PER_TREE):
            features = [self.texts.encode(vectors, PromptTrees.of(part, vectors.device)) for part in parts]
        return torch.cat(features).float()

    def encode_images(self, tokens: Tensor) -> ImageFeatures:
        """Encode embeddings [image, 1 + patch, width] as the package does, with layers."""
        with self._encoders(tokens.shape[1]):
            return self.images.run_blocks(tokens, layers=True).map(Tensor.float)

    def encode_class_tokens(self, tokens: Tensor) -> Tensor:
        """Encode embeddings [image, 1 + patch, width] into unit class tokens [image, D]."""
        with self._encoders(tokens.shape[1]):
            return self.images.run_blocks(tokens, local=False).class_token.float()

    @contextmanager
    def _encoders(self, length: int) -> Iterator[None]:
        """Run the body in the student's precision, with the attention that is fastest for this number of tokens."""
        halved = self.precision != torch.float32
        plain = sdpa_kernel(SDPBackend.MATH) if halved and length <= FEW else nullcontext()
        with torch.autocast("cpu", self.precision, enabled=halved), plain:
            yield

    def scale(self) -> Tensor:
        """The factor of the cosines."""
        return self.clip.logit_scale.clamp(max=HOT).exp()


def write_weights(student: Student, file: Path) -> None:
    """Write the weights in float16; of the token table only the trained rows, and one row for all others."""
    state = {k: v.detach() for k, v in student.clip.state_dict().items() if not k.startswith("token_embedding.")}
    rows = student.words.rows.detach()
    packed = {name: value.half() for name, value in state.items() if name != "attn_mask"} | {
        "token_embedding.ids": student.words.ids.int(),
        "token_embedding.rows": rows.half(),
        "token_embedding.other_row": rows.mean(0).half(),
    }
    with whole_file(file) as temporary:
        save_file({name: value.contiguous() for name, value in packed.items()}, temporary)


@cache
def _prompt_ids(tokenizer: SimpleTokenizer, text: str) -> tuple[int, ...]:
    return (tokenizer.sot_token_id, *tokenizer.encode(text), tokenizer.eot_token_id)  # type: ignore[no-untyped-call]
