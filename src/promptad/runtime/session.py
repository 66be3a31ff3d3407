"""An exported detector, ready to predict: numpy, Pillow and an engine are all it needs."""

from collections.abc import Sequence
from copy import copy
from dataclasses import replace
from pathlib import Path

import numpy as np

from promptad.data.inputs import Images, as_images
from promptad.data.squares import packed_shape, unpacked
from promptad.errors import InputError
from promptad.runtime.engines import Graph, open_graph
from promptad.runtime.metadata import DETECTOR, HEAD, IMAGES, MEMORY_IMAGES, TOWER, ExportedText, Metadata, Tower
from promptad.runtime.predict import predict_images
from promptad.settings import BATCH_SIZE, PictureSettings
from promptad.structures import Prediction

MANY = 16  # files: an engine starts threads for each, and a thousand heads need no thousand pools of them


class TowerSession:
    """An exported image encoder, which the sessions of several heads may share.

    Args:
        path: its file.
        engine: "onnxruntime" or "openvino"; None is the usual one of the file's format.
        precision: of OpenVINO's products, "float32" or "bfloat16", which moves scores by some thousandths.
        threads: that it uses; None is one for each core.
        graph: of the file, if it is open already.

    Raises:
        InputError: it cannot be opened, or is no tower.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        engine: str | None = None,
        precision: str = "float32",
        threads: int | None = None,
        graph: Graph | None = None,
    ) -> None:
        self.path, self.engine, self.precision, self.threads = Path(path), engine, precision, threads
        self.graph = graph or open_graph(self.path, engine, precision, threads)
        self.text = ExportedText.from_json(self.graph.text, self.path)
        if self.text.kind != TOWER:
            raise InputError(f"{path} is no tower, but a {self.text.kind.removeprefix('promptad ')}: leave out `tower`")

    @property
    def tower(self) -> Tower:
        """What is known of it."""
        return self.text.tower


class Session:
    """An exported detector; it gives what `PromptAD.predict` gives.

    Args:
        path: its file, .onnx or OpenVINO's .xml.
        tower: of a head: its tower's file, or that tower already open; None takes the file that it was exported with,
            in the same folder.
        engine: as of `TowerSession`; of an open tower it is its own, and so are the next two.
        precision: the same.
        threads: the same.
        graph: of the file, if it is open already.

    Attributes:
        metadata: class, settings, threshold and states.
        tower: of a head: its open tower.

    Raises:
        InputError: a file is missing, damaged, of another kind or a newer version, or belongs to another tower; or the
            engine is not installed.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        tower: str | Path | TowerSession | None = None,
        engine: str | None = None,
        precision: str = "float32",
        threads: int | None = None,
        graph: Graph | None = None,
    ) -> None:
        self.path = Path(path)
        if isinstance(tower, TowerSession):
            engine, precision, threads = tower.engine, tower.precision, tower.threads
        self._graphs: list[Graph] = [graph or open_graph(self.path, engine, precision, threads)]
        text = ExportedText.from_json(self._graphs[0].text, self.path)
        if text.kind == TOWER or text.known is None:
            raise InputError(f"{path} is a tower, an image encoder alone: give the file of a detector")
        if text.kind == DETECTOR and tower is not None:
            raise InputError(f"{path} is a whole detector, with an image encoder of its own: leave out `tower`")
        self.metadata: Metadata = text.known
        self.tower: TowerSession | None = None
        if text.kind == HEAD:
            if not isinstance(tower, TowerSession):
                beside = _beside(self.path, text.tower_file) if tower is None else Path(tower)
                tower = TowerSession(beside, engine=engine, precision=precision, threads=threads)
            _check_tower(self.path, text.tower, tower)
            self.tower = tower
            self._graphs.insert(0, tower.graph)

    def predict(self, images: Images, batch_size: int = BATCH_SIZE) -> Prediction:
        """Predict N images, given as to `PromptAD.predict`; `batch_size` of them at a time.

        Raises:
            InputError: no image, or one that cannot be read.
        """
        given = as_images(images)
        if not given:
            raise InputError("no images to score: give at least one")
        return predict_images(self, given, batch_size)

    @property
    def on_gpu(self) -> bool:
        """Whether it computes on a GPU: its engines run on processors."""
        return False

    def with_picture(self, picture: PictureSettings) -> "Session":
        """Return the session looking at another region of pictures."""
        other = copy(self)
        settings = replace(self.metadata.settings, picture=picture)
        other.metadata = replace(self.metadata, settings=settings)
        return other

    def run(self, squares: np.ndarray) -> dict[str, np.ndarray]:
        """Return the outputs of `runtime.postprocess` for RGB squares [N, S, S, 3] uint8.

        For a second image encoder, each is packed with its square [M, M, 3]: [N, S² + M², 3].

        Raises:
            InputError: squares of another size or type.
        """
        side, memory = self.metadata.image_size, self.metadata.memory
        shape = packed_shape(side, None if memory is None else memory.image_size)
        if squares.shape[1:] != shape or squares.dtype != np.uint8:
            raise InputError(
                f"squares of shape {list(squares.shape)} and type {squares.dtype}: {self.path} takes"
                f" [N, {', '.join(map(str, shape))}] uint8"
            )
        passed = graph_inputs(squares, side)
        for graph in self._graphs:
            passed = graph.run(passed)
        return passed

    @property
    def head(self) -> Graph:
        """The graph that gives its outputs: from the features of its tower, or without one from squares."""
        return self._graphs[-1]


