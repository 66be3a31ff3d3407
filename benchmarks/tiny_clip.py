"""What the tiny CLIP knows of classes, of normal and anomalous parts, of kinds of defects and their places.

python benchmarks/tiny_clip.py [--weights uncued] [--lines 100,101,102] [--json FILE]

All images are of demo lines that it was not trained on. The patch memory on its features is compared with the same
memory on raw pixels and on a tiny CLIP of random weights: what these reach needs no CLIP.
"""

import argparse
import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from demo_bed import EMBEDDED, RANDOM, UNCUED, load_tiny
from open_clip.transformer import VisionTransformer
from PIL import Image
from rich.console import Console
from rich.table import Table
from torch import Tensor

from promptad.backbones.base import ImageEncoder
from promptad.backbones.clip import Backbone
from promptad.backbones.open_clip_vit import open_clip_of
from promptad.backbones.tiny_clip import tiny_config
from promptad.cli.values import numbers
from promptad.data.demo import DEFECT_FOLDERS, DEMO_CLASSES
from promptad.data.demo.writer import GOOD_TEST_IMAGES, IMAGES_A_DEFECT, TRAIN_IMAGES, draw_defective, draw_good
from promptad.data.squares import square_image
from promptad.data.transforms import make_views
from promptad.evaluation.metrics import image_auroc
from promptad.features import ImageFeatures
from promptad.models.multi_prototype.prototypes import Prototypes
from promptad.prompts.encode import encode_texts
from promptad.prompts.states import class_words, state_groups
from promptad.utils.files import whole_file
from promptad.utils.progress import add_task, progress_bar

SUPPORT, VIEWS, SEED = 2, 16, 111
TEMPLATES = ("a photo of a {}.", "a photo of the {}.", "a cropped photo of the {}.", "a close-up photo of a {}.", "{}.")
NORMAL = ("{}", "flawless {}", "perfect {}", "{} without defect")
ABNORMAL = ("damaged {}", "broken {}", "{} with flaw", "{} with defect")  # the plain words of WinCLIP and of PromptAD


@dataclass(frozen=True)
class TestSet:
    """The test images of one class on one line."""

    __test__ = False

    images: list[Image.Image]
    is_bad: np.ndarray  # [N] bool
    kinds: list[str]  # of the anomalous ones, in their order
    masks: np.ndarray  # [N, patch] bool, most of the patch is defective


def main() -> None:
    """Measure, print and, if requested, write."""
    options = _parse()
    console = Console(highlight=False)
    backbone, random_encoder = load_tiny(options.weights), load_tiny(RANDOM).image_encoder
    texts = {name: plain_texts(backbone, name) for name in DEMO_CLASSES}
    figures: dict[str, dict[str, list[float]]] = defaultdict(
        lambda: defaultdict(list)
    )  # figure, class: one value per line
    with progress_bar(console) as progress, torch.inference_mode():
        task = add_task(progress, "measure", len(options.lines) * len(DEMO_CLASSES) * 2)
        for line in options.lines:
            for name in DEMO_CLASSES:
                for difficulty in ("easy", "normal"):
                    for figure, value in measure(backbone, random_encoder, texts, name, line, difficulty):
                        figures[f"{figure}, {difficulty}"][name].append(value)
                    progress.advance(task)
    means = {figure: {name: float(np.mean(values)) for name, values in own.items()} for figure, own in figures.items()}
    geometry = text_geometry(backbone)
    console.print(figures_table(means))
    for figure, value in geometry.items():
        console.print(f"{figure}: {value:.3f}")
    if options.json:
        summary = {figure: float(np.mean(list(own.values()))) for figure, own in means.items()}
        with whole_file(options.json) as temporary:
            temporary.write_text(json.dumps({**summary, **geometry, "classes": means}, indent=2) + "\n")


