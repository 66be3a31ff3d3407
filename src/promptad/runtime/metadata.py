"""What is known of a detector beside its numbers, as plain data; and its text in an exported file."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from promptad.data.reading import region_of
from promptad.errors import InputError
from promptad.settings import Settings
from promptad.structures import WHOLE, Frame, Look
from promptad.utils.json_text import is_number, parse_json

EXPORT_VERSION = 1  # of exported files
DETECTOR, HEAD, TOWER = "promptad detector", "promptad head", "promptad tower"  # the kinds of exported files
IMAGES, MEMORY_IMAGES = "images", "memory_images"  # inputs of graphs: RGB squares for the two encoders
KEY = "promptad"  # of the text in an exported file
CURE = "export the detector again"


@dataclass(frozen=True, kw_only=True)
class MemoryEncoder:
    """The second image encoder of a detector, which its memory bank is made of, and how it is given images."""

    backbone: str  # its name
    weights_sha256: str  # of it
    image_size: int  # M, pixels a side that it is given
    resize: int  # pixels a side that an image is resized to before its central M x M are kept
    interpolation: str  # by which it is resized
    layers: tuple[int, ...]  # the blocks that its features come from, counted from 0


@dataclass(frozen=True, kw_only=True)
class Metadata:
    """A detector's class and settings, how it is given images, and what its outputs mean in words."""

    class_name: str  # what the part is
    settings: Settings  # of the detector
    weights_sha256: str  # of the backbone
    image_size: int  # S, pixels a side that the backbone is given
    resize: int  # pixels a side that an image is resized to before its central S x S are kept
    threshold: float | None = None  # of raw scores
    unsure_threshold: float | None = None  # a lower one, from which on a decision is left to people
    false_alarm_range: tuple[float, float] | None = None  # of the actual rate, as far as the detector can tell
    by_rate: tuple[tuple[float, float], ...] = ()  # false-alarm rates, and the threshold at each
    phrases: tuple[str, ...] = ()  # the states, "with hole"
    groups: tuple[int, ...] = ()  # index of the group of one meaning that each belongs to
    prototype_words: tuple[str, ...] = ()  # what each abnormal prototype is nearest to, if it is known
    support_images: tuple[str, ...] = ()  # their names, if they are known
    support_sha256: str = ""  # of their pixels
    looks: tuple[Look, ...] = ()  # of them, if they are known
    defects: tuple[str, ...] = ()  # names of the pictures of known defects, in their order; empty ones are private
    memory: MemoryEncoder | None = None  # if the memory bank is not of the backbone's own features

    @property
    def frame(self) -> Frame:
        """Where an anomaly map lies on its picture: the region's box, or the central part that the backbone sees."""
        near = (self.resize - self.image_size) // 2 / self.resize
        far = near + self.image_size / self.resize
        region = region_of(self.settings.picture)
        return (WHOLE if region is None else region.frame).part(near, far)


@dataclass(frozen=True, kw_only=True)
class Tower:
    """An exported image encoder that several heads may share, or the one that a head belongs to."""

    identity: str  # SHA-256 of its graph and weights
    backbone: str  # its name
    weights_sha256: str  # of it
    image_size: int  # S
    resize: int  # as of `Metadata`
    layers: tuple[int, ...]  # the blocks that its intermediate features come from, counted from 0
    precision: str  # of its weights and products: float32, float16 or int8
    memory: MemoryEncoder | None = None  # which it holds, too


@dataclass(frozen=True)
class ExportedText:
    """The text in an exported file: its kind, its tower, and of a detector or head what is known of it."""

    kind: str
    tower: Tower
    tower_file: str = ""  # of a head: the name of its tower's file, in the same folder
    known: Metadata | None = None  # None of a tower

    def to_json(self) -> str:
        """Return the text. File names of pictures, and folders of weights, stay where they are."""
        content: dict[str, Any] = {"format": self.kind, "format_version": EXPORT_VERSION}
        content["tower"] = _with_known_memory(asdict(self.tower))
        if self.known is not None:
            settings = replace(self.known.settings, backbone=self.known.settings.backbone.without_folders())
            defects = ("",) * len(self.known.defects)
            known = replace(self.known, settings=settings, support_images=(), defects=defects)
            plain = _with_known_memory(asdict(known)) | {"settings": settings.to_dict()}
            content |= {"tower_file": self.tower_file, "detector": plain}
        return json.dumps(content, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str, path: Path) -> "ExportedText":
        """Read the text of a file.

        Raises:
            InputError: it is no text of an exported file, of a newer version or incomplete.
        """
        try:
            content = parse_json(text)
            kind, version = content["format"], content["format_version"]
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"{path} is no exported detector: export a detector to one") from error
        if kind not in (DETECTOR, HEAD, TOWER) or not is_number(version):
            raise InputError(f"{path} is no exported detector, but {kind!r}: export a detector to one")
        if version > EXPORT_VERSION:
            raise InputError(
                f"{path} has export version {version}, this promptad reads up to {EXPORT_VERSION}; install a newer"
                " promptad"
            )
        try:
            known = _metadata(content["detector"]) if kind != TOWER else None
            layers = tuple(content["tower"]["layers"])
            tower = Tower(**content["tower"] | {"layers": layers, "memory": _memory_of(content["tower"])})
            return cls(kind, tower, content.get("tower_file", ""), known)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(f"{path} does not tell all that is needed to use it: {CURE}") from error


def _with_known_memory(plain: dict[str, Any]) -> dict[str, Any]:
    """Return plain data without a memory encoder that there is not, as older versions know it."""
    return plain if plain["memory"] is not None else {name: own for name, own in plain.items() if name != "memory"}


def _memory_of(plain: Mapping[str, Any]) -> MemoryEncoder | None:
    found = plain.get("memory")
    return None if found is None else MemoryEncoder(**found | {"layers": tuple(found["layers"])})


def _metadata(plain: Mapping[str, Any]) -> Metadata:
    content = {"defects": (), "prototype_words": ()} | dict(plain) | {"settings": Settings.from_dict(plain["settings"])}
    for name in ("phrases", "groups", "support_images", "false_alarm_range", "defects", "prototype_words"):
        content[name] = None if content[name] is None else tuple(content[name])
    content["memory"] = _memory_of(content)
    content["looks"] = tuple(Look(**look) for look in content.get("looks", ()))
    content["by_rate"] = tuple((float(rate), float(level)) for rate, level in content["by_rate"])
    if len(content["phrases"]) != len(content["groups"]):
        raise ValueError("states and groups differ in number")
    return Metadata(**content)
