"""The export formats by file suffix."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from promptad.errors import InputError
from promptad.export.base import FLOAT32, Exported, ExportOptions
from promptad.export.detector_graphs import GraphFormat, export_graphs
from promptad.export.onnx import write_onnx
from promptad.export.openvino import write_openvino
from promptad.export.safetensors_file import write_safetensors
from promptad.models.base import AnomalyDetector
from promptad.runtime.engines import ONNXRUNTIME, OPENVINO

ONNX = GraphFormat(".onnx", ONNXRUNTIME, write_onnx)
OPENVINO_IR = GraphFormat(".xml", OPENVINO, write_openvino)

# To add an export format, add a line here, and its name in `formats.SUFFIXES`.
EXPORTERS: dict[str, Callable[[AnomalyDetector, Path, ExportOptions], Exported]] = {
    ".onnx": partial(export_graphs, kind=ONNX),
    ".xml": partial(export_graphs, kind=OPENVINO_IR),
    ".safetensors": write_safetensors,
}


def export(detector: AnomalyDetector, path: Path, options: ExportOptions | None = None) -> Exported:
    """Write a detector in the format of the path's suffix.

    Raises:
        InputError: an unknown suffix, the folder cannot be written to, or as the format's exporter.
    """
    if path.suffix not in EXPORTERS:
        raise InputError(f"cannot export to {str(path)!r}: end its name in {' or '.join(EXPORTERS)}")
    options = options or ExportOptions()
    if path.suffix == ".safetensors" and (options.precision != FLOAT32 or options.tower is not None):
        raise InputError(f"{path} holds a head alone, in float32: leave out `precision` and `tower`")
    return EXPORTERS[path.suffix](detector, path, options)
