"""The file of verdicts that the page of predictions downloads: pictures that people called good or defective."""

from dataclasses import dataclass
from pathlib import Path

from promptad.errors import InputError
from promptad.structures import DEFECTIVE, GOOD
from promptad.utils.json_text import parse_json

FORMAT = "promptad verdicts"  # named in the file


@dataclass(frozen=True)
class GivenVerdicts:
    """The pictures of verdicts, and the detector that had judged them, if it is known."""

    good: tuple[Path, ...]
    defect: tuple[Path, ...]
    detector_sha256: str = ""  # of its file, then


def read_verdicts(file: Path) -> GivenVerdicts:
    """Read a file of verdicts.

    Raises:
        InputError: it is not there, or no such file.
    """
    try:
        content = parse_json(file.read_text(encoding="utf-8"))
        found: dict[str, list[Path]] = {GOOD: [], DEFECTIVE: []}
        for own in {FORMAT: content["verdicts"]}[content["format"]]:
            found[own["verdict"]].append(Path(own["path"]))
        return GivenVerdicts(tuple(found[GOOD]), tuple(found[DEFECTIVE]), str(content["detector_sha256"]))
    except OSError as error:
        raise InputError(f"`verdicts` {file} cannot be read ({error.strerror}): check the path") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"`verdicts` {file} is no file of verdicts: download it from the page of promptad report --predictions"
        ) from error
