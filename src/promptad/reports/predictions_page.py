"""The page of predictions: images without labels."""

import numpy as np
from markupsafe import Markup

from promptad.reports.figures import histogram, prototype_figures, prototype_rows, running_figure
from promptad.reports.predictions_summary import Health, PredictionsGallery, PredictionsSummary
from promptad.reports.template import fill_template, flat, region_in_words
from promptad.runtime.drift import FAR, LEAST, WINDOW, Drift, follow
from promptad.runtime.predictions import ONE_IMAGE
from promptad.structures import NO_PLACE

WORDS = (
    f"Looked at are the last {WINDOW} pictures together, from {LEAST} on: how many are rejected, how far they are from"
    " those learned from, how light and how sharp they are."
)


def render_predictions_page(found: PredictionsSummary, gallery: PredictionsGallery, health: Health) -> str:
    """Return the page's text."""
    return fill_predictions(found, gallery, health, "base.html")


def fill_predictions(found: PredictionsSummary, gallery: PredictionsGallery, health: Health, layout: str) -> str:
    """Return the page's text in a layout, which may be a part of another page."""
    name = found.run.class_name
    return fill_template(
        "predictions_page.html",
        layout=layout,
        found=found,
        changes=changes_of(found),
        over_time=time_figures(found),
        changes_words=WORDS,
        gallery=gallery,
        health=health,
        scores=score_figure(found),
        prototype_figures=prototype_figures(name, health.diagnostics) if health.diagnostics else [],
        prototype_rows=prototype_rows(health.diagnostics) if health.diagnostics else [],
        settings=dict(flat(found.run.settings.to_dict())),
        one_image=ONE_IMAGE,
        no_place=NO_PLACE,
        region=region_in_words(found.run.settings.picture.region) if found.run.settings.picture.region else "",
    )


def changes_of(found: PredictionsSummary) -> list[str]:
    """Return a line for each time that the pictures have changed."""
    return follow(Drift(found.run.looks), found.records)


def time_figures(found: PredictionsSummary) -> list[tuple[Markup, str]]:
    """Draw the running share of rejected pictures, distance and brightness, with captions; nothing of few pictures."""
    drift, name = Drift(found.run.looks), found.run.class_name
    shares: list[float | None] = []
    distances: list[float | None] = []
    lights: list[float | None] = []
    for record in (record for record in found.records if not record.error):
        drift.add(record)
        shares.append(drift.rejected)
        distances.append(drift.distance)
        lights.append(drift.brightness)
    figures = []
    if any(share is not None for share in shares):
        single = [float(record.is_anomalous) for record in found.records if not record.error]
        figure = running_figure(single, shares, f"{name}: share of rejected pictures in their order", "rejected", top=1)
        figures.append((figure, f"Share of rejected pictures, of the last {WINDOW}; a dot is a picture"))
    if any(distance is not None for distance in distances):
        known = [record.distance for record in found.records if not record.error]
        highest = max(distance for distance in distances if distance is not None)
        top = max(1.5 * FAR, 1.3 * highest)
        words = f"{name}: distance in the order of pictures"
        figure = running_figure(known, distances, words, "distance", top=top, limit=FAR)
        caption = (
            f"Distance to the pictures learned from, middle of the last {WINDOW}. 1 is as far as a good one may be"
        )
        figures.append((figure, f"{caption}, above the line one is far, as many defective ones are"))
    if any(light is not None for light in lights):
        of_each = [
            None if record.look is None else record.look.brightness for record in found.records if not record.error
        ]
        figure = running_figure(of_each, lights, f"{name}: brightness in the order of pictures", "brightness", top=255)
        figures.append((figure, f"Brightness, mean grey level from 0 to 255, middle of the last {WINDOW}"))
    return figures


def score_figure(found: PredictionsSummary) -> Markup:
    """Draw a histogram of the scores of each kind of images; empty if none could be read."""
    if not found.readable:
        return Markup("")
    kinds = {"passed": found.passed, "unsure": found.unsure, "rejected": found.rejected}
    kinds = kinds if found.unsure else {name: own for name, own in kinds.items() if name != "unsure"}
    scores = {kind: np.array([line.score for line in lines]) for kind, lines in kinds.items()}
    return histogram(scores, f"{found.run.class_name}: histogram of scores", decides=True)
