"""Which promptad computed something: its version, and the commit that it was installed from or is checked out at."""

import json
import shutil
import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

PACKAGE = Path(__file__).parents[1]
COMMIT_DIGITS = 12
CHANGED = "+"  # behind a commit, where files of the package differ from it
GIT_TIMEOUT = 20  # seconds; it takes milliseconds


def package_version() -> str:
    """Return the version of the installed package; empty if it is not installed."""
    try:
        return distribution("promptad").version
    except PackageNotFoundError:
        return ""


@cache
def package_commit() -> str:
    """Return the first digits of the package's commit; empty if it is not known."""
    return _checked_out_commit() or _installed_commit()


def _checked_out_commit() -> str:
    """Return the commit of the checkout that the package is run from, if it is."""
    if not (PACKAGE.parents[1] / ".git").exists():  # a repository above may be of something else
        return ""
    return _git("rev-parse", "HEAD")[:COMMIT_DIGITS] + CHANGED * bool(_git("status", "-s", "."))


def _installed_commit() -> str:
    """Return the commit that the package was installed from (PEP 610), if it was installed from a repository."""
    try:
        origin = json.loads(distribution("promptad").read_text("direct_url.json") or "{}")
        return str(origin["vcs_info"]["commit_id"])[:COMMIT_DIGITS]
    except (PackageNotFoundError, OSError, ValueError, KeyError, TypeError):
        return ""


def _git(*words: str) -> str:
    """Return what git answers in the package's folder; empty if it does not."""
    git = shutil.which("git")
    if git is None:
        return ""
    try:
        answer = subprocess.run(
            [git, "-C", str(PACKAGE), *words], capture_output=True, text=True, timeout=GIT_TIMEOUT, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return answer.stdout.strip()
