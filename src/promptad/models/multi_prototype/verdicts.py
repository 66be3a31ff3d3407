"""Verdicts: what people said of pictures, and all that a taught detector keeps of them, so that they can be undone."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from promptad.errors import InputError
from promptad.features import ImageFeatures
from promptad.models.multi_prototype.head import PrototypeHead
from promptad.models.multi_prototype.normal_scores import NormalScoreDistribution
from promptad.structures import DEFECTIVE, GOOD

SHOWN = 5  # verdicts that are named where one is not found
EVERY = "all"  # in the place of a name
SHORT = 8  # letters of a hash that are shown; so many name a verdict


@dataclass(frozen=True)
class Verdict:
    """What was said of one picture."""

    name: str  # of its file, or "image 1"; empty where names are private
    sha256: str  # of its content
    time: str  # when, in UTC, as ISO 8601 writes it
    is_good: bool  # else it is defective

    @property
    def label(self) -> str:
        """The verdict in a word."""
        return GOOD if self.is_good else DEFECTIVE

    @property
    def called(self) -> str:
        """Its name, or the beginning of its hash where the name is private."""
        return self.name or self.sha256[:SHORT]


@dataclass(frozen=True, eq=False)
class Taught:
    """What a detector was taught, and what it was before."""

    verdicts: tuple[Verdict, ...]
    features: ImageFeatures  # of their pictures, or of the tiles of these in turn
    head: PrototypeHead  # untaught
    normal_scores: NormalScoreDistribution  # untaught

    @property
    def defects(self) -> tuple[str, ...]:
        """The names of the defective pictures, in their order."""
        return tuple(verdict.name for verdict in self.verdicts if not verdict.is_good)

    @property
    def is_good(self) -> Tensor:
        """Which of the pictures are good [N] bool."""
        goods = [verdict.is_good for verdict in self.verdicts]
        return torch.tensor(goods, device=self.features.class_token.device)

    @property
    def tiles(self) -> int:
        """How many tiles each picture has."""
        return len(self.features.class_token) // len(self.verdicts)

    def features_of(self, chosen: Tensor) -> ImageFeatures:
        """Return the features of some of the pictures, which are chosen by [N] bool."""
        return self.features.rows(chosen.repeat_interleave(self.tiles))


def named_verdicts(verdicts: Sequence[Verdict], names: Sequence[str]) -> set[Verdict]:
    """Return the verdicts that are named by their files or by how their hashes begin; "all" names all.

    Raises:
        InputError: a name is of none, or of several.
    """
    if tuple(names) == (EVERY,):
        return set(verdicts)
    found = set()
    for name in names:
        own = [one for one in verdicts if one.name == name] or [
            one for one in verdicts if len(name) >= SHORT and one.sha256.startswith(name)
        ]
        if not own:
            known = ", ".join(one.called for one in verdicts[:SHOWN]) + ", …" * (len(verdicts) > SHOWN)
            raise InputError(f"`undo` {name}: no verdict is of that picture; there are {known or 'none'}")
        if len(own) > 1:
            hashes = ", ".join(one.sha256[:SHORT] for one in own)
            raise InputError(f"`undo` {name}: {len(own)} verdicts are of that name; give one by its hash: {hashes}")
        found.add(own[0])
    return found
