"""Drawn images of 15 MVTec AD classes: a data set to try everything on, made in a minute and without a download.

Reading order, from the pencil to the disk: `canvas`, `textures` and `objects`, `defects`, `scene`, `seeds`,
`catalogue`, `writer`, `sheet`.
"""

from promptad.data.demo.catalogue import DEFECT_FOLDERS, DEMO_CLASSES, HELD_OUT_CLASSES
from promptad.data.demo.scene import DIFFICULTIES, IMAGE_SIDE, draw_image, draw_twins
from promptad.data.demo.seeds import LINES, TRAINING_SEEDS_FROM, instance_seed, style_seed
from promptad.data.demo.sheet import write_sheet
from promptad.data.demo.writer import make_demo_class

__all__ = [
    "DEFECT_FOLDERS",
    "DEMO_CLASSES",
    "DIFFICULTIES",
    "HELD_OUT_CLASSES",
    "IMAGE_SIDE",
    "LINES",
    "TRAINING_SEEDS_FROM",
    "draw_image",
    "draw_twins",
    "instance_seed",
    "make_demo_class",
    "style_seed",
    "write_sheet",
]
