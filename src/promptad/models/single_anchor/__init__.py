"""The baseline: the single-anchor PromptAD (Li et al., CVPR 2024), computed as in its authors' code."""

from promptad.models.single_anchor.detector import LEARNED_KEYS, restore
from promptad.models.single_anchor.learn import recalibrate, train

__all__ = ["LEARNED_KEYS", "recalibrate", "restore", "train"]
