"""The page of a run: what was measured, class by class."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from promptad.reports.comparison.tables import (
    SIDES,
    VERDICT_HEADS,
    WARNING,
    cell,
    explanation,
    is_clear,
    line_name,
    measured_metrics,
    protocol,
    verdict_cells,
)
from promptad.reports.figures import (
    by_label,
    disturbed_figures,
    histogram,
    prototype_figures,
    prototype_rows,
    roc_figure,
)
from promptad.reports.gallery import Gallery
from promptad.reports.run_summary import ClassSummary, RunSummary
from promptad.reports.template import fill_template, flat
from promptad.results.disturbances import SHOWN, table_lines


@dataclass(frozen=True)
class Section:
    """One class on the page."""

    place: str  # its anchor, for links
    found: ClassSummary
    gallery: Gallery
    roc: Markup
    histogram: Markup
    prototypes: Sequence[Markup]
    prototype_rows: Sequence[tuple[str, ...]]
    disturbed_lines: Sequence[tuple[str, ...]]
    disturbed: Sequence[Markup]


def render_run_page(summary: RunSummary, galleries: Mapping[str, Gallery]) -> str:
    """Return the page's text; `galleries` are by class."""
    (block,) = summary.own.blocks
    return fill_template(
        "run_page.html",
        summary=summary,
        block=block,
        versus=summary.versus.blocks[0] if summary.versus else None,
        sections=[section(summary, found, galleries[found.name], n) for n, found in enumerate(summary.classes, 1)],
        pooled=pooled_figures(summary),
        first_looks=first_looks(summary),
        protocol=protocol_of(summary),
        disturbed_heads=("disturbance", "level", *SHOWN.values()),
        settings=saved_settings(galleries.values()),
        provenance=provenance(summary),
        measured=measured_metrics(summary.own),
        shared=measured_metrics(summary.versus) if summary.versus else [],
        sides=SIDES,
        verdict_heads=VERDICT_HEADS,
        verdict_cells=verdict_cells,
        is_clear=is_clear,
        line_name=line_name,
        cell=cell,
        explanation=explanation,
        warning=WARNING,
    )


def section(summary: RunSummary, found: ClassSummary, gallery: Gallery, number: int) -> Section:
    """Return the section of one class, the class with this number."""
    roc = bars = Markup("")
    if found.scored:
        roc = roc_figure(found.scored, f"{found.name}: ROC curve", decides=summary.decides)
        bars = histogram(by_label(found.images), f"{found.name}: histogram of scores", decides=summary.decides)
    drawn, rows = [], []
    if found.diagnostics:
        drawn, rows = prototype_figures(found.name, found.diagnostics), prototype_rows(found.diagnostics)
    lines, curves = [], []
    if found.disturbed:
        measured = found.disturbed.rows
        lines, curves = table_lines(measured), disturbed_figures(found.name, measured)
    return Section(f"class-{number}", found, gallery, roc, bars, drawn, rows, lines, curves)


def pooled_figures(summary: RunSummary) -> list[Markup]:
    """Draw the figures of all classes together, if there are several and their scores have a common scale."""
    scored = [found for found in summary.classes if found.scored]
    if len(scored) < 2 or not summary.decides:
        return []
    seeds = sorted({seed for found in scored for seed in found.scored})
    pools = {seed: [one for found in scored for one in found.scored.get(seed, ())] for seed in seeds}
    everything = [one for pool in pools.values() for one in pool]
    return [
        roc_figure(pools, "all classes: ROC curve", decides=True),
        histogram(by_label(everything), "all classes: histogram of scores", decides=True),
    ]


def first_looks(summary: RunSummary) -> list[str]:
    """Return what a reader should look at first, in sentences."""
    sentences = []
    (block,) = summary.own.blocks
    ranked = sorted(
        (line for line in block.classes if "i_roc" in line.pairs), key=lambda line: line.pairs["i_roc"].ours.mean
    )
    if len(ranked) > 1:
        low, high = ranked[0], ranked[-1]
        sentences.append(
            f"Hardest class: {low.name}, image AUROC {cell(low.pairs['i_roc'], 'ours')} %; easiest: {high.name}, "
            f"{cell(high.pairs['i_roc'], 'ours')} %."
        )
    if unhealthy := [found.name for found in summary.diagnosed if not found.healthy]:
        sentences.append(f"Prototypes that are not healthy: {', '.join(unhealthy)}; the advice is with the class.")
    if unmeasured := [found.name for found in summary.classes if found.line is None]:
        sentences.append(f"Trained but not measured, for want of test pictures: {', '.join(unmeasured)}.")
    return sentences


def protocol_of(summary: RunSummary) -> dict[str, str]:
    """Return the protocol of the numbers, by name."""
    entries = protocol(summary.versus or summary.own)
    if summary.versus is None:
        del entries["baseline"]
    return entries


def provenance(summary: RunSummary) -> list[tuple[str, ...]]:
    """Return what each result is of: class, system, seed, hashes and version of its row; "-" where it is not known."""
    return [
        tuple(
            cell or "-"
            for cell in (row.class_name, row.system, str(row.seed), row.support, row.data, row.run, row.package)
        )
        for row in summary.rows
    ]


def saved_settings(galleries: Iterable[Gallery]) -> dict[str, str]:
    """Return the settings of the first detector that could be loaded, by their paths."""
    known = next((gallery.settings for gallery in galleries if gallery.settings), {})
    return dict(flat(known))
