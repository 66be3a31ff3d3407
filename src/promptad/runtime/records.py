"""Records: the prediction of one image, as a line of a file tells it."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from promptad.structures import ANOMALY, GOOD, UNLIKE, UNSURE, Explanation, Look, Region, is_without_place
from promptad.utils.json_text import is_number, parse_json

SURE, LIKELY = 0.3, 0.1  # share by which an image lacks less of its part than of the next one
GUESS, UNLIKE_ALL = "a guess", "unlike all parts"  # how surely, in words; else "sure" or "likely"
NO_RECORD = (ValueError, KeyError, TypeError, AttributeError)  # what reading a wrong line raises
# Names in a line that differ from the names in the code.
RECORD_KEYS = {"label": "decision", "raw_score": "raw", "max_score": "peak", "is_blank": "blank"}
REGION_KEYS = {"max_score": "peak"}
EXPLANATION_KEYS = {"nearest_states": "most_like"}


@dataclass(frozen=True)
class Match:
    """Which of many parts an image shows, as the image itself tells."""

    part: str
    sureness: float  # the share by which it lacks less of this part than of the next one, 0 to 1
    is_like: bool  # whether it is like any part at all

    @property
    def words(self) -> str:
        """How surely, in words."""
        if not self.is_like:
            return UNLIKE_ALL
        return "sure" if self.sureness >= SURE else "likely" if self.sureness >= LIKELY else GUESS


@dataclass(frozen=True)
class PredictionRecord:
    """The prediction of one image; one that could not be read has its `error` and nothing else."""

    path: str
    label: str = ""
    score: float = 0.0
    raw_score: float = 0.0  # distinguishes images whose `score` is 1.00
    threshold: float | None = None  # of the raw score
    max_score: float = 0.0  # the highest value of its anomaly map
    regions: tuple[Region, ...] = ()
    explanation: Explanation | None = None
    is_blank: bool = False  # of one colour throughout: an anomaly whatever its score
    look: Look | None = None  # None in lines of an older promptad
    match: Match | None = None  # where the part was found by the image itself
    overlay: str = ""  # the file of its overlay
    moved: str = ""  # where a watcher has moved it to
    error: str = ""

    @property
    def is_anomalous(self) -> bool:
        """Whether it is labelled as an anomaly."""
        return self.label == ANOMALY

    @property
    def is_good(self) -> bool:
        """Whether it is labelled as good."""
        return self.label == GOOD

    @property
    def is_unsure(self) -> bool:
        """Whether its decision is left to people."""
        return self.label == UNSURE

    @property
    def reason(self) -> str:
        """Why it may be anomalous, in words."""
        if self.is_blank:
            return f"{UNLIKE}: one colour throughout"
        return "" if self.explanation is None else self.explanation.reason

    @property
    def is_without_place(self) -> bool:
        """Whether it is an anomaly as a whole: nothing in its map is above the threshold."""
        return is_without_place(self.label, self.max_score, self.reason)

    @property
    def distance(self) -> float | None:
        """How far it is from the support images, if it is known: above 1 farther than a new good image may be."""
        return None if self.explanation is None else self.explanation.distance

    @property
    def place(self) -> str:
        """Where the image is now."""
        return self.moved or self.path

    def to_dict(self) -> dict[str, Any]:
        """Return the content of its line."""
        if self.error:
            return {"path": self.path, "error": self.error}
        content = _renamed(asdict(self), RECORD_KEYS)
        content["regions"] = [_renamed(asdict(region), REGION_KEYS) for region in self.regions]
        content["explanation"] = self.explanation and _renamed(asdict(self.explanation), EXPLANATION_KEYS)
        del content["error"]
        return {name: value for name, value in content.items() if value or name not in ("match", "overlay", "moved")}

    def to_line(self) -> str:
        """Return its line in the file."""
        return json.dumps(self.to_dict(), ensure_ascii=False) + "\n"

    @classmethod
    def from_line(cls, line: str) -> "PredictionRecord":
        """Read a line of the file.

        Raises:
            ValueError, KeyError, TypeError, AttributeError: it is not such a line.
        """
        content = parse_json(line)
        if "error" in content:
            return cls(str(content["path"]), error=str(content["error"]))
        if content["decision"] not in (ANOMALY, UNSURE, GOOD):
            raise ValueError(content["decision"])
        numbers = [content[name] for name in ("score", "raw", "threshold", "peak")]
        numbers += [number for region in content["regions"] for number in region.values()]
        if not all(map(is_number, numbers)):
            raise TypeError(f"{numbers} are not all numbers")
        explanation = _named(content["explanation"], EXPLANATION_KEYS)
        explanation["nearest_states"] = tuple(map(str, explanation["nearest_states"]))
        for name in ("lack", "distance"):
            if (number := explanation.get(name)) is not None and not is_number(number):
                raise TypeError(f"{name} {number!r} is no number")
        if (defect := explanation.get("defect")) is not None:
            explanation["defect"] = str(defect)
        explanation["prototype_words"] = str(explanation.get("prototype_words", ""))
        return cls(
            path=str(content["path"]),
            label=content["decision"],
            score=float(content["score"]),
            raw_score=float(content["raw"]),
            threshold=float(content["threshold"]),
            max_score=float(content["peak"]),
            regions=tuple(Region(**_named(region, REGION_KEYS)) for region in content["regions"]),
            explanation=Explanation(**explanation),
            is_blank=content.get("blank") is True,
            look=look_in(content.get("look")),
            match=_match_of(content.get("match")),
            overlay=str(content.get("overlay", "")),
            moved=str(content.get("moved", "")),
        )


def look_in(content: Any) -> Look | None:
    """Return the look that plain data holds; None if it holds none.

    Raises:
        TypeError, AttributeError: it is no look.
    """
    if content is None:
        return None
    if not all(map(is_number, content.values())):
        raise TypeError(f"{content} are not all numbers")
    return Look(**content)


def _match_of(content: Any) -> Match | None:
    if content is None:
        return None
    if not is_number(content["sureness"]):
        raise TypeError(f"sureness {content['sureness']!r} is no number")
    return Match(str(content["part"]), float(content["sureness"]), content["is_like"] is True)


def _renamed(values: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    return {names.get(name, name): value for name, value in values.items()}


def _named(values: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    return _renamed(values, {written: name for name, written in names.items()})
