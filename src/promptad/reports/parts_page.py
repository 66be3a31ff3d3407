"""The page of predictions of many parts: a table of all, and below it each part as on a page of its own."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from promptad.errors import InputError
from promptad.reports.predictions_page import changes_of, fill_predictions
from promptad.reports.predictions_summary import Health, PredictionsGallery, PredictionsSummary
from promptad.reports.template import fill_template
from promptad.runtime.drift import LEAST
from promptad.runtime.predictions import AGAIN, LINES, PARTS, read_predictions
from promptad.runtime.records import GUESS, NO_RECORD, UNLIKE_ALL
from promptad.utils.json_text import parse_json

BARE = "bare.html"


@dataclass(frozen=True)
class WrittenParts:
    """What predict has written of many parts."""

    found: tuple[tuple[str, PredictionsSummary], ...]  # by the part's name
    failures: tuple[str, ...]
    unreadable: tuple[dict[str, str], ...]  # path and error of pictures of no part


@dataclass(frozen=True)
class PartSection:
    """A part as the page shows it."""

    name: str
    anchor: str
    found: PredictionsSummary
    content: Markup

    @property
    def changed(self) -> str:
        """Whether its pictures have changed, in a word or two."""
        if len(self.found.readable) < LEAST:
            return "too few to tell"
        return "yes" if changes_of(self.found) else "no"

    @property
    def guesses(self) -> int:
        """How many of its pictures are its own by a guess."""
        return self._matched(GUESS)

    @property
    def unlike(self) -> int:
        """How many of its pictures are unlike all parts."""
        return self._matched(UNLIKE_ALL)

    def _matched(self, words: str) -> int:
        return sum(record.match is not None and record.match.words == words for record in self.found.records)


def is_of_parts(place: Path) -> bool:
    """Whether a folder holds the predictions of many parts."""
    return (place / PARTS).is_file() and not (place / LINES).exists()


def read_parts(place: Path) -> WrittenParts:
    """Read a folder that predict wrote for many parts.

    Raises:
        InputError: it is damaged, or no part was judged.
    """
    try:
        content = parse_json((place / PARTS).read_text(encoding="utf-8"))
        folders = {str(name): place / str(folder) for name, folder in content["parts"].items()}
        failures = tuple(map(str, content["failures"]))
        unreadable = tuple({name: str(one[name]) for name in ("path", "error")} for one in content["unreadable"])
    except (OSError, *NO_RECORD) as error:
        raise InputError(f"`predictions` {place / PARTS} does not tell which parts were judged: {AGAIN}") from error
    if not folders:
        raise InputError(f"`predictions` {place}: no part was judged: {AGAIN}")
    found = tuple((name, PredictionsSummary(*read_predictions(folder))) for name, folder in folders.items())
    return WrittenParts(found, failures, unreadable)


def render_parts_page(written: WrittenParts, galleries: Sequence[PredictionsGallery], healths: Sequence[Health]) -> str:
    """Return the page's text; galleries and healths are those of the parts, in their order."""
    parts = [
        PartSection(name, f"part-{number}", found, _nested(fill_predictions(found, gallery, health, BARE), number))
        for number, ((name, found), gallery, health) in enumerate(
            zip(written.found, galleries, healths, strict=True), 1
        )
    ]
    every: list[Any] = [record for part in parts for record in part.found.records]
    return fill_template(
        "parts_page.html",
        parts=parts,
        written=written,
        by_look=any(record.match is not None for record in every),
        rejected=sum(record.is_anomalous for record in every),
        judged=sum(not record.error for record in every),
    )


def _nested(content: str, number: int) -> Markup:
    """Return the content of a page as a part of another one: its headings one level lower, their ids its own."""
    lower = re.sub(r"<(/?)h([1-3])\b", lambda found: f"<{found[1]}h{int(found[2]) + 1}", content)
    return Markup(re.sub(r'(<h\d id=")', rf"\g<1>part-{number}-", lower))
