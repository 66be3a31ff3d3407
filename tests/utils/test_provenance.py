"""What a result says of the promptad that made it: in a checkout, where it was installed from one, and elsewhere."""

import json
import subprocess
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest

from promptad.utils import provenance
from promptad.utils.provenance import package_commit, package_version


class Installed:
    """An installed distribution that tells where it came from."""

    def __init__(self, origin: object) -> None:
        self.origin = origin

    def read_text(self, name: str) -> str | None:
        assert name == "direct_url.json"
        return None if self.origin is None else json.dumps(self.origin)


@pytest.fixture(autouse=True)
def asked_anew() -> Iterator[None]:
    for asked in (package_commit, package_version):
        asked.cache_clear()
    yield
    for asked in (package_commit, package_version):
        asked.cache_clear()


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package in a folder of its own, from which it is run."""
    folder = tmp_path / "project" / "src" / "promptad"
    folder.mkdir(parents=True)
    (folder / "code.py").write_text("1\n")
    monkeypatch.setattr(provenance, "PACKAGE", folder)
    monkeypatch.setattr(provenance, "distribution", lambda _: Installed(None))
    return folder


def commit(project: Path) -> str:
    """Commit everything in a new repository, and return the commit."""
    git = ("git", "-C", str(project), "-c", "user.name=a", "-c", "user.email=a@b")
    for words in (("init", "-q"), ("add", "-A"), ("commit", "-qm", "one")):
        subprocess.run([*git, *words], check=True)
    return subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()


def test_a_checkout_is_known_by_its_commit_and_by_changes(package: Path) -> None:
    made = commit(package.parents[1])
    assert package_commit() == made[:12]
    package_commit.cache_clear()
    (package.parents[1] / "notes.txt").write_text("no part of the package")
    assert package_commit() == made[:12]
    package_commit.cache_clear()
    (package / "code.py").write_text("2\n")
    assert package_commit() == f"{made[:12]}+"


def test_a_repository_around_the_environment_is_not_ours(package: Path) -> None:
    commit(package.parents[2])
    assert package_commit() == ""


def test_an_installed_package_knows_its_commit(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert package.exists()
    origin = {"url": "https://example.org/promptad.git", "vcs_info": {"vcs": "git", "commit_id": "c0ffee" * 7}}
    monkeypatch.setattr(provenance, "distribution", lambda _: Installed(origin))
    assert package_commit() == "c0ffeec0ffee"


@pytest.mark.parametrize("origin", [None, {}, [], {"vcs_info": {}}, {"dir_info": {"editable": True}}])
def test_an_unknown_commit_is_empty(package: Path, monkeypatch: pytest.MonkeyPatch, origin: object) -> None:
    assert package.exists()
    monkeypatch.setattr(provenance, "distribution", lambda _: Installed(origin))
    assert package_commit() == ""


def test_no_git_is_no_error(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commit(package.parents[1])
    monkeypatch.setenv("PATH", "")
    assert package_commit() == ""


def test_a_state_that_git_cannot_tell_counts_as_changed(package: Path) -> None:
    made = commit(package.parents[1])
    (package.parents[1] / ".git" / "index").write_bytes(b"no index")
    assert package_commit() == f"{made[:12]}+"


def test_the_version_is_that_of_the_checkout_where_the_package_runs_from_one(package: Path) -> None:
    commit(package.parents[1])
    (package.parents[1] / "pyproject.toml").write_text('[project]\nversion = "9.9.9"\n')
    assert package_version() == "9.9.9"


def test_the_version_is_that_of_the_installed_package_elsewhere(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert package.exists()
    monkeypatch.undo()
    assert package_version() == version("promptad")

    def missing(_: str) -> None:
        raise PackageNotFoundError

    monkeypatch.setattr(provenance, "PACKAGE", package)
    monkeypatch.setattr(provenance, "distribution", missing)
    package_version.cache_clear()
    assert package_version() == ""
