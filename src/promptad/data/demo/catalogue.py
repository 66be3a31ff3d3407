"""Which demo classes there are, and what can go wrong with each.

A class maps the folders of its defects to the kinds that are drawn. The folders are named as in MVTec AD where it has
such a defect.
"""

DEFECT_FOLDERS: dict[str, dict[str, str]] = {
    "bottle": {"broken_large": "broken edge", "contamination": "contamination", "crack": "crack", "print": "print"},
    "cable": {
        "bent_wire": "bent",
        "cut_outer_insulation": "cut",
        "missing_wire": "missing part",
        "poke_insulation": "poke",
    },
    "capsule": {
        "crack": "crack",
        "faulty_imprint": "print",
        "poke": "poke",
        "scratch": "scratch",
        "squeeze": "bent",
    },
    "carpet": {
        "color": "color stain",
        "cut": "cut",
        "hole": "hole",
        "metal_contamination": "contamination",
        "thread": "thread",
    },
    "grid": {
        "bent": "bent",
        "broken": "missing part",
        "glue": "glue",
        "metal_contamination": "contamination",
        "thread": "thread",
    },
    "hazelnut": {"crack": "crack", "cut": "cut", "hole": "hole", "print": "print"},
    "leather": {"color": "color stain", "cut": "cut", "fold": "bent", "glue": "glue", "poke": "poke"},
    "metal_nut": {"bent": "bent", "broken_edge": "broken edge", "color": "color stain", "scratch": "scratch"},
    "pill": {
        "color": "color stain",
        "contamination": "contamination",
        "crack": "crack",
        "faulty_imprint": "print",
        "scratch": "scratch",
    },
    "screw": {
        "bent": "bent",
        "contamination": "contamination",
        "scratch_neck": "scratch",
        "thread_side": "broken edge",
    },
    "tile": {"crack": "crack", "glue_strip": "glue", "gray_stroke": "missing part", "oil": "color stain"},
    "toothbrush": {
        "bent_bristles": "bent",
        "color": "color stain",
        "contamination": "contamination",
        "missing_bristles": "missing part",
    },
    "transistor": {
        "bent": "bent",
        "broken_edge": "broken edge",
        "contamination": "contamination",
        "damaged_case": "crack",
    },
    "wood": {"color": "color stain", "hole": "hole", "liquid": "glue", "scratch": "scratch"},
    "zipper": {"bent": "bent", "fabric_border": "broken edge", "fabric_interior": "cut", "rough": "scratch"},
    "gear": {"broken_edge": "broken edge", "burn": "burn", "crack": "crack", "missing_part": "missing part"},
    "brick": {"burn": "burn", "color": "color stain", "crack": "crack", "hole": "hole"},
    "bearing": {"bent": "bent", "contamination": "contamination", "missing_ball": "missing part", "scratch": "scratch"},
    "biscuit": {"broken_edge": "broken edge", "burn": "burn", "crack": "crack", "thread": "thread"},
    "circuit_board": {"burn": "burn", "cut": "cut", "glue": "glue", "print": "print", "scratch": "scratch"},
    "cork": {"color": "color stain", "contamination": "contamination", "hole": "hole", "poke": "poke"},
}

# No tiny CLIP was trained on these: for checks out of its domain.
HELD_OUT_CLASSES = ("gear", "brick", "bearing", "biscuit", "circuit_board", "cork")
DEMO_CLASSES = tuple(name for name in DEFECT_FOLDERS if name not in HELD_OUT_CLASSES)  # MVTec AD's fifteen, sorted
