"""The region that is asked for when pictures are predicted: where the camera has moved, or each picture has its own."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from promptad.data.reading import region_of
from promptad.data.region_of_interest import make_region, masks_folder
from promptad.errors import InputError
from promptad.runtime.predict import Predictor
from promptad.settings import OWN_REGION

Own = TypeVar("Own", bound=Predictor)


def in_region(predictor: Own, counted: Sequence[str | Path], ignored: Sequence[str | Path]) -> tuple[Own, Path | None]:
    """Return a detector that looks at the region asked for, and the folder of masks where each picture has its own.

    Args:
        predictor: the detector.
        counted: boxes and masks of what counts, or a folder of masks; none: the region that it learned with.
        ignored: boxes and masks of what does not.

    Raises:
        InputError: it did not learn with a region of that kind, or a box or mask does not fit.
    """
    picture, folder = predictor.metadata.settings.picture, masks_folder(counted, ignored)
    is_asked = bool(counted or ignored)
    if not is_asked and picture.region != OWN_REGION:
        return predictor, None
    if not is_asked or (picture.region == OWN_REGION and folder is None):
        raise InputError("the detector learned from pictures with a region each: give the folder of masks by `region`")
    if picture.region == "":
        raise InputError(
            f"`region` {', '.join(map(str, [*counted, *ignored]))}: the detector learned from whole pictures, so what"
            " lies outside counts in what it knows: train it with `region`"
        )
    if folder is not None:
        if picture.region != OWN_REGION:
            raise InputError(f"`region` {folder} is a folder, and the detector learned with one region: give a mask")
        return predictor, folder
    region = region_of(picture)
    assert region is not None, "there is a region of all pictures"
    moved = make_region(counted, ignored, region.size)
    return predictor.with_picture(replace(picture, region=moved.to_text())), None
