"""Export a detector as graphs: whole in one file, or as a head beside a tower that several detectors share."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from promptad.errors import InputError
from promptad.export.base import FLOAT16, INT8, Exported, ExportOptions, Model, PrecisionChange
from promptad.export.onnx import (
    beside,
    encoder_graph,
    head_graph,
    identity_of,
    in_half_precision,
    joined,
    memory_graph,
    preparation_graph,
    to_bytes,
)
from promptad.export.quantization import calibration_views, check_support, measure_change, quantized
from promptad.export.tower_encoder import TowerEncoder
from promptad.models.base import AnomalyDetector
from promptad.models.registry import recalibrated
from promptad.models.support import encode_support
from promptad.runtime.engines import ENGINES, Graph
from promptad.runtime.metadata import DETECTOR, HEAD, TOWER, ExportedText, Tower
from promptad.runtime.session import TowerSession


@dataclass(frozen=True)
class GraphFormat:
    """A format of graphs: its suffix, the engine that usually runs it, and how a graph is written."""

    suffix: str  # of its files
    engine: str  # one of `ENGINES`
    write: Callable[[Model, ExportedText, Path], tuple[Path, ...]]  # returns the files


def export_graphs(detector: AnomalyDetector, path: Path, options: ExportOptions, kind: GraphFormat) -> Exported:
    """Write a detector as one file, or, with a tower, its head; the tower is written where there is none yet.

    Raises:
        InputError: the backbone cannot be exported, a package is missing, the support images are others, the tower that
            is there is of another backbone or precision, or the folder cannot be written to.
    """
    shared = options.tower
    if shared is not None and (shared.suffix != kind.suffix or shared == path):
        raise InputError(f"`tower` {shared}: end its name in {kind.suffix}, as the detector's, and give it its own")
    if options.precision == INT8 and detector.backbone.memory is not None:
        raise InputError(
            "`precision` int8 is not made of a memory backbone, whose distances it would change: take float16"
        )
    if options.support:
        check_support(detector, options.support)
    files: tuple[Path, ...] = ()
    if shared is not None and shared.is_file():
        session = TowerSession(shared)
        tower, model = _checked(detector, options, session), None
        graph: Graph | None = session.graph
    else:
        model = _tower_graph(detector, options)
        tower = _known_of(detector, options, identity_of(model))
        graph = ENGINES[kind.engine](to_bytes(model), "float32", None) if options.precision == INT8 else None
        if shared is not None:
            files = kind.write(model, ExportedText(TOWER, tower), shared)
    change = None
    if options.precision == INT8 and graph is not None:
        options.begins("calibration")
        detector, change = _recalibrated(detector, options, graph, kind.engine)
    options.begins("head")
    head = head_graph(detector)
    options.begins("file")
    if shared is None and model is not None:
        text = ExportedText(DETECTOR, tower, known=detector.metadata)
        return Exported(kind.write(joined(model, head), text, path), change)
    assert shared is not None
    text = ExportedText(HEAD, tower, shared.name, detector.metadata)
    return Exported((*kind.write(head, text, path), *files), change)


def _tower_graph(detector: AnomalyDetector, options: ExportOptions) -> Model:
    """Return the graph from squares to features; a shared one always gives layers, which other detectors may need."""
    backbone = detector.backbone
    options.begins("image encoder")
    banked = options.tower is not None or detector.settings.scoring.memory
    encoder = encoder_graph(backbone, banked and backbone.memory is None)
    if options.precision == INT8:
        options.begins("8-bit integers")
        encoder = quantized(encoder, calibration_views(detector, options.support))
    if options.precision == FLOAT16:
        encoder = in_half_precision(encoder)
    tower = joined(preparation_graph(backbone), encoder)
    if backbone.memory is None:
        return tower
    memory = memory_graph(backbone)
    return beside(tower, in_half_precision(memory) if options.precision == FLOAT16 else memory)


def _known_of(detector: AnomalyDetector, options: ExportOptions, identity: str) -> Tower:
    backbone = detector.backbone
    return Tower(
        identity=identity,
        backbone=backbone.settings.name,
        weights_sha256=backbone.weights_sha256,
        image_size=backbone.image_encoder.image_size,
        resize=backbone.resize,
        layers=backbone.image_encoder.layer_indices,
        precision=options.precision,
        memory=detector.memory_encoder,
    )


def _checked(detector: AnomalyDetector, options: ExportOptions, session: TowerSession) -> Tower:
    """Return the tower of a file, if it is what would be written there.

    Raises:
        InputError: it is another one.
    """
    found = session.tower
    expected = vars(_known_of(detector, options, found.identity))
    for name, value in vars(found).items():
        if value != expected[name]:
            raise InputError(
                f"`tower` {session.path} has {name} {_short(value)}, the detector {_short(expected[name])}: name"
                " another file"
            )
    return found


def _short(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)[:12]


def _recalibrated(
    detector: AnomalyDetector, options: ExportOptions, graph: Graph, engine: str
) -> tuple[AnomalyDetector, PrecisionChange]:
    """Return a detector calibrated anew on the features of a tower, and what that has changed."""
    images, backbone = options.support, detector.backbone
    before = encode_support(backbone, images, detector.settings)
    after = encode_support(
        replace(TowerEncoder.in_place_of(backbone, graph, engine), cache=None), images, detector.settings
    )
    again = recalibrated(detector, after)
    return again, measure_change(detector, before, again, after)
