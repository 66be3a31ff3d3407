"""The seeds of the demo: every line, part and try has its own, and none was used to train a tiny CLIP."""

from promptad.errors import InputError

TRAINING_SEEDS_FROM = 10_000_000  # the images a tiny CLIP learned from have style and instance seeds from here on
TRIES = 10  # how often an image may be drawn again because its defect cannot be seen

_SEEDS_A_CLASS = 1000  # on one line: TRIES for each of up to 100 images
_CLASSES = 20  # of a block of seeds
_BLOCKS = 2  # room for more classes than there are
LINES = TRAINING_SEEDS_FROM // (_SEEDS_A_CLASS * _CLASSES * _BLOCKS)


def style_seed(line: int, class_number: int) -> int:
    """Give the seed of what all parts of a class share on a production `line`, numbered from 0 to below `LINES`.

    `class_number` is the place of the class among all demo classes, from 0.

    Raises:
        InputError: there is no such line.
    """
    if not 0 <= line < LINES:
        raise InputError(f"unknown production line: {line}; choose from 0 to {LINES - 1}")
    assert 0 <= class_number < _CLASSES * _BLOCKS
    block, number = divmod(class_number, _CLASSES)
    return (block * LINES + line) * _CLASSES + number


def instance_seed(line: int, class_number: int, image: int, attempt: int = 0) -> int:
    """Give the seed of one part.

    Args:
        line: as of `style_seed`.
        class_number: the same.
        image: number of the part, which counts through all images of its class, good and defective.
        attempt: how often it was drawn before, because its defect could not be seen.
    """
    assert 0 <= attempt < TRIES
    assert 0 <= image < _SEEDS_A_CLASS // TRIES
    return style_seed(line, class_number) * _SEEDS_A_CLASS + image * TRIES + attempt
