"""The documentation site: it builds strictly, loads nothing from elsewhere, and has all that is public."""

import io
import os
import re
import shlex
import subprocess
import sys
import zlib
from collections.abc import Iterator
from contextlib import redirect_stdout
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from promptad.cli.options import COMMANDS
from promptad.cli.parser import parse

if TYPE_CHECKING:
    from griffe import Alias, Class, Function, Object

ROOT = Path(__file__).resolve().parent.parent
REFERENCE = {page.name: page.read_text(encoding="utf-8") for page in sorted((ROOT / "docs/reference").glob("*.md"))}
GUIDES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
PUBLIC = ("promptad", "promptad.runtime", "promptad.data.demo")  # packages that say what is public
BLOCK = re.compile(r"^::: (\S+)((?:\n    .*)*)", re.MULTILINE)  # of mkdocstrings: a name, and its options
RUN = re.compile(r"```python\n(.*?)```(?:\n\n```text\n(.*?)```)?", re.DOTALL)  # code, and what it prints
needs_site = pytest.mark.skipif(
    find_spec("mkdocs") is None or find_spec("mkdocstrings_handlers") is None,
    reason="the extra docs is not installed: pip install '.[docs]'",
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built as CONTRIBUTING.md says, with every warning an error."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    silent = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    built = subprocess.run(command, cwd=ROOT, env=silent, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    return folder


@needs_site
def test_the_site_loads_nothing_from_elsewhere(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert len(pages) > 25
    for page in pages:
        html = page.read_text(encoding="utf-8")
        loaded = re.findall(r"<(?:link|script|img|iframe)\b[^>]*?(?:href|src)=\"?([^\s\">]+)", html)
        assert loaded
        assert not [place for place in loaded if place.startswith(("http", "//"))], page
    for style in site.rglob("*.css"):
        assert not re.search(r"(?:@import|url\()\s*['\"]?(?:http|//)", style.read_text(encoding="utf-8")), style


@needs_site
def test_every_option_is_on_the_page_of_commands(site: Path) -> None:
    html = (site / "reference" / "command_line.html").read_text(encoding="utf-8")
    sections = {part.split('"')[0]: part for part in html.split('<h2 id="')[1:]}
    for name, command in COMMANDS.items():
        for option in command.options:
            assert f"<code>{option.flag}</code>" in sections[f"promptad-{name}"], (name, option.flag)
    assert "--give-up" in sections["without-torch"]


@needs_site
def test_links_out_of_the_docs_and_into_them_lead_to_pages(site: Path) -> None:
    export, changes = ((site / name).read_text(encoding="utf-8") for name in ("export.html", "CHANGELOG.html"))
    assert re.search(r'href="?benchmarks/index\.html#what-int8-costs', export)
    assert re.search(r'href="?export\.html', changes)
    assert (site / "benchmarks" / "cost_growth.png").is_file()


@needs_site
def test_all_that_is_public_is_on_the_site(site: Path) -> None:
    """What `__all__` names, and whatever the docs and examples import."""
    inventory = zlib.decompress((site / "objects.inv").read_bytes().split(b"zlib.\n", 1)[1]).decode()
    documented = {line.split()[0] for line in inventory.splitlines()}
    public = {f"{package}.{name}" for package in PUBLIC for name in import_module(package).__all__}
    for text in (*GUIDES, *ROOT.glob("examples/*.py")):
        for module, names in re.findall(r"^from (promptad\S*) import (.+)$", text.read_text(encoding="utf-8"), re.M):
            public |= {f"{module}.{name.strip()}" for name in names.split("#")[0].split(",")}
    assert len(public) > 20
    for name in public - documented:
        constant = name.rpartition(".")[2]
        assert constant.isupper(), f"{name} is not on the site"
        assert any(f"| `{constant}` |" in page for page in REFERENCE.values()), name


def shown_objects() -> "Iterator[Object]":
    """All classes and functions of the reference, with their public members."""
    from griffe import load, load_extensions  # noqa: PLC0415 of the extra docs
    from trailing_comments import TrailingComments  # noqa: PLC0415 the same

    package = load("promptad", search_paths=[ROOT / "src"], extensions=load_extensions(TrailingComments))
    for name, options in (block for page in REFERENCE.values() for block in BLOCK.findall(page)):
        place = package[name.removeprefix("promptad.")]
        chosen = re.search(r" members: \[(.*)\]", options)
        yield from members_of(place, chosen[1].split(", ") if chosen else None)


def members_of(place: "Object | Alias", chosen: list[str] | None = None) -> "Iterator[Object]":
    target: Object = place.final_target if place.is_alias else place  # type: ignore[union-attr, assignment]
    if not target.is_module:
        yield target
    if target.is_module or target.is_class:
        names = chosen or target.exports or [name for name in target.members if not name.startswith("_")]
        inside = [target.members[str(name)] for name in names]
        for member in inside:
            if chosen or target.exports or not member.is_alias:
                yield from members_of(member)


def unsaid(shown: "Object") -> list[str]:
    """What a docstring leaves out: arguments, where there are several, fields of a class, and what is raised."""
    said = "" if shown.docstring is None else shown.docstring.value
    if not said:
        return [] if shown.is_attribute else ["docstring"]
    wanted: list[str] = []
    if shown.is_class:
        wanted = fields_of(shown)  # type: ignore[arg-type]
    elif shown.is_function:
        wanted, of_class = arguments_of(shown), shown.parent  # type: ignore[arg-type]
        wanted += ["Raises"] if "raise InputError" in shown.source else []
        said += of_class.docstring.value if of_class is not None and of_class.docstring else ""
    return [name for name in wanted if not re.search(rf"\b{name}\b", said)]


def fields_of(shown: "Class") -> list[str]:
    if "__init__" in shown.members and "dataclass" not in shown.labels:
        return []  # its docstring describes the arguments of its constructor
    fields = [member for member in shown.members.values() if member.is_attribute and "property" not in member.labels]
    return [own.name for own in fields if not own.name.startswith("_")]


def arguments_of(shown: "Function") -> list[str]:
    names = [argument.name for argument in shown.parameters if argument.name not in ("self", "cls")]
    return names if len(names) > 1 else []


@needs_site
def test_all_that_is_shown_has_its_arguments_fields_and_errors_described() -> None:
    shown = list(shown_objects())
    assert len(shown) > 200
    lacking = {own.path: missing for own in shown if (missing := unsaid(own))}
    assert not lacking


@pytest.mark.slow
@pytest.mark.parametrize("page", ["index.md", "tutorial.md", "reference/errors.md", "reference/settings.md"])
def test_the_code_of_a_page_runs_and_prints_what_it_shows(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    blocks = RUN.findall((ROOT / "docs" / page).read_text(encoding="utf-8"))
    assert blocks
    for code, shown in blocks:
        printed = io.StringIO()
        with redirect_stdout(printed):
            exec(code, names)
        assert_alike(printed.getvalue(), shown)


def assert_alike(printed: str, shown: str) -> None:
    """Check that texts are the same but for the last digit of decimal numbers, which another machine may round so."""
    number = re.compile(r"\d+\.\d+")
    assert number.sub("#", printed) == number.sub("#", shown)
    for found, expected in zip(number.findall(printed), number.findall(shown), strict=True):
        step = 10.0 ** -len(expected.partition(".")[2])
        assert float(found) == pytest.approx(float(expected), abs=1.01 * step)


def test_every_command_that_is_shown_can_be_read() -> None:
    lines = [
        line
        for guide in GUIDES
        for block in re.findall(r"```bash\n(.*?)```", guide.read_text(encoding="utf-8"), re.DOTALL)
        for line in block.replace("\\\n", "").splitlines()  # a backslash at its end goes on with a line
        if line.startswith("promptad ")
    ]
    assert len(lines) > 30
    for line in lines:
        command, _ = parse(shlex.split(line.split(" > ")[0], comments=True)[1:])
        assert command in COMMANDS, line
