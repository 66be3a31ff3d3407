"""From options to what draws overlays."""

from promptad.cli.given import Arguments
from promptad.runtime.judge import Drawing


def find_drawing(given: Arguments) -> Drawing | None:
    """Return what draws an overlay, if overlays are asked for; matplotlib is loaded for nothing else."""
    if not given["overlays"]:
        return None
    from promptad.visualization.records import draw_record  # noqa: PLC0415 as above

    return draw_record
