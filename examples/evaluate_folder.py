"""Train and evaluate a part in MVTec AD's layout: metrics, and the health of the prototypes.

python examples/evaluate_folder.py FOLDER NAME [BACKBONE]

FOLDER holds train/good/, test/good/, test/<defect>/ and ground_truth/<defect>/, NAME is what the part is called, and
BACKBONE a CLIP of open_clip (downloaded) or "tiny". Test labels are used to measure, after everything is learned.
"""

import sys
from pathlib import Path

from promptad import PromptAD
from promptad.data.datasets import read_class
from promptad.data.few_shot import choose_support
from promptad.engine.evaluate import diagnostics_of, evaluate_detector
from promptad.evaluation.evaluator import read_test_split

K_SHOT, SEED = 2, 111


def main(folder: Path, name: str, backbone: str | None = None) -> None:
    """Choose support images, fit, evaluate and diagnose."""
    dataset = read_class("mvtec", folder.parent, folder.name)
    support = choose_support(dataset.normal, K_SHOT, SEED)
    detector = PromptAD(name, backbone=backbone).fit(support).detector
    split = read_test_split(detector.backbone, dataset.test, detector.settings.scoring.resolution, batch_size=32)

    record = evaluate_detector(detector, split)
    for metric, value in vars(record.evaluation).items():
        print(f"{metric}: {'no masks' if value is None else f'{100 * value:.1f} %'}")
    diagnostics = diagnostics_of(detector, split.features)
    assert diagnostics is not None
    for verdict in diagnostics["verdicts"]:
        print(f"{verdict['name']}: {'healthy' if verdict['healthy'] else verdict['advice']}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
