"""The overlay of a record: an image with its regions, and its anomaly map."""

from pathlib import Path

import numpy as np
from PIL import Image

from promptad.runtime.metadata import Metadata
from promptad.runtime.records import PredictionRecord
from promptad.visualization.figures import save
from promptad.visualization.overlays import Overlay, draw_overlays
from promptad.visualization.prediction import overlay_title


def draw_record(
    known: Metadata, record: PredictionRecord, image: Image.Image, anomaly_map: np.ndarray, file: Path
) -> None:
    """Draw an image with its regions, and beside it its anomaly map."""
    title = overlay_title(record.score, record.max_score, record.label, record.reason)
    overlay = Overlay(image, anomaly_map, known.frame, record.regions, title, record.is_without_place)
    save(draw_overlays([overlay]), file, "output")
