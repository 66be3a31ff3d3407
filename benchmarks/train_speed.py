"""How much faster training is than the original PromptAD's own loop, on one machine and in one process.

python benchmarks/train_speed.py [--json FILE]

A carpet class as MVTec AD's: 2 support images and 117 test images of 1024 pixels, drawn; ViT-B-16-plus-240 with
random weights, 3 normal and 6 abnormal contexts, 100 epochs. Timed, one after the other:

- original PromptAD: its loop as it is. Every epoch reads and encodes all images again, runs every prompt over 77
  tokens, and measures on the test images. Two epochs are measured and scaled to 100.
- baseline: our single-anchor system as a whole: reading, encoding, 100 epochs, measuring, writing.
- multi: our multi-prototype system, likewise.
"""

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import cast

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from open_clip.factory import get_model_config
from open_clip.model import CLIP
from open_clip.transformer import ResidualAttentionBlock, VisionTransformer
from rich.console import Console
from torch import Tensor, nn

from promptad.backbones.clip import Backbone
from promptad.backbones.frozen_clip import make_backbone
from promptad.backbones.open_clip_vit import open_clip_of
from promptad.data.datasets import read_class
from promptad.data.demo import DEFECT_FOLDERS
from promptad.data.demo.canvas import Mask, RGBImage
from promptad.data.demo.writer import draw_defective, draw_good, write_png
from promptad.data.few_shot import choose_support
from promptad.data.images import read_image
from promptad.engine.context import Job, RunContext
from promptad.engine.runs import train_class
from promptad.evaluation.metrics import image_auroc
from promptad.features import ImageFeatures
from promptad.models.distances import distances_to
from promptad.models.single_anchor.prompts import PromptTokens, TextFeatures, average_anchors, prompt_tokens
from promptad.models.single_anchor.scoring import score_features
from promptad.models.single_anchor.trainer import compute_losses
from promptad.prompts.prompt_learner import initial_contexts
from promptad.prompts.states import class_words, state_groups
from promptad.results.paths import ResultFolder
from promptad.settings import MULTI_PROTOTYPE, SINGLE_ANCHOR, BackboneSettings, Settings, default_settings
from promptad.structures import ClassDataset
from promptad.utils.files import whole_file
from promptad.utils.progress import add_task, progress_bar

ARCHITECTURE, CLASS, SIDE, K = "ViT-B-16-plus-240", "carpet", 1024, 2
GOOD, DEFECTIVE = 28, 89  # test images, as many as MVTec AD has of carpet
MEASURED_EPOCHS, BATCH = 2, 32


def main() -> None:
    """Time all three; print and, if requested, write."""
    options = _parse()
    console = Console(highlight=False)
    backbone = random_backbone(options.architecture)
    with TemporaryDirectory() as temporary:
        images = draw_images(Path(temporary), options.test_pictures, console)
        upstream = time_upstream(backbone, images, options.epochs, console)
        ours = {}
        for system in (SINGLE_ANCHOR, MULTI_PROTOTYPE):
            started = time.monotonic()
            train_ours(backbone, images, system, options.epochs, Path(temporary), console)
            ours[system] = time.monotonic() - started
    baseline, multi = ours[SINGLE_ANCHOR], ours[MULTI_PROTOTYPE]
    figures = {
        "ancestor_s": upstream,
        "baseline_s": baseline,
        "multi_s": multi,
        "baseline_ratio": upstream / baseline,
        "multi_ratio": upstream / multi,
    }
    console.print(f"ancestor {upstream:.0f} s ({MEASURED_EPOCHS} of {options.epochs} epochs measured, and scaled)")
    console.print(f"baseline {baseline:.1f} s: {figures['baseline_ratio']:.1f} times as fast")
    console.print(f"multi    {multi:.1f} s: {figures['multi_ratio']:.1f} times as fast")
    if options.json:
        with whole_file(options.json) as temporary_file:
            temporary_file.write_text(json.dumps(figures, indent=2) + "\n")


def random_backbone(
    architecture: str, image_size: int | None = None, device: torch.device | None = None, precision: str = "float32"
) -> Backbone:
    """Build an architecture of open_clip with random weights, for images of its own size or another one.

    It is on the CPU unless a device is given.
    """
    config = get_model_config(architecture)  # type: ignore[no-untyped-call]
    if image_size is not None:
        config["vision_cfg"]["image_size"] = image_size
    torch.manual_seed(0)
    clip = CLIP(**{part: config[part] for part in ("embed_dim", "vision_cfg", "text_cfg")})
    settings = BackboneSettings(name=architecture, pretrained="random", precision=precision)
    return make_backbone(clip, settings, device or torch.device("cpu"))


