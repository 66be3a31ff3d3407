"""A graph as OpenVINO's IR: a file of its structure and one of its weights."""

import tempfile
from pathlib import Path

from promptad.export.base import Model, package
from promptad.runtime.metadata import KEY, ExportedText
from promptad.utils.files import whole_file


def write_openvino(model: Model, text: ExportedText, path: Path) -> tuple[Path, ...]:
    """Write an ONNX graph as an .xml file and the .bin file of its weights beside it; return both.

    Raises:
        InputError: the folder cannot be written to, or the extra openvino is not installed.
    """
    openvino = package("openvino", install="openvino")
    weights = path.with_suffix(".bin")
    with tempfile.TemporaryDirectory() as folder:
        source, plain = Path(folder, "graph.onnx"), Path(folder, path.name)
        source.write_bytes(model.SerializeToString())
        converted = openvino.Core().read_model(source)
        converted.set_rt_info(text.to_json(), [KEY])
        openvino.save_model(converted, plain, compress_to_fp16=False)
        for file in (weights, path):  # the structure last: without it the weights are no file of a detector
            with whole_file(file, "output") as temporary:
                temporary.write_bytes((plain.with_suffix(".bin") if file == weights else plain).read_bytes())
    return path, weights
