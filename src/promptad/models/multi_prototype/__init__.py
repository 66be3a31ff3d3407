"""Multi-prototype PromptAD: several learned normal and abnormal text prototypes, calibrated scores, thresholds."""

from promptad.models.multi_prototype.detector import LEARNED_KEYS, restore
from promptad.models.multi_prototype.learn import train

__all__ = ["LEARNED_KEYS", "restore", "train"]
