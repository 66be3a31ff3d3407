"""Pages of the documentation site that are not in docs/: those of other folders, and the options of all commands.

mkdocs.yml names this file as a hook. Links in docs/ lead where they lead in a checkout, also out of docs/: here they
are turned to the pages of the site.
"""

import io
import os
import posixpath
import re
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout, suppress
from pathlib import Path
from unittest.mock import patch

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from promptad.cli.given import default_in_words
from promptad.cli.option import Command, Option
from promptad.cli.options import COMMANDS
from promptad.runtime.__main__ import main as runtime
from promptad.serve.__main__ import main as service

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
OUTSIDE = (
    *("CHANGELOG.md", "CONTRIBUTING.md", "tests/README.md", "src/promptad/backbones/tiny/model_card.md"),
    *("benchmarks/README.md", "benchmarks/cost_growth.png", "benchmarks/published.json", "benchmarks/uncued/card.md"),
    "examples/four_pictures.ipynb",
)
COMMAND_LINE = "reference/command_line.md"
LINK = re.compile(r"(?<=\]\()[^)\s#:]+")  # the file that a link leads to
WITHOUT_TORCH: tuple[tuple[str, Callable[[Sequence[str]], int], tuple[str, ...]], ...] = (
    ("python -m promptad.runtime predict", runtime, ("predict",)),
    ("python -m promptad.runtime watch", runtime, ("watch",)),
    ("python -m promptad.serve", service, ()),
)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages and pictures of other folders."""
    for name in OUTSIDE:
        files.append(File.generated(config, name, abs_src_path=str(ROOT / name)))
    return files


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    """Turn the links of a page to pages of the site, and add the options of all commands to theirs.

    What has no other page beside it needs no column of pages.
    """
    if page.is_homepage:
        page.meta["hide"] = ["navigation", "toc"]
    elif page.parent is None:
        page.meta["hide"] = ["navigation"]
    if page.file.src_uri == COMMAND_LINE:
        markdown += command_line()
    return LINK.sub(lambda link: site_link(page.file.src_uri, link[0]), markdown)


def site_link(page: str, link: str) -> str:
    """Return a link of a page, which leads to a file of the checkout, as one to a page of the site."""
    own = DOCS / page if (DOCS / page).exists() else ROOT / page
    target = Path(os.path.normpath(own.parent / link))
    if not target.is_file():
        return link  # of another site, or one that leads nowhere, as mkdocs will say
    place = target.relative_to(DOCS if target.is_relative_to(DOCS) else ROOT).as_posix()
    return posixpath.relpath(place, posixpath.dirname(page))


def command_line() -> str:
    """Return the sections of all commands with their options."""
    commands = (_command(name, command) for name, command in COMMANDS.items())
    without_torch = (_help(name, main, words) for name, main, words in WITHOUT_TORCH)
    return "\n".join(["", *commands, "## Without torch\n", *without_torch])


def _command(name: str, command: Command) -> str:
    head = [f"## promptad {name}", "", f"{command.purpose[0].upper()}{command.purpose[1:]}.", ""]
    examples = ["```bash", *command.examples, "```", ""]
    tables = [_table(title, options) for title, options in command.groups.items()]
    return "\n".join([*head, *examples, *tables])


def _table(title: str, options: Sequence[Option]) -> str:
    rows = [f"| {_flag(option)} | {_meaning(option)} |" for option in options]
    return "\n".join([f"| {title} | what it does |", "|---|---|", *rows, ""])


def _flag(option: Option) -> str:
    sets = f"<br><small>{option.setting}</small>" if option.setting else ""
    return ", ".join(f"`{flag}`" for flag in (option.flag, *option.aliases)) + sets


def _meaning(option: Option) -> str:
    """Return what an option does, with its default."""
    default = default_in_words(option)
    shown = f" (default: {default})" if default not in ("", "False") else ""
    text = option.help + shown + ("; may be given again" if option.several else "")
    return re.sub(r"([|<>*\[\]])", r"\\\1", text)


def _help(name: str, main: Callable[[Sequence[str]], int], words: Sequence[str]) -> str:
    """Return the section of a command of its own parser: its help as the terminal shows it."""
    shown = io.StringIO()
    with patch.dict(os.environ, COLUMNS="100"), redirect_stdout(shown), suppress(SystemExit):
        main([*words, "--help"])
    return f"### {name}\n\n```text\n{shown.getvalue().strip()}\n```\n"
