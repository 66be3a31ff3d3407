"""The figures of a report: ROC curve, histogram of scores, prototypes, as SVG that takes the page's own colours."""

import re
from collections.abc import Callable, Mapping, Sequence
from io import StringIO
from typing import Any

import matplotlib as mpl
import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from sklearn.metrics import roc_curve

from promptad.results.disturbances import Row, curves
from promptad.results.scores import ScoredImage
from promptad.structures import SCORE_THRESHOLD, prototype_names
from promptad.utils.numbers import decimal
from promptad.visualization.disturbances import BROWN, Curves, draw_curves
from promptad.visualization.figures import (
    BLUE,
    GREEN,
    GREY,
    INK,
    ORANGE,
    RULE,
    plain_frame,
)
from promptad.visualization.prototypes import draw_abnormal_usage, draw_normal_usage, draw_separation

SIZE, NAMED_SIZE = (4.4, 3.1), (5.6, 3.1)  # inches; the second has room for names beside the panel
BINS = 25  # of scores from 0 to 1
# Colours become the page's, so that a figure reads in light and in dark; text stays text, in the page's font.
INKS = {
    INK: "currentColor",
    BLUE: "var(--blue)",
    ORANGE: "var(--orange)",
    GREEN: "var(--green)",
    GREY: "var(--grey)",
    BROWN: "var(--brown)",
    RULE: "var(--rule)",
}
STYLE: dict[str, Any] = {
    "svg.fonttype": "none",
    **dict.fromkeys(("axes.edgecolor", "axes.labelcolor", "text.color", "legend.labelcolor"), INK),
}
NO_METADATA = dict.fromkeys(("Creator", "Date", "Format", "Type"))


def roc_figure(scored: Mapping[int, Sequence[ScoredImage]], words: str, *, decides: bool) -> Markup:
    """Draw the ROC curve of each seed and, if the system `decides`, the threshold on it."""

    def draw(axes: Axes) -> None:
        axes.plot([0, 1], [0, 1], color=GREY, lw=1, ls=":", label="chance")
        for number, images in enumerate(scored.values()):
            scores, labels = _scores(images), _labels(images)
            axes.plot(*roc_curve(labels, scores)[:2], color=BLUE, lw=1.6, label=None if number else "ROC")
            if decides:
                above = scores > SCORE_THRESHOLD
                place = above[~labels].mean(), above[labels].mean()
                axes.plot(*place, "o", ms=6, color=ORANGE, clip_on=False, label=None if number else "threshold")
        axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
        axes.set(xlabel="false alarms, share of good pictures", ylabel="found, share of defective ones")
        axes.legend(loc="lower right", frameon=False, fontsize=9)

    return _figure(draw, words)


def histogram(scores: Mapping[str, np.ndarray], words: str, *, decides: bool) -> Markup:
    """Draw a histogram of the scores of two or three kinds of images and, if the system `decides`, the threshold.

    `scores` are by the name of the kind; the kind that should pass comes first, the one that should not last.
    """

    def draw(axes: Axes) -> None:
        bins, colours = np.linspace(0, 1, BINS + 1).tolist(), [BLUE, *[GREY] * (len(scores) - 2), ORANGE]
        axes.hist(list(scores.values()), bins, stacked=True, color=colours, label=list(scores), rwidth=0.86)
        if decides:
            axes.axvline(SCORE_THRESHOLD, color=INK, lw=1.4, ls="--", label="threshold")
        axes.set(xlim=(0, 1), xlabel="score", ylabel="pictures")
        axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=4, frameon=False, fontsize=9)

    return _figure(draw, words)


def running_figure(
    single: Sequence[float | None],
    running: Sequence[float | None],
    words: str,
    name: str,
    *,
    top: float,
    limit: float | None = None,
) -> Markup:
    """Draw a value of each picture in their order, and as it runs over the last ones; None where it is not known.

    Values above `top` are left out.
    """
    numbers = np.arange(1, len(single) + 1)
    own, smooth = (np.array([np.nan if one is None else one for one in of]) for of in (single, running))

    def draw(axes: Axes) -> None:
        axes.plot(numbers, own, ".", ms=3 if len(single) > 100 else 6, color=GREY, alpha=0.6, label="one picture")
        alone = "o" if np.isfinite(smooth).sum() == 1 else None  # of one value there is no line
        axes.plot(numbers, smooth, color=BLUE, lw=1.8, marker=alone, ms=6, label="the last ones")
        if limit is not None:
            axes.axhline(limit, color=INK, lw=1.4, ls="--", label="limit")
        axes.set(xlabel="pictures, in their order", ylabel=name)
        axes.set(xlim=(0.5, len(single) + 0.5), ylim=(-0.03 * top, 1.03 * top))  # no dot is cut at an edge
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=4, frameon=False, fontsize=9)

    return _figure(draw, words)


