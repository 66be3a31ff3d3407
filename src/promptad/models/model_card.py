"""What the model card of a detector tells."""

import html
import json
from typing import Any

from promptad.backbones.timm_vit import memory_weights_are_known
from promptad.backbones.weight_source import weights_are_known
from promptad.models.base import AnomalyDetector
from promptad.models.multi_prototype.detector import MultiPrototypeDetector
from promptad.settings import TEST_ORACLE, TINY_BACKBONE, BackboneSettings


def card_values(
    detector: AnomalyDetector, *, repo_id: str = "user/part", with_support_names: bool = False
) -> dict[str, Any]:
    """Return the values of the template `model_card.md`.

    Args:
        detector: a trained detector.
        repo_id: where it is loaded from: a name on the hub, or a folder.
        with_support_names: whether the names of the support images' files are published.
    """
    backbone, images = detector.settings.backbone.without_folders(), detector.settings.training.k_shot
    bundled = backbone.name == TINY_BACKBONE
    weights = backbone.pretrained if weights_are_known(backbone) else f"path/to/{backbone.pretrained}"
    return {
        "part": in_markdown(detector.class_name),
        "pictures": "1 good picture" if images == 1 else f"{images} good pictures",
        "source": in_python(repo_id),
        "weights_argument": ("" if bundled else f", weights={in_python(weights)}") + _memory_argument(backbone),
        "method": detector.settings.system,
        "memory": detector.settings.scoring.memory,
        "memory_backbone": in_markdown(backbone.memory_backbone),
        "backbone": in_markdown(backbone.name),
        "weights": in_markdown(backbone.pretrained),
        "weights_sha256": detector.backbone.weights_sha256,
        "bundled": bundled,
        "own_file": not weights_are_known(backbone),
        "by_test_labels": detector.settings.training.select == TEST_ORACLE,
        "threshold": None,
        "taught": _taught(detector),
        "findings": [in_markdown(finding) for finding in detector.findings()],
        "with_support_names": with_support_names,
        **_threshold(detector),
    }


def _memory_argument(backbone: BackboneSettings) -> str:
    """Return what `from_pretrained` is given for the weights of a memory backbone, if there is one."""
    if not backbone.memory_backbone:
        return ""
    known = memory_weights_are_known(backbone)
    weights = backbone.memory_pretrained if known else f"path/to/{backbone.memory_pretrained}"
    return f", memory_weights={in_python(weights)}"


def _taught(detector: AnomalyDetector) -> str:
    """Return what verdicts of people a detector was taught, in words; mostly nothing."""
    if not isinstance(detector, MultiPrototypeDetector) or detector.taught is None:
        return ""
    good, defective = int(detector.taught.is_good.sum()), len(detector.taught.defects)
    return f"verdicts of people on {good} good and {defective} defective pictures"


def _threshold(detector: AnomalyDetector) -> dict[str, str]:
    """Return what is known of a detector's threshold: nothing, for a method without one."""
    if not isinstance(detector, MultiPrototypeDetector) or detector.normal_scores is None:
        return {}
    sureness = "not known: it was trained by an older promptad"
    if (range_ := detector.false_alarm_range) is not None:
        sureness = f"as far as its pictures can tell, {100 * range_[0]:.3g} to {100 * range_[1]:.3g} % are likely"
    rate = f"{100 * detector.settings.scoring.false_alarm_rate:.3g} %"
    return {"threshold": f"{float(detector.thresholds.image):.4g}", "rate": rate, "sureness": sureness}


def in_markdown(text: str) -> str:
    r"""Return a text in one line, as Markdown shows it as it is, in a table too.

    >>> print(in_markdown("bolt | <M6>"))
    bolt \| &lt;M6&gt;
    """
    return html.escape(" ".join(text.split()), quote=False).replace("|", "\\|")


def in_python(text: str) -> str:
    """Return a text as a literal in double quotes."""
    return json.dumps(text, ensure_ascii=False)
