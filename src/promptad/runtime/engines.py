"""The engines that run an exported graph on a CPU: onnxruntime and OpenVINO, each imported when it is asked for."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, TypeAlias
from xml.etree import ElementTree

import numpy as np

from promptad.errors import InputError, check_choice, not_installed
from promptad.runtime.metadata import CURE, KEY

TORCH = "torch"  # the engine of checkpoints, which is none of those below

ONNXRUNTIME, OPENVINO = "onnxruntime", "openvino"
SUFFIXES = {".onnx": ONNXRUNTIME, ".xml": OPENVINO}  # of files, with their usual engine
OPENVINO_PRECISIONS = {"float32": "f32", "bfloat16": "bf16"}  # left alone, it takes bf16 where a processor has it


Shapes: TypeAlias = Mapping[str, tuple[int | None, ...]]  # of inputs by their names; None is any length


class Graph(Protocol):
    """A graph that is ready to run."""

    text: str  # what the file tells of itself; empty if nothing
    inputs: Shapes  # by their names
    outputs: Sequence[str]  # their names

    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Return the outputs by their names."""


class OnnxRuntimeGraph:
    """A graph in onnxruntime."""

    def __init__(self, source: str | bytes, precision: str, threads: int | None) -> None:
        """Open an ONNX file by its path or its bytes; `precision` is float32, the graph's own."""
        ort = _import(ONNXRUNTIME)
        if precision != "float32":
            raise InputError(f"`precision` {precision}: onnxruntime computes in the file's own; leave it out")
        options = ort.SessionOptions()
        options.log_severity_level = 4  # what fails is said in words of ours
        if threads is not None:
            options.intra_op_num_threads = threads
        self._session = ort.InferenceSession(source, options, providers=["CPUExecutionProvider"])
        self.text = str(self._session.get_modelmeta().custom_metadata_map.get(KEY, ""))
        self.inputs: Shapes = {own.name: _lengths(own.shape) for own in self._session.get_inputs()}
        self.outputs: Sequence[str] = [own.name for own in self._session.get_outputs()]

    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Return the outputs by their names."""
        found = self._session.run(self.outputs, {name: inputs[name] for name in self.inputs})
        return dict(zip(self.outputs, found, strict=True))


class OpenVinoGraph:
    """A graph in OpenVINO; it may run in several threads at once."""

    def __init__(self, source: str | bytes, precision: str, threads: int | None) -> None:
        """Open an IR or ONNX file by its path, or an ONNX file's bytes, and compile it for this processor."""
        openvino = _import(OPENVINO)
        check_choice("precision", precision, OPENVINO_PRECISIONS)
        if str(source).endswith(".xml"):
            ElementTree.parse(source)  # of a damaged one, OpenVINO's other readers print what they make of it
        core = openvino.Core()
        model = core.read_model(source)
        self.text = ""
        for place in ([KEY], ["framework", KEY]):  # of an IR file, of an ONNX file
            with suppress(RuntimeError):
                self.text = self.text or str(model.get_rt_info(place).value)
        hints = {"INFERENCE_PRECISION_HINT": OPENVINO_PRECISIONS[precision], "PERFORMANCE_HINT": "LATENCY"}
        if threads is not None:
            hints["INFERENCE_NUM_THREADS"] = str(threads)
        self._compiled = core.compile_model(model, "CPU", hints)
        self.inputs: Shapes = {own.any_name: _lengths(own.partial_shape) for own in self._compiled.inputs}
        self.outputs: Sequence[str] = [own.any_name for own in self._compiled.outputs]

    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Return the outputs by their names."""
        found = self._compiled.create_infer_request().infer({name: inputs[name] for name in self.inputs})
        return {name: np.array(found[number]) for number, name in enumerate(self.outputs)}


# To add an engine, add a line.
ENGINES: dict[str, Callable[[str | bytes, str, int | None], Graph]] = {
    ONNXRUNTIME: OnnxRuntimeGraph,
    OPENVINO: OpenVinoGraph,
}


def open_graph(path: Path, engine: str | None = None, precision: str = "float32", threads: int | None = None) -> Graph:
    """Open an exported file in an engine: None is the usual one of its format, onnxruntime or OpenVINO.

    Raises:
        InputError: no such file, one of another kind, a damaged one, an unknown engine, or one that is not installed.
    """
    if path.suffix not in SUFFIXES:
        raise InputError(
            f"cannot run {path}: give an exported file, {' or '.join(SUFFIXES)}; a checkpoint becomes one by promptad"
            " export"
        )
    if not path.is_file():
        raise InputError(f"no exported file {path}: check the path, or export a detector to it")
    engine = engine or SUFFIXES[path.suffix]
    check_choice("engine", engine, ENGINES)
    if (path.suffix, engine) == (".xml", ONNXRUNTIME):
        raise InputError(f"onnxruntime does not read {path}: leave out `engine`, or export the detector to onnx")
    try:
        return ENGINES[engine](str(path), precision, threads)
    except InputError:
        raise
    except Exception as error:  # each engine has errors of its own
        raise InputError(f"{path} is damaged or no exported file: {CURE}") from error


def _import(engine: str) -> Any:
    try:
        return import_module(engine)
    except ImportError as error:
        raise not_installed(engine, engine) from error


def _lengths(shape: Any) -> tuple[int | None, ...]:
    """Return the lengths of a shape of an engine; None where any length will do."""
    found = []
    for own in shape:
        length = own if isinstance(own, int | str) or own is None else own.get_length() if own.is_static else None
        found.append(length if isinstance(length, int) else None)
    return tuple(found)
