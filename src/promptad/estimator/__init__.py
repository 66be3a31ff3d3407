"""The estimator, for use from Python."""

from promptad.estimator.promptad import PromptAD

__all__ = ["PromptAD"]