def measure(
    backbone: Backbone,
    random_encoder: ImageEncoder,
    texts: Mapping[str, Tensor],
    name: str,
    line: int,
    difficulty: str,
) -> Iterator[tuple[str, float]]:
    """Yield every figure of one class on one line, in percent."""
    test = draw_test_set(name, line, difficulty)
    views = [
        view
        for part in range(SUPPORT)
        for view in make_views(_square(Image.fromarray(draw_good(name, line, part))), VIEWS, SEED)
    ]
    support_pixels, pixels = backbone.pixels(views), backbone.pixels(test.images)
    support, features = backbone.image_encoder.encode(support_pixels), backbone.image_encoder.encode(pixels)
    normal, abnormal = texts[name]
    yield "class recognised", 100 * recognised(features.class_token, texts, name)
    in_words = abnormal - normal
    yield "zero-shot image AUROC, class token", _auroc(features.class_token @ in_words, test.is_bad)
    anomaly = features.patch_tokens @ in_words  # [N, patch]
    yield "zero-shot image AUROC, best patch", _auroc(anomaly.amax(1), test.is_bad)
    both = features.class_token @ in_words + anomaly.amax(1)
    yield "zero-shot image AUROC, both", _auroc(both, test.is_bad)
    yield "local path against words, pixel AUROC", _auroc(anomaly.flatten(), test.masks.ravel())
    plain = class_path_patches(backbone, pixels) @ in_words
    yield "class path's patches against words, pixel AUROC", _auroc(plain.flatten(), test.masks.ravel())
    yield "kind named among its class's", 100 * named(backbone, features, test, name)
    memories: dict[str, tuple[Tensor, Tensor]] = {
        "tiny": (support.patch_tokens, features.patch_tokens),
        "random weights": (
            random_encoder.encode(support_pixels).patch_tokens,
            random_encoder.encode(pixels).patch_tokens,
        ),
        "raw pixels": (F.normalize(raw_patches(support_pixels), dim=-1), F.normalize(raw_patches(pixels), dim=-1)),
    }
    for owner, (known, seen) in memories.items():
        yield f"2-shot patch memory image AUROC, {owner}", _auroc(cosine_distance(seen, known), test.is_bad)
    far = euclidean_distance(raw_patches(pixels), raw_patches(support_pixels))
    yield "2-shot patch memory image AUROC, raw pixels, Euclidean", _auroc(far, test.is_bad)


def class_path_patches(backbone: Backbone, pixels: Tensor) -> Tensor:
    """Return the patch tokens [N, patch, D] that CLIP's own path ends with, which no loss of a real CLIP reaches."""
    visual = cast(VisionTransformer, open_clip_of(backbone).visual)
    tokens = visual.transformer(visual._embeds(pixels))[:, 1:]
    return F.normalize(visual.ln_post(tokens) @ visual.proj, dim=-1)


def draw_test_set(name: str, line: int, difficulty: str) -> TestSet:
    """Draw the demo's test images of one class on one line."""
    images = [draw_good(name, line, TRAIN_IMAGES + number) for number in range(GOOD_TEST_IMAGES)]
    good, kinds = len(images), []
    masks = [np.zeros((256, 256), np.uint8)] * good
    for folder, kind in DEFECT_FOLDERS[name].items():
        for number in range(IMAGES_A_DEFECT):
            image, mask = draw_defective(name, line, difficulty, folder, number)
            images.append(image)
            masks.append(mask)
            kinds.append(kind)
    side = tiny_config()["vision_cfg"]["image_size"] // tiny_config()["vision_cfg"]["patch_size"]
    reduced = [np.asarray(Image.fromarray(mask).resize((side, side), Image.Resampling.BOX)) > 127 for mask in masks]
    is_bad = np.arange(len(images)) >= good
    return TestSet([_square(Image.fromarray(p)) for p in images], is_bad, kinds, np.stack(reduced).reshape(-1, side**2))


def plain_texts(backbone: Backbone, name: str) -> Tensor:
    """Return the unit features [2, D] of normal and of anomalous, in plain words."""
    return torch.stack([encode_mean(backbone, words, class_words(name)) for words in (NORMAL, ABNORMAL)])


def encode_mean(backbone: Backbone, phrases: tuple[str, ...], words: str) -> Tensor:
    """Return the unit mean of the features of phrases in all templates."""
    features = encode_texts(backbone, [t.format(phrase.format(words)) for phrase in phrases for t in TEMPLATES])
    return F.normalize(features.mean(0), dim=-1)


