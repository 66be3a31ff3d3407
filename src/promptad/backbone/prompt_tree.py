"""Prompts packed as a tree: what several of them begin with stands there once."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor


@dataclass(frozen=True)
class PromptTree:
    """Tokens of many prompts, each token once for all prompts that are equal up to it.

    A causal transformer gives a token the same hidden state whatever stands behind it. So prompts that begin alike
    share their tokens up to where they part, and prompts that are equal share all.
    """

    rows: Tensor  # [node], which row of a table of vectors stands there
    places: Tensor  # [node], its place in the prompt, from 0
    sees: Tensor  # [node, node] bool: itself and the nodes before it
    leaves: Tensor  # [leaf], the nodes where prompts end, each once
    leaf_of: Tensor  # [prompt], which leaf is its own

    @classmethod
    def of(cls, prompts: Sequence[Sequence[int]], device: torch.device) -> "PromptTree":
        """Pack prompts, each given as the rows of its tokens' vectors."""
        nodes: dict[tuple[int, int], int] = {}  # of the node before (-1 at the start) and the row
        paths = [_path(prompt, nodes) for prompt in prompts]
        sees = torch.zeros(len(nodes), len(nodes), dtype=torch.bool)
        places = torch.zeros(len(nodes), dtype=torch.long)
        for path in paths:
            places[path] = torch.arange(len(path))
            sees[torch.tensor(path)[:, None], torch.tensor(path)] |= torch.ones(len(path), len(path)).tril().bool()
        leaves, leaf_of = torch.unique(torch.tensor([path[-1] for path in paths]), return_inverse=True)
        rows = torch.tensor([row for _, row in nodes])
        return cls(*(part.to(device) for part in (rows, places, sees, leaves, leaf_of)))

    @classmethod
    def joined(cls, trees: Sequence["PromptTree"], vectors: Sequence[int]) -> "PromptTree":
        """Put trees beside each other, each over its own `vectors` rows of one table: no node sees another tree's."""
        tables = _starts(vectors)
        nodes, leaves = _starts([len(tree.rows) for tree in trees]), _starts([len(tree.leaves) for tree in trees])
        return cls(
            torch.cat([tree.rows + start for tree, start in zip(trees, tables, strict=True)]),
            torch.cat([tree.places for tree in trees]),
            torch.block_diag(*(tree.sees for tree in trees)),  # type: ignore[no-untyped-call]
            torch.cat([tree.leaves + start for tree, start in zip(trees, nodes, strict=True)]),
            torch.cat([tree.leaf_of + start for tree, start in zip(trees, leaves, strict=True)]),
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
