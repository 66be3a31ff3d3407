"""Prompts packed as trees: what several of them begin with stands there once."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class PromptTrees:
    """Tokens of many prompts, each token once for all prompts of a tree that are equal up to it.

    A causal transformer gives a token the same hidden state whatever stands behind it. So prompts that begin alike
    share their tokens up to where they part, and prompts that are equal share all. The cost of attention grows with
    the square of a tree's nodes: prompts that share next to nothing belong into trees of their own. Smaller trees are
    filled up with nodes that see themselves alone and that nobody reads.
    """

    rows: Tensor  # [tree, node], which row of a table of vectors stands there
    places: Tensor  # [tree, node], its place in the prompt, from 0
    sees: Tensor  # [tree, node, node] bool: itself and the nodes before it
    leaves: Tensor  # [tree, leaf], the nodes where prompts end, each once
    leaf_of: Tensor  # [prompt], which of all leaves is its own, counted tree by tree

    @classmethod
    def of(
        cls, prompts: Sequence[Sequence[int]], device: torch.device, trees: Sequence[int] | None = None
    ) -> "PromptTrees":
        """Pack prompts, each given as the rows of its tokens' vectors, into one tree or those that are named."""
        trees = [0] * len(prompts) if trees is None else trees
        nodes: list[dict[tuple[int, int], int]] = [{} for _ in range(max(trees) + 1)]  # of the node before, and the row
        paths = [_path(prompt, nodes[tree]) for prompt, tree in zip(prompts, trees, strict=True)]
        count, size = len(nodes), max(map(len, nodes))
        rows, places = torch.zeros(2, count, size, dtype=torch.long)
        sees = torch.eye(size, dtype=torch.bool).repeat(count, 1, 1)
        for tree, own in enumerate(nodes):
            rows[tree, : len(own)] = torch.tensor([row for _, row in own])
        for tree, path in zip(trees, paths, strict=True):
            places[tree, path] = torch.arange(len(path))
            sees[tree, torch.tensor(path)[:, None], torch.tensor(path)] |= (
                torch.ones(len(path), len(path)).tril().bool()
            )
        ends = [
            sorted({path[-1] for path, of in zip(paths, trees, strict=True) if of == tree}) for tree in range(count)
        ]
        widest = max(map(len, ends))
        leaves = torch.tensor([own + [0] * (widest - len(own)) for own in ends])
        leaf_of = [tree * widest + ends[tree].index(path[-1]) for tree, path in zip(trees, paths, strict=True)]
        return cls(*(part.to(device) for part in (rows, places, sees, leaves, torch.tensor(leaf_of))))

    @classmethod
    def joined(cls, parts: Sequence["PromptTrees"], vectors: Sequence[int]) -> "PromptTrees":
        """Put trees beside each other, each part's over its own `vectors` rows of one table."""
        size, widest = max(part.rows.shape[1] for part in parts), max(part.leaves.shape[1] for part in parts)
        trees, starts = _starts([len(part.rows) for part in parts]), _starts(vectors)
        filled = [part._filled(size, widest) for part in parts]
        return cls(
            torch.cat([part.rows + start for part, start in zip(filled, starts, strict=True)]),
            torch.cat([part.places for part in filled]),
            torch.cat([part.sees for part in filled]),
            torch.cat([part.leaves for part in filled]),
            torch.cat([part.leaf_of + first * widest for part, first in zip(filled, trees, strict=True)]),
        )

    def _filled(self, size: int, widest: int) -> "PromptTrees":
        """Fill the trees up to `size` nodes and `widest` leaves each."""
        more, leaves = size - self.rows.shape[1], self.leaves.shape[1]
        alone = torch.eye(size, dtype=torch.bool, device=self.sees.device)
        return PromptTrees(
            F.pad(self.rows, (0, more)),
            F.pad(self.places, (0, more)),
            F.pad(self.sees, (0, more, 0, more)) | alone,
            F.pad(self.leaves, (0, widest - leaves)),
            self.leaf_of // leaves * widest + self.leaf_of % leaves,
        )


def _starts(counts: Sequence[int]) -> list[int]:
    """Return where each of some runs of these lengths starts.

    >>> _starts([3, 5, 2])
    [0, 3, 8]
    """
    return [0, *accumulate(counts)][:-1]


def _path(prompt: Sequence[int], nodes: dict[tuple[int, int], int]) -> list[int]:
    """Return the nodes of a prompt's tokens, added to `nodes` where they are new."""
    path: list[int] = []
    for row in prompt:
        before = path[-1] if path else -1
        path.append(nodes.setdefault((before, row), len(nodes)))
    return path