def draw_images(folder: Path, test_images: int, console: Console) -> ClassDataset:
    """Draw the class into a folder in MVTec AD's layout, enlarged to SIDE pixels."""
    good = round(test_images * GOOD / (GOOD + DEFECTIVE))
    kinds = list(DEFECT_FOLDERS[CLASS])
    with progress_bar(console) as progress:
        task = add_task(progress, "draw pictures", K + test_images)
        for number in range(K + good):
            part = f"train/good/{number:03}.png" if number < K else f"test/good/{number:03}.png"
            write_png(folder / CLASS / part, _enlarged(draw_good(CLASS, 0, number)))
            progress.advance(task)
        for number in range(test_images - good):
            kind, name = kinds[number % len(kinds)], f"{number:03}"
            image, mask = draw_defective(CLASS, 0, "normal", kind, number // len(kinds))
            write_png(folder / CLASS / "test" / kind / f"{name}.png", _enlarged(image))
            write_png(folder / CLASS / "ground_truth" / kind / f"{name}_mask.png", _enlarged(mask))
            progress.advance(task)
    return read_class("mvtec", folder, CLASS)


def train_ours(
    backbone: Backbone, images: ClassDataset, system: str, epochs: int, folder: Path, console: Console
) -> None:
    """Train and measure one of our systems as `promptad train` does, without its log."""
    settings = settings_of(backbone, system, epochs)
    results = ResultFolder(folder / "result", "mvtec", K, settings.training.seed, system)
    quiet = Console(quiet=True) if not console.is_terminal else console
    support = choose_support(images.normal, K, settings.training.seed)
    context = RunContext(backbone, quiet, BATCH, save_diagnostics=False)
    train_class(Job(images, settings, support, results), context)


def settings_of(backbone: Backbone, system: str, epochs: int) -> Settings:
    """Return a system's default settings, with this backbone and number of epochs."""
    plain = default_settings(system).to_dict()
    plain["backbone"] = vars(backbone.settings)
    plain["training"]["epochs"] = epochs
    return Settings.from_dict(plain)


# The original PromptAD: it caches nothing between epochs, shares nothing between prompts, and skips no computation.


def time_upstream(backbone: Backbone, images: ClassDataset, epochs: int, console: Console) -> float:
    """Return the seconds that the original PromptAD's loop takes for all epochs, measured on the first few."""
    settings = settings_of(backbone, SINGLE_ANCHOR, epochs)
    support = choose_support(images.normal, K, settings.training.seed)
    original = OriginalLoop(backbone, settings)
    started = time.monotonic()
    bank = original.encode(support).layers
    once = time.monotonic() - started
    with progress_bar(console) as progress:
        task = add_task(progress, "the ancestor's loop", MEASURED_EPOCHS)
        started = time.monotonic()
        for _ in range(MEASURED_EPOCHS):
            original.epoch(support, images, bank)
            progress.advance(task)
    return once + (time.monotonic() - started) / MEASURED_EPOCHS * epochs


class OriginalLoop:
    """The original PromptAD's training of one class."""

    def __init__(self, backbone: Backbone, settings: Settings) -> None:
        words, groups = class_words(CLASS), state_groups(CLASS)
        self.backbone, self.settings = backbone, settings
        starts = initial_contexts(backbone, groups, settings.prompts, settings.training.seed)
        self.prompts = WholePrompts(backbone, prompt_tokens(backbone, words, groups, settings.prompts), *starts)
        training = settings.training
        self.optimizer = torch.optim.SGD(
            self.prompts.parameters(), training.lr, training.momentum, weight_decay=training.weight_decay
        )
        self.schedule = torch.optim.lr_scheduler.CosineAnnealingLR(
            self.optimizer, training.epochs, settings.single_anchor.eta_min
        )

    def epoch(self, support: Sequence[Path], images: ClassDataset, bank: tuple[Tensor, ...]) -> float:
        """Train one epoch on the support images, then return the image AUROC on the test images."""
        features, temperature = self.encode(support), self.backbone.log_temperature
        text = self.prompts()
        self.optimizer.zero_grad()
        losses = compute_losses(text, features.class_token, temperature, self.settings.single_anchor.lambda1)
        losses.total.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        self.schedule.step()
        with torch.no_grad():
            return self._measure(images, average_anchors(self.prompts()), bank)

    @torch.no_grad()
    def encode(self, files: Sequence[Path]) -> ImageFeatures:
        """Read and encode images, with both paths through all blocks."""
        pixels = self.backbone.pixels([read_image(file) for file in files])
        return encode_whole(open_clip_of(self.backbone).visual, pixels, self.backbone.image_encoder.layer_indices)

    def _measure(self, images: ClassDataset, anchors: Tensor, bank: tuple[Tensor, ...]) -> float:
        resolution, scores = self.settings.scoring.resolution, []
        for start in range(0, len(images.test), BATCH):
            seen = self.encode([image.path for image in images.test[start : start + BATCH]])
            pairs = zip(bank, seen.layers, strict=True)
            first, second = (distances_to(rows.flatten(0, 1), own, ("nearest",))[0] for rows, own in pairs)
            asked = ImageFeatures(seen.class_token, seen.patch_tokens, distances=(first + second) / 2)
            scores.append(score_features(asked, anchors, self.backbone.log_temperature, resolution).image)
        return image_auroc(torch.cat(scores).numpy(), np.array([image.is_anomalous for image in images.test]))


class WholePrompts(nn.Module):
    """The original PromptAD's prompts, each over all of CLIP's 77 tokens by open_clip's own transformer."""

    def __init__(
        self, backbone: Backbone, tokens: PromptTokens, normal_context: Tensor, abnormal_context: Tensor
    ) -> None:
        super().__init__()
        self.clip, self.text_encoder = open_clip_of(backbone), backbone.text_encoder
        self.normal_context, self.abnormal_context = nn.Parameter(normal_context), nn.Parameter(abnormal_context)
        kinds = (tokens.normal, tokens.manual, tokens.learned)
        self.counts = [len(kind) for kind in kinds]
        self.tokens = F.pad(torch.cat(kinds), (0, self.text_encoder.context_length - kinds[0].shape[1]))  # [prompt, 77]

    def forward(self) -> TextFeatures:
        """Encode every prompt with the current context vectors."""
        embedded = self.text_encoder.embed(self.tokens)
        opening, behind = (
            1 + self.normal_context.shape[1],
            1 + self.normal_context.shape[1] + self.abnormal_context.shape[1],
        )
        rows = []
        for number, row in enumerate(embedded):
            own, index = _kind_and_place(number, self.counts)
            state = self.abnormal_context[index % len(self.abnormal_context)]
            middle = (state, row[behind:]) if own == 2 else (row[opening:],)
            rows.append(torch.cat([row[:1], self.normal_context[index % len(self.normal_context)], *middle]))
        hidden = torch.stack(rows) + self.clip.positional_embedding
        hidden = self.clip.ln_final(self.clip.transformer(hidden, attn_mask=self.clip.attn_mask))
        features = hidden[torch.arange(len(rows)), self.tokens.argmax(1)] @ self.clip.text_projection
        return TextFeatures(*torch.split(features, self.counts))


def encode_whole(visual: VisionTransformer, pixels: Tensor, indices: tuple[int, ...]) -> ImageFeatures:
    """Run both paths through every block to the end, attention written out."""
    tokens = visual._embeds(pixels)
    local, layers = tokens, []
    for number, block in enumerate(cast(list[ResidualAttentionBlock], list(visual.transformer.resblocks))):
        query, key, value = _projected(block, tokens)
        local = local + block.attn.out_proj(_mixed(value, value, value))
        tokens = tokens + block.attn.out_proj(_mixed(query, key, value))
        if number in indices:
            layers.append(F.normalize(tokens[:, 1:], dim=-1))
        tokens = tokens + block.mlp(block.ln_2(tokens))
    both = [F.normalize(visual.ln_post(part) @ visual.proj, dim=-1) for part in (tokens, local)]
    return ImageFeatures(both[0][:, 0], both[1][:, 1:], (layers[0], layers[1]))


def _projected(block: ResidualAttentionBlock, tokens: Tensor) -> Tensor:
    attention, (images, count, width) = block.attn, tokens.shape
    joint = F.linear(block.ln_1(tokens), attention.in_proj_weight, attention.in_proj_bias)
    return joint.view(images, count, 3, attention.num_heads, width // attention.num_heads).permute(2, 0, 3, 1, 4)


def _mixed(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    weights = (query @ key.transpose(-2, -1) * query.shape[-1] ** -0.5).softmax(-1)
    mixed: Tensor = weights @ value
    return mixed.transpose(1, 2).flatten(2)


def _kind_and_place(number: int, counts: Sequence[int]) -> tuple[int, int]:
    """Return the kind of prompt that number `number` is, and its place among them."""
    for kind, count in enumerate(counts):
        if number < count:
            return kind, number
        number -= count
    raise AssertionError(number)


def _enlarged(pixels: RGBImage | Mask) -> RGBImage:
    way = cv2.INTER_NEAREST if pixels.ndim == 2 else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(pixels, (SIDE, SIDE), interpolation=way), np.uint8)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--architecture", default=ARCHITECTURE, help="of open_clip, with random weights")
    parser.add_argument("--test-pictures", type=int, default=GOOD + DEFECTIVE)
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--json", type=Path, help="file to write the figures to")
    return parser.parse_args()


if __name__ == "__main__":
    main()
