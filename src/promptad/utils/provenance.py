"""Which promptad computed something: its version, and the commit that it was installed from or is checked out at."""

import json
import shutil
import subprocess
import tomllib
from contextlib import suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

PACKAGE = Path(__file__).parents[1]
COMMIT_DIGITS = 12
CHANGED = "+"  # behind a commit, where files of the package differ from it
GIT_TIMEOUT = 20  # seconds; it takes milliseconds


@cache
def package_version() -> str:
    """Return the version of the package that runs: of its checkout, or as it is installed; empty if neither tells."""
    with suppress(OSError, ValueError, KeyError):
        if project := _checkout():
            return str(tomllib.loads((project / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"])
    try:
        return distribution("promptad").version
    except PackageNotFoundError:
        return ""


@cache
def package_commit() -> str:
    """Return the first digits of the package's commit; empty if it is not known."""
    return _checked_out_commit() or _installed_commit()


def _checkout() -> Path | None:
    """Return the folder of the repository that the package is run from, if it is; one above is of something else."""
    project = PACKAGE.parents[1]
    return project if (project / ".git").exists() else None


def _checked_out_commit() -> str:
    """Return the commit of the checkout that the package is run from, if it is."""
    if not _checkout() or not (commit := _git("rev-parse", "HEAD")):
        return ""
    changes = _git("status", "-s", ".")
    return commit[:COMMIT_DIGITS] + CHANGED * (changes is None or changes != "")


def _installed_commit() -> str:
    """Return the commit that the package was installed from (PEP 610), if it was installed from a repository."""
    try:
        origin = json.loads(distribution("promptad").read_text("direct_url.json") or "{}")
        return str(origin["vcs_info"]["commit_id"])[:COMMIT_DIGITS]
    except (PackageNotFoundError, OSError, ValueError, KeyError, TypeError):
        return ""


def _git(*words: str) -> str | None:
    """Return what git answers in the package's folder; None if it does not."""
    git = shutil.which("git")
    if git is None:
        return None
    try:
        answer = subprocess.run(
            [git, "-C", str(PACKAGE), *words], capture_output=True, text=True, timeout=GIT_TIMEOUT, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip()
