"""Prompts packed as prefix trees: a beginning that several prompts share is stored once."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class PromptTrees:
    """Tokens of many prompts, each stored once for all prompts of a tree that are equal up to it.

    In a causal transformer the hidden state of a token does not depend on later tokens. So prompts share the tokens of
    their common beginning, and equal prompts share all. The cost of attention grows with the square of a tree's nodes:
    prompts with little in common belong in separate trees. Smaller trees are padded with nodes that attend to
    themselves only and are not read.
    """

    rows: Tensor  # [tree, node], row of a node in a table of vectors
    places: Tensor  # [tree, node], its position in the prompt, from 0
    sees: Tensor  # [tree, node, node] bool, the attention mask: itself and the nodes before it
    leaves: Tensor  # [tree, leaf], the nodes where prompts end, each once
    leaf_of: Tensor  # [prompt], index of its leaf among all leaves, counted tree by tree

    @classmethod
    def of(
        cls, prompts: Sequence[Sequence[int]], device: torch.device, trees: Sequence[int] | None = None
    ) -> "PromptTrees":
        """Pack prompts, each given as the rows of its tokens' vectors, into one tree, or into the given `trees`.

        The tensors are on the `device`.
        """
        trees = [0] * len(prompts) if trees is None else trees
        nodes: list[dict[tuple[int, int], int]] = [{} for _ in range(max(trees) + 1)]  # by previous node and row
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
        """Concatenate the trees of `parts`; the rows of part i are the next `vectors[i]` rows of one table."""
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

    def unpacked(self, length: int, padding: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return the different prompts one by one, for an encoder that cannot share their beginnings.

        Args:
            length: that all are filled up to.
            padding: the row that fills them up.

        Returns:
            Rows of the vectors of each different prompt [unique, length], their own lengths [unique], and which of
            them each prompt is [prompt].
        """
        used, prompt_of = torch.unique(self.leaf_of, return_inverse=True)
        tree, leaf = used // self.leaves.shape[1], self.leaves.flatten()[used]
        path = self.sees[tree, leaf]  # [unique, node]
        rows = torch.full((len(used), length), padding, dtype=torch.long, device=self.rows.device)
        prompt, node = path.nonzero(as_tuple=True)
        rows[prompt, self.places[tree[prompt], node]] = self.rows[tree[prompt], node]
        return rows, path.sum(1), prompt_of

    def _filled(self, size: int, widest: int) -> "PromptTrees":
        """Pad the trees to `size` nodes and `widest` leaves each."""
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
    """Return the start of each of consecutive runs of these lengths.

    >>> _starts([3, 5, 2])
    [0, 3, 8]
    """
    return [0, *accumulate(counts)][:-1]


def _path(prompt: Sequence[int], nodes: dict[tuple[int, int], int]) -> list[int]:
    """Return the nodes of a prompt's tokens; new ones are added to `nodes`."""
    path: list[int] = []
    for row in prompt:
        before = path[-1] if path else -1
        path.append(nodes.setdefault((before, row), len(nodes)))
    return path
