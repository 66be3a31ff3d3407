"""The file of a page: what is replaced, and said, and what is not."""

import os
from datetime import datetime
from pathlib import Path

import pytest
from helpers import Trained, assert_refused, call, refusal

from promptad.reports.template import check_page_file, fill_template, write_page

OURS = fill_template("base.html")
THEIRS = "<!DOCTYPE html><title>my own page</title><p>About promptad</p>" + 5000 * "<p>text</p>"


def test_a_page_of_ours_is_replaced_and_said(tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    assert write_page(OURS, page) == ""
    time = datetime(2026, 1, 2, 3, 4).timestamp()
    os.utime(page, (time, time))
    assert write_page(OURS.replace("promptad", "promptad again"), page) == "replaced: report.html of 2026-01-02 03:04"
    assert "promptad again" in page.read_text()


def test_a_page_of_an_older_version_is_known_by_its_end(tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    head, generator, rest = OURS.partition('<meta name="generator"')
    assert generator
    page.write_text(head + rest.partition(">")[2].replace("<main>", "<main>" + 5000 * "<p>text</p>"))
    assert write_page(OURS, page).startswith("replaced: report.html of ")


def test_an_empty_file_is_filled(tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    page.touch()
    write_page(OURS, page)
    assert page.read_text() == OURS


@pytest.mark.parametrize("content", [THEIRS.encode(), b"\xff\x00", b" "])
def test_what_is_no_page_of_ours_is_kept(tmp_path: Path, content: bytes) -> None:
    page = tmp_path / "index.html"
    page.write_bytes(content)
    for refused in (refusal(check_page_file, page), refusal(write_page, OURS, page)):
        assert refused.startswith(f"`output` {page} is there, and no page of promptad: name another file")
    assert page.read_bytes() == content


def test_the_command_says_what_it_replaces_and_refuses_before_it_works(trained: Trained, tmp_path: Path) -> None:
    command = ("report", "--dataset", "demo", "--root-dir", trained.results, "--output")
    assert "replaced" not in call(*command, tmp_path / "report.html").output
    again = call(*command, tmp_path / "report.html")
    assert (again.code, again.output.count("replaced: report.html of ")) == (0, 1)
    (tmp_path / "index.html").write_text(THEIRS)
    wrong = ("report", "--dataset", "demo", "--root-dir", tmp_path / "nothing", "--output", tmp_path / "index.html")
    assert_refused(call(*wrong), "--output", "index.html is there")
