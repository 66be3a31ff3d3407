"""The captions of `uncued`: as people write them, who seldom say whether a part is good.

Most name the part alone, under one of several names. Few tell its state, in many wordings, and some of those are wrong.
No caption says where anything is.
"""

import numpy as np
from tiny_captions import ADJECTIVES, FAMILIES, FAULTY_PHRASES, KINDS, NORMAL_PHRASES, NOUNS, WITH, phrases

from promptad.data.demo import DEMO_CLASSES
from promptad.prompts.states import class_words

SAID_OF_BAD, SAID_OF_GOOD = 0.55, 0.15  # share of the captions that tell the state of a defective, of a good part
WRONG = 0.15  # share of those that tell another one
OTHER_NAME = 0.4  # share of the captions under another name than the class's own

OTHER_NAMES = {
    "bottle": ("glass bottle", "bottle seen from above", "jar"),
    "cable": ("electric cable", "wires", "cross section of a cable"),
    "capsule": ("medicine capsule", "gel capsule", "drug"),
    "carpet": ("rug", "woven carpet", "floor covering"),
    "grid": ("wire mesh", "metal grid", "fence"),
    "hazelnut": ("nut", "filbert", "brown nut"),
    "leather": ("leather hide", "animal skin", "brown leather"),
    "metal_nut": ("steel nut", "machine part", "metal part"),
    "pill": ("tablet", "medicine", "speckled pill"),
    "screw": ("bolt", "metal screw", "fastener"),
    "tile": ("stone tile", "ceramic tile", "marble"),
    "toothbrush": ("brush", "toothbrush head", "bristles"),
    "transistor": ("electronic component", "chip on a board", "semiconductor"),
    "wood": ("wooden board", "timber", "plank"),
    "zipper": ("zip", "fastener of a jacket", "zipper on fabric"),
}
SCENES = (
    *("{}", "a {}", "the {}", "a photo of a {}", "a photo of the {}", "photo of {}", "picture of a {}", "image of {}"),
    *("a close-up photo of a {}", "a cropped photo of the {}", "{} close up", "{} on a table", "one {} on its own"),
    *("my {}", "this is a {}", "a {} in the factory", "detail of a {}", "{} under a lamp", "product photo of a {}"),
    *("a dark photo of a {}", "a bright photo of a {}", "a blurry photo of a {}", "stock image of a {}", "buy {} here"),
)
GOOD_WORDS = (*NORMAL_PHRASES, "brand new {}", "beautiful {}", "{} in perfect condition", "high quality {}", "fine {}")
BAD_WORDS = (
    *FAULTY_PHRASES,
    *(phrase for family in FAMILIES for phrase in family),
    *("{} with a problem", "old {}", "bad {}", "cheap {}", "{} after an accident"),
)


def draw_caption(class_name: str, kind: int | None, random: np.random.Generator) -> str:
    """Draw a caption of a part, given the number of its kind of defect in KINDS, or None for a good one."""
    name, *others = names_of(class_name)
    if random.random() < OTHER_NAME:
        name = others[random.integers(len(others))]
    phrase = "{}"
    if random.random() < (SAID_OF_GOOD if kind is None else SAID_OF_BAD):
        if random.random() < WRONG:
            kind = int(random.integers(len(KINDS))) if kind is None or random.random() < 0.5 else None
        phrase = _good_words(random) if kind is None else _bad_words(KINDS[kind], random)
    scene = SCENES[random.integers(len(SCENES))]
    return scene.format(phrase.format(name)) + "." * int(random.integers(2))


def names_of(class_name: str) -> tuple[str, ...]:
    """Return the names that a class goes under, its own first."""
    return class_words(class_name), *OTHER_NAMES[class_name]


def caption_texts() -> set[str]:
    """Return texts that hold every word of all captions, and of the package's own phrases for the classes."""
    names = {name for class_name in DEMO_CLASSES for name in names_of(class_name)}
    words = {phrase.format("").strip() for phrase in (*GOOD_WORDS, *BAD_WORDS, *SCENES)}
    nouns = {phrase.format("", noun).strip() for own in NOUNS.values() for noun in own for phrase in WITH}
    adjectives = {adjective for own in ADJECTIVES.values() for adjective in own}
    package = {phrase for choices in phrases(DEMO_CLASSES).values() for phrase in choices}
    return names | words | nouns | adjectives | package | {f"{name}." for name in names}


def _good_words(random: np.random.Generator) -> str:
    return GOOD_WORDS[random.integers(len(GOOD_WORDS))]


def _bad_words(kind: str, random: np.random.Generator) -> str:
    """Draw a wording of a kind of defect: in general terms, by an adjective, or by a noun."""
    how = random.random()
    if how < 0.35:
        return BAD_WORDS[random.integers(len(BAD_WORDS))]
    if how < 0.55:
        return f"{ADJECTIVES[kind][random.integers(len(ADJECTIVES[kind]))]} {{}}"
    noun = NOUNS[kind][random.integers(len(NOUNS[kind]))]
    return WITH[random.integers(len(WITH))].format("{}", noun)
