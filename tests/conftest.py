"""What several tests share."""

import pytest
import torch

from promptad.backbone.clip import Backbone, load_backbone
from promptad.settings import BackboneSettings


@pytest.fixture(scope="session")
def tiny() -> Backbone:
    """The backbone that lies in the package; tests only read it."""
    return load_backbone(BackboneSettings(name="tiny"), torch.device("cpu"))
