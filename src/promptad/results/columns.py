"""The measured columns of a row of results: what each is called, means and is read from."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Metric:
    """One metric."""

    column: str  # of the table of results
    field: str  # of `structures.Evaluation`
    title: str  # at the head of tables
    words: str  # what it is, for readers
    of_pixels: bool = False
    lower_is_better: bool = False


METRICS = (
    Metric(
        "i_roc",
        "image_auroc",
        "I-AUROC",
        "share of pairs of a good and a defective picture that the scores put in the right order",
    ),
    Metric("i_ap", "image_ap", "I-AP", "average precision of the scores"),
    Metric("i_f1", "image_f1_max", "I-F1", "best F1 over all thresholds, chosen on these very labels: an upper bound"),
    Metric(
        "recall_1",
        "recall_1",
        "recall @1%",
        "defective pictures that the detector rejects where 1 % of false alarms are asked for",
    ),
    Metric(
        "alarms_1",
        "false_alarms_1",
        "alarms @1%",
        "good pictures that it rejects where 1 % are asked for",
        lower_is_better=True,
    ),
    Metric("recall_5", "recall_5", "recall @5%", "as recall @1%, where 5 % of false alarms are asked for"),
    Metric(
        "alarms_5",
        "false_alarms_5",
        "alarms @5%",
        "good pictures that it rejects where 5 % are asked for",
        lower_is_better=True,
    ),
    Metric("p_roc", "pixel_auroc", "P-AUROC", "as I-AUROC, for the pixels of the maps", of_pixels=True),
    Metric("p_ap", "pixel_ap", "P-AP", "average precision of the pixels of the maps", of_pixels=True),
    Metric(
        "p_f1",
        "pixel_f1_max",
        "P-F1",
        "best F1 of the pixels over all thresholds, chosen on these very masks: an upper bound",
        of_pixels=True,
    ),
    Metric(
        "p_pro",
        "aupro",
        "AUPRO",
        "overlap of maps and defects, each defect counting alike, up to 30 % of false positive pixels",
        of_pixels=True,
    ),
    Metric("p_pro_5", "aupro_05", "AUPRO @5%", "as AUPRO, up to 5 % of false positive pixels", of_pixels=True),
    Metric(
        "seg_f1",
        "seg_f1",
        "SegF1",
        "F1 of the pixels above the detector's own threshold of maps, which no mask has chosen",
        of_pixels=True,
    ),
    Metric(
        "p_pimo",
        "aupimo",
        "AUPIMO",
        "recall of an image's defective pixels where 0.001 to 0.01 % of good pictures' pixels are false positives",
        of_pixels=True,
    ),
)
METRIC_TITLES = {metric.column: metric.title for metric in METRICS}
IMAGE_COLUMNS = tuple(metric.column for metric in METRICS if not metric.of_pixels)
PIXEL_COLUMNS = tuple(metric.column for metric in METRICS if metric.of_pixels)
