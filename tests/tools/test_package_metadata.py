"""What is published: links of the README that lead to a file from anywhere."""

import re
import tomllib
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

if find_spec("hatchling") is None:
    pytest.skip("hatchling, which builds the package, is not installed", allow_module_level=True)

from package_metadata import PackageMetadata, absolute_links

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
HOOK = PROJECT["tool"]["hatch"]["metadata"]["hooks"]["custom"]


@pytest.fixture(scope="module")
def added() -> dict[str, Any]:
    metadata: dict[str, Any] = {}
    PackageMetadata(str(ROOT), HOOK).update(metadata)
    return metadata


def test_every_link_of_the_published_readme_is_absolute(added: dict[str, Any]) -> None:
    text = added["readme"]["text"]
    places = re.findall(r"\]\(([^)]+)\)", text)
    assert places
    assert all(place.startswith("https://") for place in places)
    assert len(places) == len(re.findall(r"\]\(([^)]+)\)", README))


def test_each_absolute_link_leads_to_a_file_of_the_checkout(added: dict[str, Any]) -> None:
    kept = re.findall(rf"{HOOK['repository']}/(blob|raw)/{HOOK['branch']}/([^)#]+)", added["readme"]["text"])
    assert {kind for kind, _ in kept} == {"blob", "raw"}
    for kind, place in kept:
        assert (ROOT / place).exists()
        assert (kind == "raw") == (Path(place).suffix in (".png", ".jpg"))


def test_links_that_lead_away_or_within_stay() -> None:
    text = "[one](https://a.org/b) [two](#here) ![three](http://a.org/c.png) [four](mailto:a@b.org)"
    assert absolute_links(text, "https://x.org/r", "main") == text


def test_all_links_of_the_project_follow_from_one_address(added: dict[str, Any]) -> None:
    assert set(added["urls"]) == {"Source", "Documentation", "Changelog", "Issues"}
    assert all(url.startswith(HOOK["repository"]) for url in added["urls"].values())
    assert (ROOT / "pyproject.toml").read_text(encoding="utf-8").count(HOOK["repository"]) == 1


def test_what_is_made_is_not_given_too() -> None:
    assert set(PROJECT["project"]["dynamic"]) == {"readme", "urls"}
    assert {"readme", "urls"}.isdisjoint(PROJECT["project"])
