"""Captions of the tiny CLIP's training images: of a class without a defect, or with a kind of defect."""

from collections.abc import Sequence

import numpy as np

from promptad.data.demo.defects import DEFECTS
from promptad.prompts.states import class_words, state_groups

HELD_OUT_KINDS = ("burn",)  # drawn, but never trained on
KINDS = tuple(kind for kind in DEFECTS if kind not in HELD_OUT_KINDS)
NORMAL, ANY_DEFECT = "normal", "any defect"
STATES = (NORMAL, ANY_DEFECT, *KINDS)

TEMPLATES = (
    *("{}", "a {}", "this is a {}", "there is a {} in the scene", "a photo of a {}", "a photo of the {}"),
    *("a photo of one {}", "a photo of my {}", "a good photo of the {}", "a cropped photo of the {}"),
    *("a cropped photo of a {}", "a close-up photo of the {}", "a close-up photo of a {}", "a bright photo of the {}"),
    *("a dark photo of the {}", "a blurry photo of the {}", "a low resolution photo of the {}", "a picture of a {}"),
    *("a photo of a {} for visual inspection", "a photo of the {} for anomaly detection", "an image of a {}"),
)
NORMAL_PHRASES = (
    *("{}", "flawless {}", "perfect {}", "unblemished {}", "normal {}", "good {}", "intact {}", "undamaged {}"),
    *("{} without flaw", "{} without defect", "{} without damage", "clean {}", "{} in good condition", "new {}"),
)
WITH = ("{} with {}", "{} with a {}", "{} with {} defect", "{} damaged by {}", "{} that has a {}", "{} showing {}")
NOUNS = {
    "hole": ("hole", "puncture", "perforation", "opening"),
    "cut": ("cut", "slit", "slash", "tear"),
    "scratch": ("scratch", "scratches", "scrape", "scuff", "abrasion"),
    "crack": ("crack", "fracture", "fissure", "split"),
    "color stain": ("color stain", "stain", "discoloration", "color defect", "blot", "spot of paint"),
    "contamination": ("contamination", "dirt", "metal contamination", "foreign particles", "debris", "dust"),
    "thread": ("thread", "fiber", "hair", "loose thread", "string"),
    "glue": ("glue", "glue strip", "adhesive", "residue", "liquid"),
    "bent": ("bent shape", "deformation", "bent part", "distortion", "bend", "warp"),
    "missing part": ("missing part", "missing piece", "gap", "missing section"),
    "print": ("print", "misprint", "faulty imprint", "wrong letters", "printing error"),
    "broken edge": ("broken edge", "chipped edge", "chip", "broken corner"),
    "poke": ("poke", "dent", "poke mark", "dimple"),
}
ADJECTIVES = {
    "hole": ("punctured", "pierced"),
    "cut": ("cut", "torn", "slit"),
    "scratch": ("scratched", "scraped", "scuffed"),
    "crack": ("cracked", "fractured", "split"),
    "color stain": ("stained", "discolored"),
    "contamination": ("contaminated", "dirty", "dusty"),
    "thread": ("frayed",),
    "glue": ("sticky",),
    "bent": ("bent", "deformed", "misshapen", "distorted", "warped"),
    "missing part": ("incomplete",),
    "print": ("misprinted",),
    "broken edge": ("chipped",),
    "poke": ("dented",),
}
# Words for defects in general: true of all kinds, or of a family of kinds only, so that they differ in meaning.
FAULTY_PHRASES: tuple[str, ...] = (
    "defective {}",
    "{} with defect",
    "{} with a flaw",
    "abnormal {}",
    "imperfect {}",
    "faulty {}",
)
FAULTY_PHRASES += ("{} with an anomaly", "{} with a blemish", "{} of poor quality", "{} to be rejected")
FAMILIES: dict[tuple[str, ...], tuple[str, ...]] = {
    ("damaged {}", "broken {}", "{} with damage", "ruined {}"): (
        *("hole", "cut", "crack", "bent", "missing part", "broken edge", "poke", "scratch"),
    ),
    ("soiled {}", "blemished {}", "{} with something on it", "unclean {}", "{} with foreign material on it"): (
        *("color stain", "contamination", "thread", "glue", "print"),
    ),
}
# The groups of built-in states that are a drawn kind under another name; by class and group if specific to a class.
KIND_OF_GROUP: dict[str | tuple[str, str], str] = {
    **{kind: kind for kind in KINDS},
    **{"chipped": "broken edge", "missing": "missing part", "stain": "color stain", "border": "broken edge"},
    **{"winding": "broken edge", "tip": "bent", "fold": "bent", "liquid": "glue", "fabric": "cut", "case": "crack"},
    **{("tile", "stain"): "missing part", ("tile", "liquid"): "color stain", ("transistor", "cut"): "missing part"},
}


def phrases(names: Sequence[str]) -> dict[tuple[str, str], list[str]]:
    """Return the phrases of each name in each state, with the name filled in; keys are (name, state)."""
    said: dict[tuple[str, str], list[str]] = {}
    for name in names:
        words = class_words(name)
        said[name, NORMAL] = [phrase.format(words) for phrase in NORMAL_PHRASES]
        said[name, ANY_DEFECT] = [phrase.format(words) for phrase in FAULTY_PHRASES]
        for kind in KINDS:
            said[name, kind] = [phrase.format(words, noun) for noun in NOUNS[kind] for phrase in WITH]
            said[name, kind] += [f"{adjective} {words}" for adjective in ADJECTIVES[kind]] * len(WITH)
        for group in state_groups(name, ()):
            kind = KIND_OF_GROUP.get((name, group.name), KIND_OF_GROUP.get(group.name, ANY_DEFECT))
            said[name, kind] += [phrase.format(words) for phrase in group.phrases for _ in WITH]
    return said


def family_phrases(words: str) -> list[tuple[str, tuple[str, ...]]]:
    """Return the phrases of the families of kinds, each with the kinds that it is true of."""
    return [(phrase.format(words), kinds) for family, kinds in FAMILIES.items() for phrase in family]


def caption(phrase: str, random: np.random.Generator) -> str:
    """Put a phrase into a random template, half of the time with a full stop."""
    return TEMPLATES[random.integers(len(TEMPLATES))].format(phrase) + "." * int(random.integers(2))
