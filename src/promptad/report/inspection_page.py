"""The page of an inspection: pictures judged without labels."""

import numpy as np
from markupsafe import Markup

from promptad.report.figures import histogram, prototype_figures
from promptad.report.inspected import Health, Inspected, InspectedGallery
from promptad.report.template import fill_template, flat
from promptad.saved_predictions import ONE_PICTURE


def render_inspection(found: Inspected, gallery: InspectedGallery, health: Health) -> str:
    """Return the page's text."""
    name = found.run.class_name
    return fill_template(
        "inspection.html",
        found=found,
        gallery=gallery,
        health=health,
        scores=score_figure(found),
        prototype_figures=prototype_figures(name, health.diagnostics) if health.diagnostics else [],
        settings=dict(flat(found.run.settings.to_dict())),
        one_picture=ONE_PICTURE,
    )


def score_figure(found: Inspected) -> Markup:
    """Draw how many pictures passed and were rejected with which score; nothing where none could be read."""
    if not found.judged:
        return Markup("")
    kinds = {"passed": found.passed, "rejected": found.rejected}
    scores = {kind: np.array([line.score for line in lines]) for kind, lines in kinds.items()}
    return histogram(scores, f"{found.run.class_name}: histogram of scores", decides=True)
