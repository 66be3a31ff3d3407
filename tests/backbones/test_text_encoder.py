"""The text encoder against open_clip's own forward over all 77 tokens, prompt by prompt."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from helpers import reference_text_feature
from open_clip.model import CLIP
from open_clip.tokenizer import SimpleTokenizer
from torch import Tensor

from promptad.backbones.clip import Backbone
from promptad.backbones.frozen_clip import make_backbone
from promptad.backbones.open_clip_vit import open_clip_of
from promptad.backbones.prompt_trees import PromptTrees
from promptad.prompts.encode import encode_texts
from promptad.prompts.prompt_learner import PromptLearner
from promptad.settings import BackboneSettings

CPU = torch.device("cpu")
TEXTS = [
    *("a photo of a carpet.", "a close-up photo of the damaged metal nut, seen from above.", "zipper"),
    *("a photo of a carpet.", "a photo of a", "a photo of a carpet with hole."),
]
SMALL: dict[str, Any] = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "patch_size": 16, "width": 64, "layers": 1},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 3},
}


@pytest.fixture(scope="module")
def small() -> Backbone:
    """A CLIP of random weights, larger than open_clip's initial ones, so that every token has an effect."""
    torch.manual_seed(0)
    clip = CLIP(**SMALL)
    with torch.no_grad():
        for name, weight in clip.transformer.named_parameters():
            if weight.ndim > 1 and "ln" not in name:
                weight.mul_(2)
        clip.token_embedding.weight.mul_(10)
    return make_backbone(clip, BackboneSettings(name="small", pretrained="small"), CPU)


def visible_nodes(trees: PromptTrees) -> list[list[list[int]]]:
    """The nodes that each node of each tree attends to."""
    return [[[node for node, sees in enumerate(row) if sees] for row in tree] for tree in trees.sees.tolist()]


def test_a_tree_holds_a_shared_beginning_once() -> None:
    trees = PromptTrees.of([[7, 8, 9], [7, 8, 5, 9], [7, 9], [7, 8, 9]], CPU)
    assert trees.rows.tolist() == [[7, 8, 9, 5, 9, 9]]
    assert trees.places.tolist() == [[0, 1, 2, 2, 3, 1]]
    assert trees.leaves.flatten()[trees.leaf_of].tolist() == [2, 4, 5, 2]
    assert visible_nodes(trees) == [[[0], [0, 1], [0, 1, 2], [0, 1, 3], [0, 1, 3, 4], [0, 5]]]


def test_trees_are_padded_with_nodes_that_are_not_read() -> None:
    trees = PromptTrees.of([[7, 8, 9], [7, 9], [7, 9, 9]], CPU, [0, 1, 1])
    assert trees.rows.tolist() == [[7, 8, 9], [7, 9, 9]]
    assert trees.leaves.tolist() == [[2, 0], [1, 2]]
    assert trees.leaf_of.tolist() == [0, 2, 3]
    both = PromptTrees.joined([trees, PromptTrees.of([[0, 1, 2, 3], [0, 2], [0, 3]], CPU)], [10, 4])
    assert both.rows.tolist() == [[7, 8, 9, 0, 0, 0], [7, 9, 9, 0, 0, 0], [10, 11, 12, 13, 12, 13]]
    assert both.leaves.tolist() == [[2, 0, 0], [1, 2, 0], [3, 4, 5]]
    assert both.leaf_of.tolist() == [0, 3, 4, 6, 7, 8]
    assert visible_nodes(both)[0] == [[0], [0, 1], [0, 1, 2], [3], [4], [5]]
    assert visible_nodes(both)[2] == [[0], [0, 1], [0, 1, 2], [0, 1, 2, 3], [0, 4], [0, 5]]


def test_a_prompt_may_end_where_another_goes_on(small: Backbone) -> None:
    vectors = torch.randn(4, 32, generator=torch.Generator().manual_seed(0))
    found = small.text_encoder.encode_raw(vectors, PromptTrees.of([[0, 1], [0, 1, 2, 3]], CPU))
    for feature, length in zip(found, (2, 4), strict=True):
        expected = reference_text_feature(small, vectors[:length])
        torch.testing.assert_close(feature, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("backbone", ["tiny", "small"])
def test_text_features_equal_those_of_all_77_tokens(backbone: str, request: pytest.FixtureRequest) -> None:
    loaded: Backbone = request.getfixturevalue(backbone)
    tokens = SimpleTokenizer()(TEXTS)  # [prompt, 77]
    with torch.no_grad():
        expected = open_clip_of(loaded).encode_text(tokens, normalize=True)
    found = encode_texts(loaded, TEXTS)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    assert (found[0] - found[5]).abs().max() > 1e-3


def test_many_texts_are_encoded_in_parts(small: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    together = encode_texts(small, TEXTS)
    monkeypatch.setattr("promptad.prompts.encode.SENTENCES_PER_TREE", 2)
    torch.testing.assert_close(encode_texts(small, TEXTS), together, rtol=0, atol=1e-5)


@pytest.mark.parametrize("normal_count", [1, 2, 3])
@pytest.mark.parametrize("abnormal_count", [1, 4, 6])
@pytest.mark.parametrize(
    ("length", "abnormal_length", "words"), [(4, 1, "metal nut"), (1, 2, "pill"), (16, 3, "a printed circuit board")]
)
def test_features_and_gradients_of_a_prompt_learner_equal_those_over_all_77_tokens(
    small: Backbone, normal_count: int, abnormal_count: int, length: int, abnormal_length: int, words: str
) -> None:
    generator = torch.Generator().manual_seed(1)
    starts = [
        0.3 * torch.randn(*shape, 32, generator=generator)
        for shape in ((normal_count, length), (abnormal_count, abnormal_length))
    ]
    learner = PromptLearner(small, words, starts[0].clone(), starts[1].clone())
    normal, abnormal = learner()
    directions = [torch.randn(features.shape, generator=generator) for features in (normal, abnormal)]
    (normal * directions[0]).sum().add((abnormal * directions[1]).sum()).backward()

    reference_normal, reference_abnormal = (start.clone().requires_grad_() for start in starts)
    frame = small.text_encoder.embed(torch.tensor(small.prompt_ids(f"{words}.")))

    def reference(*context: Tensor) -> Tensor:
        return F.normalize(reference_text_feature(small, torch.cat([frame[:1], *context, frame[1:]])), dim=0)

    loss = torch.zeros(())
    for i in range(normal_count):
        feature = reference(reference_normal[i])
        torch.testing.assert_close(normal[i], feature, rtol=0, atol=1e-5)
        loss = loss + feature @ directions[0][i]
        for j in range(abnormal_count):
            feature = reference(reference_normal[i], reference_abnormal[j])
            torch.testing.assert_close(abnormal[i, j], feature, rtol=0, atol=1e-5)
            loss = loss + feature @ directions[1][i, j]
    loss.backward()  # type: ignore[no-untyped-call]
    for found, expected in ((learner.normal_context, reference_normal), (learner.abnormal_context, reference_abnormal)):
        assert found.grad is not None
        assert expected.grad is not None
        scale = float(expected.grad.abs().max())
        assert scale > 1e-3
        torch.testing.assert_close(found.grad, expected.grad, rtol=0, atol=1e-5 * max(scale, 1))
