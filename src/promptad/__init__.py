"""Few-shot visual anomaly detection with learned normal and abnormal text prototypes for a frozen CLIP."""

from promptad.errors import InputError
from promptad.estimator import PromptAD
from promptad.records import Prediction
from promptad.settings import Settings

__all__ = ["InputError", "Prediction", "PromptAD", "Settings"]
