"""Few-shot visual anomaly detection with learned normal and abnormal text prototypes for a frozen CLIP."""

import logging
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from promptad.errors import InputError
    from promptad.estimator import PromptAD
    from promptad.settings import Settings
    from promptad.structures import Prediction

__all__ = ["InputError", "Prediction", "PromptAD", "Settings"]

logging.getLogger("promptad").addHandler(logging.NullHandler())  # silent unless the user asks

# Loaded on first use (PEP 562), so that importing promptad or one of its torch-free modules does not import torch.
_HOMES = {
    "InputError": "promptad.errors",
    "Prediction": "promptad.structures",
    "PromptAD": "promptad.estimator",
    "Settings": "promptad.settings",
}


def __getattr__(name: str) -> Any:
    """Import a public name from its module."""
    if name not in _HOMES:
        raise AttributeError(f"module 'promptad' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    """Return the public names."""
    return sorted(__all__)
