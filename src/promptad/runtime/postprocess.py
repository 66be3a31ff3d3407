"""From a detector's outputs, as arrays, to a prediction: numpy is all it needs.

The outputs, by name, of N images:

- `score` [N] in [0, 1], `raw_score` [N], `anomaly_map` [N, resolution, resolution] in [0, 1];
- of a method with thresholds `is_anomalous` [N];
- of one with explanations `prototype` [N], counted from 0; `state_scores` [N, S], the z-scores of the states at the
  most unusual patch; the terms of the raw score that there are, of `class_token_term`, `patches_term` and `memory_term`
  [N]; `lack` [N] and `distance` [N], if they are known; and where defects are known `defect` [N], the one that is
  likest, counted from 0, and `defect_likeness` [N], above 1 where an image is like it.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from promptad.data.reading import region_of, tiles_of
from promptad.data.tiles import Tiles
from promptad.runtime.metadata import Metadata
from promptad.structures import Explanation, Prediction

MAX_STATES = 2  # named per image
TERMS = ("class_token_term", "patches_term", "memory_term", "lack", "distance")  # in the order of an `Explanation`

Outputs = Mapping[str, np.ndarray]


def to_prediction(outputs: Outputs, metadata: Metadata) -> Prediction:
    """Return the prediction of a detector's outputs, with explanations if it has them; of tiles it is that of images.

    Nothing is anomalous outside the region that counts.
    """
    picture = metadata.settings.picture
    outputs = per_image(outputs, tiles_of(picture))
    score, raw_score = (outputs[name].astype(np.float64) for name in ("score", "raw_score"))
    thresholds, maps, region = (
        (metadata.threshold, metadata.unsure_threshold),
        outputs["anomaly_map"],
        region_of(picture),
    )
    if region is not None:
        maps = maps * region.at(metadata.frame, maps.shape[1:])
    return Prediction(score, maps, raw_score, *thresholds, explanations(outputs, metadata))


def per_image(outputs: Outputs, tiles: Tiles) -> Outputs:
    """Return the outputs of N images from those of their tiles in turn: of the tile with the highest raw score.

    The maps of all tiles are put together.
    """
    if tiles.count == 1:
        return outputs
    highest = outputs["raw_score"].reshape(-1, tiles.count).argmax(1)
    rows = highest + tiles.count * np.arange(len(highest))
    found = {name: own[rows] for name, own in outputs.items() if name != "anomaly_map"}
    if "distance" in outputs:  # of an image as a whole
        found["distance"] = outputs["distance"].reshape(-1, tiles.count).mean(1)
    return found | {"anomaly_map": tiles.joined(outputs["anomaly_map"])}


def explanations(outputs: Outputs, metadata: Metadata) -> tuple[Explanation, ...]:
    """Return why N images have their scores; empty if the outputs do not tell."""
    if "prototype" not in outputs:
        return ()
    count = len(outputs["prototype"])
    terms = [outputs[name].tolist() if name in outputs else [None] * count for name in TERMS]
    states = [nearest_states(row, metadata.phrases, metadata.groups) for row in outputs["state_scores"]]
    numbers = (outputs["prototype"] + 1).tolist()
    words = [metadata.prototype_words[number - 1] if metadata.prototype_words else "" for number in numbers]
    rows = zip(numbers, states, *terms, known_defects(outputs, metadata, count), words, strict=True)
    return tuple(Explanation(*row) for row in rows)


def known_defects(outputs: Outputs, metadata: Metadata, count: int) -> list[str | None]:
    """Return which known defect each of `count` images is like, in words; None if it is like none."""
    if "defect" not in outputs:
        return [None] * count
    pairs = zip(outputs["defect"].tolist(), outputs["defect_likeness"].tolist(), strict=True)
    return [_defect_in_words(metadata.defects, number) if likeness > 1 else None for number, likeness in pairs]


def _defect_in_words(names: Sequence[str], number: int) -> str:
    """Return "in 003.png", or "number 3" where names are private."""
    return f"in {names[number]}" if number < len(names) and names[number] else f"number {number + 1}"


def nearest_states(scores: np.ndarray, phrases: Sequence[str], groups: Sequence[int]) -> tuple[str, ...]:
    """Return the states with the highest scores [S], one per group, nearest first."""
    best: dict[int, str] = {}
    for number in np.argsort(-scores, kind="stable").tolist():
        best.setdefault(groups[number], phrases[number])
    return tuple(best.values())[:MAX_STATES]
