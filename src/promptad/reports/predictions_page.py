"""The page of predictions: images without labels."""

import numpy as np
from markupsafe import Markup

from promptad.reports.figures import histogram, prototype_figures
from promptad.reports.predictions_summary import Health, PredictionsGallery, PredictionsSummary
from promptad.reports.template import fill_template, flat, region_in_words
from promptad.runtime.predictions import ONE_IMAGE


def render_predictions_page(found: PredictionsSummary, gallery: PredictionsGallery, health: Health) -> str:
    """Return the page's text."""
    name = found.run.class_name
    return fill_template(
        "predictions_page.html",
        found=found,
        gallery=gallery,
        health=health,
        scores=score_figure(found),
        prototype_figures=prototype_figures(name, health.diagnostics) if health.diagnostics else [],
        settings=dict(flat(found.run.settings.to_dict())),
        one_image=ONE_IMAGE,
        region=region_in_words(found.run.settings.picture.region) if found.run.settings.picture.region else "",
    )


def score_figure(found: PredictionsSummary) -> Markup:
    """Draw a histogram of the scores of each kind of images; empty if none could be read."""
    if not found.readable:
        return Markup("")
    kinds = {"passed": found.passed, "unsure": found.unsure, "rejected": found.rejected}
    kinds = kinds if found.unsure else {name: own for name, own in kinds.items() if name != "unsure"}
    scores = {kind: np.array([line.score for line in lines]) for kind, lines in kinds.items()}
    return histogram(scores, f"{found.run.class_name}: histogram of scores", decides=True)
