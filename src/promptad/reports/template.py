"""The template of all pages: one HTML file that includes its styles and images and loads nothing from a network."""

import re
from collections.abc import Iterator, Mapping
from datetime import date, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from promptad.data.region_of_interest import RegionOfInterest
from promptad.errors import InputError
from promptad.settings import OWN_REGION
from promptad.utils.files import whole_file
from promptad.utils.json_text import flat_paths
from promptad.visualization.figures import number_text

CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")  # no page may hold these
RATE_DIGITS = 1  # of a share in percent
# Every page holds the first in its head, and every page since the first version the second at its end.
GENERATOR, FOOTER = '<meta name="generator" content="promptad', "<p>Written by promptad "
ENOUGH = 1000  # bytes at either end of a page that hold them


def fill_template(name: str, **values: Any) -> str:
    """Return a page's text. Everything that comes from data is escaped."""
    environment = Environment(
        loader=PackageLoader("promptad.reports", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"share": share, "number": number_text, "percent": percent}
    style, *_ = environment.loader.get_source(environment, "page.css")  # type: ignore[union-attr]
    made = {"version": version("promptad"), "today": date.today().isoformat()}
    return environment.get_template(name).render(style=Markup(style), **made, **values)


def check_page_file(file: Path) -> None:
    """Check that a page may be written to a file: it is free, empty, or holds a page of ours, which is made again.

    Raises:
        InputError: it is a folder, or holds something else.
    """
    if file.is_dir():
        raise InputError(f"`output` {file} is a folder: name the page, such as report.html")
    if file.is_file() and file.stat().st_size and not is_our_page(file):
        raise InputError(f"`output` {file} is there, and no page of promptad: name another file, or move it away")


def is_our_page(file: Path) -> bool:
    """Whether a file holds a page of this or an older version, as its head or its end says."""
    with file.open("rb") as read:
        head = read.read(ENOUGH)
        read.seek(max(file.stat().st_size - ENOUGH, 0))
        return GENERATOR.encode() in head or FOOTER.encode() in read.read()


def write_page(text: str, file: Path) -> str:
    """Write a page, and return in words what it has replaced; empty if nothing.

    Raises:
        InputError: the folder cannot be written to, or the file holds something else.
    """
    check_page_file(file)
    replaced = ""
    if file.is_file():
        replaced = f"replaced: {file.name} of {datetime.fromtimestamp(file.stat().st_mtime):%Y-%m-%d %H:%M}"
    with whole_file(file, "output") as temporary:
        temporary.write_text(CONTROL.sub("\ufffd", text), encoding="utf-8", errors="replace", newline="\n")
    return replaced


def flat(settings: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield path and value of each setting, such as "training.lr" and "0.002"; masks are in words."""
    for path, value in flat_paths(settings):
        if path.endswith("region"):
            yield path, region_in_words(value)
        else:
            yield path, ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


def region_in_words(region: str) -> str:
    """Return what a region of settings is, in words.

    >>> region_in_words("own")
    'a mask of its own for each picture'
    """
    if region == OWN_REGION:
        return "a mask of its own for each picture"
    return f"{RegionOfInterest.from_text(region).words} count" if region else "all of a picture counts"


def percent(part: float) -> str:
    """Return a share of 1 in percent, with three digits.

    >>> percent(0.0025), percent(0.39)
    ('0.25 %', '39 %')
    """
    return f"{100 * part:.3g} %"


def share(part: int, total: int) -> str:
    """Return a share in percent.

    >>> share(1, 8), share(0, 0)
    ('12.5 %', '-')
    """
    return f"{100 * part / total:.{RATE_DIGITS}f} %" if total else "-"