def by_label(images: Sequence[ScoredImage]) -> dict[str, np.ndarray]:
    """Return the scores of normal and of anomalous images."""
    scores, labels = _scores(images), _labels(images)
    return {"good": scores[~labels], "defective": scores[labels]}


def prototype_figures(name: str, diagnostics: Mapping[str, Any]) -> list[Markup]:
    """Draw the usage of normal and of abnormal prototypes, and the cosines of these to the mean normal one."""
    normal, abnormal, cosines = (
        diagnostics[key]
        for key in ("normal_prototype_frequencies", "abnormal_prototype_frequencies", "abnormal_to_mean_normal")
    )
    of_normal, of_abnormal = (prototype_names(diagnostics, side) for side in ("normal", "abnormal"))
    verdicts, size = diagnostics["verdicts"], NAMED_SIZE if of_abnormal else SIZE
    panels: dict[str, Callable[[Axes], None]] = {
        "usage, normal": lambda axes: draw_normal_usage(axes, normal, verdicts, of_normal),
        "usage, abnormal": lambda axes: draw_abnormal_usage(axes, abnormal, of_abnormal),
        "cosines to the mean normal prototype": lambda axes: draw_separation(axes, cosines, of_abnormal),
    }
    return [_figure(draw, f"{name}: {words}", size) for words, draw in panels.items()]


def prototype_rows(diagnostics: Mapping[str, Any]) -> list[tuple[str, str, str, str]]:
    """Return of each prototype its name, what it is nearest to with the cosine, and its share of patches.

    There are none in diagnostics of an older version.
    """
    return [
        (f"{side} {number}", ", ".join(name["words"]), decimal(name["cosine"]), f"{share:.0%}")
        for side in ("normal", "abnormal")
        for number, (name, share) in enumerate(
            zip(
                diagnostics.get("prototype_words", {}).get(side, ()),
                diagnostics[f"{side}_prototype_frequencies"],
                strict=False,
            ),
            1,
        )
    ]


def disturbed_figures(name: str, rows: Sequence[Row]) -> list[Markup]:
    """Draw how each measure of a detector moves with the strength of each disturbance."""

    def panel(measure: str, moved: Curves) -> Callable[[Axes], None]:
        def draw(axes: Axes) -> None:
            draw_curves(axes, moved)
            axes.set(xlabel="strength", ylabel=f"{measure}, in %")
            axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=len(moved), frameon=False, fontsize=9)

        return draw

    words = f"{name}: {{}} on disturbed pictures"
    return [_figure(panel(measure, moved), words.format(measure)) for measure, moved in curves(rows).items()]


def _figure(draw: Callable[[Axes], None], words: str, size: tuple[float, float] = SIZE) -> Markup:
    """Draw one panel as an SVG element; `words` is the alt text."""
    written = StringIO()
    style: Any = {**STYLE, "svg.hashsalt": words}  # so that names within two figures differ
    with mpl.rc_context(style):
        figure = Figure(size, layout="constrained")
        axes = figure.add_subplot()
        draw(axes)
        plain_frame(axes)
        axes.set_facecolor("none")
        figure.savefig(written, format="svg", transparent=True, metadata=NO_METADATA)
    element = written.getvalue()[written.getvalue().index("<svg") :]
    for colour, own in INKS.items():
        element = element.replace(colour.lower(), own)
    element = re.sub(r'<g id="[^"]*"', "<g", element)  # ids that repeat in every figure
    element = re.sub(r' (width|height)="[\d.]+pt"', "", element, count=2)
    return Markup(element.replace("<svg", f'<svg role="img" aria-label="{Markup.escape(words)}"', 1))


def _scores(images: Sequence[ScoredImage]) -> np.ndarray:
    return np.array([one.score for one in images])


def _labels(images: Sequence[ScoredImage]) -> np.ndarray:
    return np.array([one.image.is_anomalous for one in images])
