"""The two averaged anchors."""

import torch
import torch.nn.functional as F
from torch import Tensor

from promptad.single_anchor.prompts import TextFeatures


def average_anchors(text: TextFeatures) -> Tensor:
    """Return the anchors [2, D]: the unit mean of the normal text features, and that of all abnormal ones."""
    return F.normalize(torch.stack([text.normal.mean(0), text.abnormal.mean(0)]), dim=-1)
