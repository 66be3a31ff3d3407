"""Export the head's tensors as a safetensors file, which other languages and frameworks read."""

import json
from dataclasses import asdict
from pathlib import Path

from safetensors.torch import save

from promptad.export.base import Exported, ExportOptions
from promptad.models.base import AnomalyDetector
from promptad.utils.files import whole_file


def write_safetensors(detector: AnomalyDetector, path: Path, _: ExportOptions) -> Exported:
    """Write all buffers of a detector's head, such as `prototypes.normal` [K, D], `calibration.map_mean` [M].

    The file's metadata hold, as JSON, `settings`, `subject` (data set, class, support images) and `weights_sha256` of
    the backbone that the features must come from.

    Raises:
        InputError: the folder cannot be written to.
    """
    state = detector.head.state_dict()
    tensors = {name.lstrip("_"): tensor.cpu().clone() for name, tensor in state.items()}  # some share memory
    metadata = {
        "settings": json.dumps(detector.settings.to_dict()),
        "subject": json.dumps(asdict(detector.subject)),
        "weights_sha256": detector.backbone.weights_sha256,
    }
    with whole_file(path, "output") as temporary:
        temporary.write_bytes(save(tensors, metadata))  # written by the package, only its owner could read it
    return Exported((path,))
