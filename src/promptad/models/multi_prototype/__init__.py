"""Multi-prototype PromptAD: several learned normal and abnormal text prototypes, calibrated scores, thresholds."""

from promptad.models.multi_prototype.detector import LEARNED_KEYS
from promptad.models.multi_prototype.learn import recalibrate, train
from promptad.models.multi_prototype.restoration import restore

__all__ = ["LEARNED_KEYS", "recalibrate", "restore", "train"]