def recognised(class_tokens: Tensor, texts: Mapping[str, Tensor], name: str) -> float:
    """Return the share of images whose class is classified correctly, by normal or anomalous words."""
    table = torch.stack([texts[other] for other in DEMO_CLASSES])  # [class, 2, D]
    best = torch.einsum("nd,csd->ncs", class_tokens, table).amax(2).argmax(1)
    return float((best == DEMO_CLASSES.index(name)).float().mean())


def named(backbone: Backbone, features: ImageFeatures, test: TestSet, name: str) -> float:
    """Return the share of anomalous images whose kind is classified correctly among the kinds of their class."""
    kinds = list(dict.fromkeys(DEFECT_FOLDERS[name].values()))
    words = class_words(name)
    texts = torch.stack([encode_mean(backbone, (f"{{}} with {kind}", f"{{}} with a {kind}"), words) for kind in kinds])
    guesses = (features.class_token[torch.from_numpy(test.is_bad)] @ texts.T).argmax(1)
    return float(np.mean([kinds[guess] == kind for guess, kind in zip(guesses.tolist(), test.kinds, strict=True)]))


def raw_patches(pixels: Tensor) -> Tensor:
    """Return the patches [N, patch, numbers of a patch] of normalised pixels."""
    patch = tiny_config()["vision_cfg"]["patch_size"]
    return F.unfold(pixels, patch, stride=patch).transpose(1, 2)


def cosine_distance(seen: Tensor, known: Tensor) -> Tensor:
    """Return for each image [N] the cosine distance of its most unusual patch to the nearest known one."""
    return 1 - (seen @ known.flatten(0, 1).T).amax(2).amin(1)


def euclidean_distance(seen: Tensor, known: Tensor) -> Tensor:
    """Return the same in Euclidean distance."""
    return torch.cdist(seen.flatten(0, 1), known.flatten(0, 1)).amin(1).view(seen.shape[:2]).amax(1)


def text_geometry(backbone: Backbone) -> dict[str, float]:
    """Return how crowded the text space is: mean cosines over the classes, raw and without the mean direction."""
    rows = defaultdict(list)
    for name in DEMO_CLASSES:
        words, groups = class_words(name), state_groups(name, ())
        normal = encode_mean(backbone, ("{}",), words)
        manual = torch.stack([encode_mean(backbone, group.phrases, words) for group in groups])
        prototypes = Prototypes.from_features(normal[None], manual[None])
        rows["text: normal to manual"].append(float((manual @ normal).mean()))
        rows["text: manual to manual"].append(_mean_pair(manual))
        rows["text: manual to manual without the class centre"].append(_mean_pair(prototypes.abnormal))
        words_for_bad = torch.stack([encode_mean(backbone, (phrase,), words) for phrase in ABNORMAL])
        rows["text: generic words to each other"].append(_mean_pair(words_for_bad))
    return {figure: float(np.mean(values)) for figure, values in rows.items()}


def figures_table(means: Mapping[str, Mapping[str, float]]) -> Table:
    """Return the figures, one row each: the mean over the classes, and the weakest class."""
    table = Table(title="Tiny CLIP on demo lines that it never saw, %")
    for title in ("figure", "mean", "weakest class"):
        table.add_column(title, justify="left" if title == "figure" else "right")
    for figure, own in means.items():
        weakest = min(own, key=own.__getitem__)
        table.add_row(figure, f"{np.mean(list(own.values())):.1f}", f"{weakest} {own[weakest]:.1f}")
    return table


def _mean_pair(features: Tensor) -> float:
    cosines = features @ features.T
    return float(cosines[~torch.eye(len(features), dtype=torch.bool)].mean())


def _auroc(scores: Tensor, truth: np.ndarray) -> float:
    return 100 * image_auroc(scores.numpy(), truth)


def _square(image: Image.Image) -> Image.Image:
    side = tiny_config()["vision_cfg"]["image_size"]
    return square_image(image, side, side)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weights", choices=(EMBEDDED, UNCUED), default=EMBEDDED, help="of the tiny CLIP")
    parser.add_argument("--lines", type=numbers, default=(100, 101, 102), help="production lines, by commas")
    parser.add_argument("--json", type=Path, help="file to write the figures to")
    return parser.parse_args()


if __name__ == "__main__":
    main()