def open_sessions(
    paths: Sequence[Path], *, engine: str | None = None, precision: str = "float32", threads: int | None = None
) -> list[Session]:
    """Open exported detectors, in their order; the heads of one tower share it.

    Args:
        paths: their files; towers among them are opened for their heads, other towers are looked for beside these.
        engine: as of `TowerSession`.
        precision: the same.
        threads: the same; but of more than `MANY` files, each head has one by default, for they work in turn.

    Raises:
        InputError: as of `Session`.
    """
    single = threads is None and len(paths) > MANY
    known = [(path, *_opened(path, engine, precision, threads, single_head=single)) for path in paths]
    towers = {
        text.tower.identity: TowerSession(path, engine=engine, precision=precision, threads=threads, graph=graph)
        for path, graph, text in known
        if text.kind == TOWER
    }
    sessions = []
    for path, graph, text in known:
        if text.kind == TOWER:
            continue
        tower = towers.get(text.tower.identity) if text.kind == HEAD else None
        session = Session(path, tower=tower, engine=engine, precision=precision, threads=threads, graph=graph)
        if session.tower is not None:
            towers[text.tower.identity] = session.tower
        sessions.append(session)
    return sessions


def _opened(
    path: Path, engine: str | None, precision: str, threads: int | None, *, single_head: bool
) -> tuple[Graph, ExportedText]:
    """Open a file, a head with a single thread if asked for, and read what it tells of itself."""
    graph = open_graph(path, engine, precision, 1 if single_head else threads)
    text = ExportedText.from_json(graph.text, path)
    if single_head and text.kind != HEAD:
        graph = open_graph(path, engine, precision, threads)
    return graph, text


def graph_inputs(squares: np.ndarray, side: int) -> dict[str, np.ndarray]:
    """Return squares of this side, and those that are packed with them, by the names of the graph's inputs."""
    return dict(zip((IMAGES, MEMORY_IMAGES), unpacked(squares, side), strict=False))


def _beside(path: Path, tower_file: str) -> Path:
    """Return the tower's file beside that of a head.

    Raises:
        InputError: it is not there.
    """
    beside = path.with_name(tower_file)
    if not beside.is_file():
        raise InputError(
            f"{path} needs its image encoder, {tower_file}, beside it: put it there, or name it by `tower`"
        )
    return beside


def _check_tower(path: Path, expected: Tower, tower: TowerSession) -> None:
    """Check that a head belongs to a tower.

    Raises:
        InputError: it belongs to another one.
    """
    found = tower.tower
    if found.identity == expected.identity:
        return
    differing = [name for name, value in vars(expected).items() if vars(found)[name] != value and name != "identity"]
    name = differing[0] if differing else "identity"
    own, other = (str(vars(one)[name])[:12] for one in (expected, found))
    raise InputError(
        f"{path} belongs to a tower with {name} {own}, and {tower.path} has {other}: give its own, or export it again"
        f" with this tower"
    )
