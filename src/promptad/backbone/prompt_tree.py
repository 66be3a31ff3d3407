"""Prompts packed as a tree: what several of them begin with stands there once."""

from collections.abc import Sequence
from dataclasses import dataclass

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


def _path(prompt: Sequence[int], nodes: dict[tuple[int, int], int]) -> list[int]:
    """Return the nodes of a prompt's tokens, added to `nodes` where they are new."""
    path: list[int] = []
    for row in prompt:
        before = path[-1] if path else -1
        path.append(nodes.setdefault((before, row), len(nodes)))
    return path
