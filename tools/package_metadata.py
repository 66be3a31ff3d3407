"""What the build adds to the package's metadata: its links, and the README with links that lead there from anywhere."""

import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

LINK = re.compile(r"(!?)\[([^\]]*)\]\((?![a-z]+:|#)([^)\s]+)\)")  # to a file of the checkout


class PackageMetadata(MetadataHookInterface):
    """The metadata that follow from the repository's address, which pyproject.toml names once."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Add the links of the project and its README."""
        repository, branch = self.config["repository"], self.config["branch"]
        readme = Path(self.root, "README.md").read_text(encoding="utf-8")
        metadata["readme"] = {"content-type": "text/markdown", "text": absolute_links(readme, repository, branch)}
        metadata["urls"] = {
            "Source": repository,
            "Documentation": f"{repository}/tree/{branch}/docs",
            "Changelog": f"{repository}/blob/{branch}/CHANGELOG.md",
            "Issues": f"{repository}/issues",
        }


def absolute_links(text: str, repository: str, branch: str) -> str:
    """Return a Markdown text whose links and pictures lead to files of a repository instead of files beside it.

    >>> absolute_links("![a part](docs/a.png) [more](docs/more.md#first)", "https://x.org/r", "main")
    '![a part](https://x.org/r/raw/main/docs/a.png) [more](https://x.org/r/blob/main/docs/more.md#first)'
    """

    def absolute(link: re.Match[str]) -> str:
        picture, words, place = link.groups()
        return f"{picture}[{words}]({repository}/{'raw' if picture else 'blob'}/{branch}/{place})"

    return LINK.sub(absolute, text)
