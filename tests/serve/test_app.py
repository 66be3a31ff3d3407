"""The routes of the service, what they refuse, and that requests at once do not change each other's answers."""

import asyncio
import base64
import io
import json
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from fastapi.testclient import TestClient
from helpers import call, contents, refusal
from PIL import Image
from served import CHECKPOINTS, export_heads, export_whole, picture

from promptad.runtime.predict import Loaded, load_image, predict
from promptad.runtime.records import PredictionRecord
from promptad.runtime.session import Session
from promptad.serve import gate
from promptad.serve.app import make_app
from promptad.serve.batching import MAX_BATCH, Worker
from promptad.serve.parts import open_parts
from promptad.serve.server import ServeOptions
from promptad.serve.service import Service

Files = list[tuple[str, tuple[str, bytes]]]
TOKEN = "a-secret"


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_whole(tmp_path_factory.mktemp("whole") / "part.onnx")


@pytest.fixture(scope="module")
def heads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("several") / "heads"
    export_heads(folder)
    return folder


def client_of(*places: Path, queue: int = 64, token: str | None = None, max_mb: float = 32) -> TestClient:
    app = make_app(Service(open_parts(places), queue), token=token, max_mb=max_mb)
    return TestClient(app, raise_server_exceptions=False)


@pytest.fixture
def client(exported: Path) -> Iterator[TestClient]:
    with client_of(exported) as opened:
        yield opened


@pytest.fixture
def several(heads: Path) -> Iterator[TestClient]:
    with client_of(heads) as opened:
        yield opened


def files(*seeds: int) -> Files:
    return [("images", (f"{seed}.png", picture(seed))) for seed in seeds]


def error(answer: Any, code: int) -> str:
    """The one line of a refusal."""
    assert answer.status_code == code, answer.text
    assert answer.headers["content-type"] == "application/json"
    (line,) = answer.json().values()
    assert list(answer.json()) == ["error"]
    assert "\n" not in line
    assert "Traceback" not in line
    return str(line)


def alone(exported: Path, folder: Path, *seeds: int) -> list[dict[str, Any]]:
    """What a session by itself records of the same images, one by one."""
    session, lines = Session(exported), []
    for seed in seeds:
        file = folder / f"{seed}.png"
        file.write_bytes(picture(seed))
        ((record, _),) = predict(session, [file])
        lines.append(json.loads(record.to_line()) | {"path": file.name})
    return lines


def assert_same(found: Any, expected: Any) -> None:
    """Compare records: numbers to 1e-4, for a batch of another size sums in another order."""
    if isinstance(expected, dict):
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            assert_same(found[name], value)
    elif isinstance(expected, list):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            assert_same(one, other)
    else:
        assert found == (pytest.approx(expected, abs=1e-4) if isinstance(expected, float) else expected)


def test_health_tells_how_many_parts_there_are(client: TestClient, several: TestClient) -> None:
    assert client.get("/healthz").json() == {"status": "ok", "parts": 1}
    assert several.get("/healthz").json() == {"status": "ok", "parts": 2}


def test_parts_are_listed_with_what_a_client_needs(client: TestClient, exported: Path) -> None:
    (part,) = client.get("/parts").json()
    known = Session(exported).metadata
    assert (part["name"], part["threshold"], part["image_size"]) == ("carpet", known.threshold, 32)
    assert (part["false_alarm_rate"], tuple(part["false_alarm_range"])) == (0.01, known.false_alarm_range)
    assert part["settings"]["backbone"] == "tiny"
    assert part["settings"]["memory"] is True


def test_parts_of_one_class_are_called_as_their_files(several: TestClient) -> None:
    assert [part["name"] for part in several.get("/parts").json()] == ["banked", "plain"]


def test_the_heads_of_one_tower_share_it(heads: Path, tmp_path: Path) -> None:
    one, other = open_parts([heads])
    assert one.session.tower is other.session.tower is not None
    # Named without their tower, too, and in another folder with a copy of it.
    copied = tmp_path / "heads"
    copied.mkdir()
    for name, content in contents(heads).items():
        (copied / name).write_bytes(content)
    first, second = open_parts([heads / "banked.onnx", copied / "plain.onnx"])
    assert first.session.tower is second.session.tower is not None
    service = Service((first, second), 4)
    assert len(set(service._workers.values())) == 1
    service.close()


@pytest.mark.parametrize("path", ["/predict", "/parts/carpet/predict"])
def test_pictures_get_the_records_that_a_session_gives(
    client: TestClient, exported: Path, tmp_path: Path, path: str
) -> None:
    answer = client.post(path, files=files(1, 2, 3))
    assert answer.status_code == 200, answer.text
    assert_same(answer.json(), alone(exported, tmp_path, 1, 2, 3))
    assert [PredictionRecord.from_line(json.dumps(record)).path for record in answer.json()] == [
        "1.png",
        "2.png",
        "3.png",
    ]


def test_requests_at_once_get_the_records_of_each_alone(heads: Path, tmp_path: Path) -> None:
    expected = {name: alone(heads / f"{name}.onnx", tmp_path, *range(12)) for name in ("banked", "plain")}
    with client_of(heads, queue=100) as client, ThreadPoolExecutor(8) as pool:
        asked = [(name, seed) for seed in range(12) for name in expected]
        answers = pool.map(lambda one: client.post(f"/parts/{one[0]}/predict", files=files(one[1])), asked)
        for (name, seed), answer in zip(asked, answers, strict=True):
            assert_same(answer.json(), [expected[name][seed]])


def test_an_unreadable_picture_has_its_line_while_the_others_are_judged(client: TestClient) -> None:
    bad = [("images", ("notes.png", b"no picture")), ("images", ("empty.png", b""))]
    answer = client.post("/predict?map=png", files=[*files(1), *bad, *files(2)])
    first, notes, empty, last = answer.json()
    assert first["decision"] in ("anomaly", "good")
    assert last["path"] == "2.png"
    assert notes.keys() == empty.keys() == {"path", "error"}
    assert notes["error"].startswith("not a picture: notes.png is damaged or of another kind")
    assert empty["error"] == "empty picture empty.png: the file has no bytes; replace it or remove it"


def test_a_bomb_is_refused_in_its_line(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 500)
    (record,) = client.post("/predict", files=files(1)).json()
    assert record["error"] == "picture 1.png is too large: it has more than 1000 pixels; scale it down"


def test_the_map_lies_over_the_picture(client: TestClient) -> None:
    (record,) = client.post("/predict", params={"map": "png"}, files=files(1)).json()
    head, _, content = record.pop("map").partition(",")
    assert head == "data:image/png;base64"
    drawn = client.post("/parts/carpet/map", files=files(1))
    assert drawn.headers["content-type"] == "image/png"
    assert drawn.content == base64.b64decode(content)
    image = Image.open(io.BytesIO(drawn.content))
    assert image.size == (256, 213)  # 48 x 40 pixels, enlarged
    assert_same([record], client.post("/predict", files=files(1)).json())


def test_a_map_is_of_one_readable_picture(client: TestClient) -> None:
    assert error(client.post("/parts/carpet/map", files=files(1, 2)), 422) == "2 pictures: send one for its map"
    answer = client.post("/parts/carpet/map", files=[("images", ("notes.png", b"no picture"))])
    assert error(answer, 422).startswith("not a picture: notes.png")


@pytest.mark.parametrize(
    ("request_of", "code", "words"),
    [
        (lambda c: c.post("/parts/rug/predict", files=files(1)), 404, "no part 'rug' here: there is carpet"),
        (lambda c: c.post("/predict"), 422, "send files under `images`"),
        (lambda c: c.post("/predict", files=[("pictures", ("1.png", picture(1)))]), 422, "send files under `images`"),
        (lambda c: c.post("/predict", data={"images": "words"}), 422, "send files under `images`"),
        (lambda c: c.post("/predict", params={"map": "jpg"}, files=files(1)), 422, "`map` jpg"),
        (lambda c: c.get("/docs"), 404, "nothing is at /docs"),
        (lambda c: c.get("/predict"), 405, "/predict does not take GET"),
        (
            lambda c: c.post("/predict", content=b"cut", headers={"Content-Type": "multipart/form-data; boundary=x"}),
            400,
            "",
        ),
    ],
)
def test_a_mistaken_request_is_told_in_one_line(
    client: TestClient, request_of: Callable[[TestClient], Any], code: int, words: str
) -> None:
    assert words in error(request_of(client), code)


def test_a_part_is_to_be_named_where_there_are_several(several: TestClient) -> None:
    answer = several.post("/predict", files=files(1))
    assert error(answer, 404) == "several parts are here: ask /parts/NAME/predict for banked, plain"


@pytest.mark.parametrize("announced", [True, False])
def test_a_large_body_is_refused_while_it_is_read(exported: Path, announced: bool) -> None:
    sent = []

    def body() -> Iterator[bytes]:
        for number in range(100):
            sent.append(number)
            yield bytes(1000)

    headers = {"Content-Type": "multipart/form-data; boundary=x"} | ({"Content-Length": "100000"} if announced else {})
    with client_of(exported, max_mb=0.01) as client:
        answer = client.post("/predict", content=body(), headers=headers)
        assert error(answer, 413) == "more than 0.01 MB in one request: send fewer pictures at once, or smaller ones"
        assert client.post("/predict", files=files(1)).status_code == 200


class Slow(NamedTuple):
    """A session that waits before it predicts."""

    going: threading.Event
    counts: list[int]


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Slow:
    made, complete = Slow(threading.Event(), []), Session.run

    def run_later(self: Session, squares: np.ndarray) -> dict[str, np.ndarray]:
        made.counts.append(len(squares))
        assert made.going.wait(20)
        return complete(self, squares)

    monkeypatch.setattr(Session, "run", run_later)
    return made


def wait_until(true: Callable[[], bool]) -> None:
    pause = threading.Event()
    for _ in range(400):
        if true():
            return
        pause.wait(0.02)
    raise AssertionError("it did not come true")


def test_a_full_queue_refuses_and_loses_nothing_that_it_accepted(exported: Path, slow: Slow) -> None:
    service = Service(open_parts([exported]), 4)
    app = make_app(service, token=None, max_mb=32)
    with TestClient(app) as client, ThreadPoolExecutor(4) as pool:
        accepted = [pool.submit(client.post, "/predict", files=files(seed, seed)) for seed in (1, 2)]
        wait_until(lambda: service.places.taken == 4)
        refused = client.post("/predict", files=files(3))
        assert error(refused, 503) == "4 pictures are waiting, which is all that may: ask again in a second"
        assert refused.headers["retry-after"] == "1"
        assert client.get("/healthz").status_code == 200
        slow.going.set()
        for seed, answer in zip((1, 2), accepted, strict=True):
            assert [record["path"] for record in answer.result().json()] == [f"{seed}.png"] * 2
        assert service.places.taken == 0
        assert client.post("/predict", files=files(3)).status_code == 200


def test_more_pictures_than_may_wait_are_refused_for_good(exported: Path) -> None:
    with client_of(exported, queue=2) as client:
        answer = client.post("/predict", files=files(1, 2, 3))
        assert error(answer, 413) == "3 pictures in one request: send at most 2 at once"
        assert client.post("/predict", files=files(1, 2)).status_code == 200


def test_what_waits_is_predicted_together_without_waiting_for_more(exported: Path, slow: Slow) -> None:
    service = Service(open_parts([exported]), 64)
    app = make_app(service, token=None, max_mb=32)
    with TestClient(app) as client, ThreadPoolExecutor(2) as pool:
        first = pool.submit(client.post, "/predict", files=files(0))
        wait_until(lambda: slow.counts == [1])
        second = pool.submit(client.post, "/predict", files=files(*range(11)))
        worker = service._workers["carpet"]
        wait_until(lambda: worker._waiting.qsize() == 11)
        slow.going.set()
        assert len(first.result().json() + second.result().json()) == 12
    assert slow.counts == [1, MAX_BATCH, 3]


def test_what_fails_one_image_does_not_fail_its_neighbours(exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    session, complete = Session(exported), Session.run
    image = Image.open(io.BytesIO(picture(1)))
    good, bad = (load_image(own, session.metadata) for own in (image, image.rotate(90)))
    going = threading.Event()

    def run_most(self: Session, squares: np.ndarray) -> dict[str, np.ndarray]:
        assert going.wait(20)
        if isinstance(bad, Loaded) and any((own == bad.squares[0]).all() for own in squares):
            raise MemoryError
        return complete(self, squares)

    monkeypatch.setattr(Session, "run", run_most)
    worker = Worker()
    waiting = [worker.submit(session, "it", own) for own in (good, good, bad, good)]
    going.set()
    worker.close()
    assert [one.exception(0) is None for one in waiting] == [True, True, False, True]


def test_what_waits_at_the_end_is_still_judged(exported: Path, slow: Slow) -> None:
    session, worker = Session(exported), Worker()
    loaded = load_image(Image.open(io.BytesIO(picture(1))), session.metadata)
    waiting = [worker.submit(session, str(number), loaded) for number in range(10)]
    with ThreadPoolExecutor(1) as pool:
        closing = pool.submit(worker.close)
        slow.going.set()
        closing.result(20)
    assert [one.result(0)[0].path for one in waiting] == [str(number) for number in range(10)]


@pytest.mark.parametrize("path", ["/parts", "/openapi.json", "/nothing"])
def test_without_its_token_nothing_but_page_and_health_is_given(exported: Path, path: str) -> None:
    with client_of(exported, token=TOKEN) as client:
        assert "a token is needed" in error(client.get(path), 401)
        for given in (f"Bearer {TOKEN}x", "Bearer", f"Basic {TOKEN}", "Bearer \xe4"):
            refused = client.get(path, headers={b"Authorization": given.encode("latin-1")})
            assert "wrong token" in error(refused, 401)
            assert refused.headers["www-authenticate"] == "Bearer"
        assert client.get(path, headers={"Authorization": f"Bearer {TOKEN}"}).status_code != 401
        assert client.get("/").status_code == client.get("/healthz").status_code == 200


def test_a_request_without_its_token_is_not_read(exported: Path) -> None:
    with client_of(exported, token=TOKEN, max_mb=0.0001) as client:
        error(client.post("/predict", files=files(1)), 401)
        error(client.post("/predict", files=files(1), headers={"Authorization": f"Bearer {TOKEN}"}), 413)


def test_the_token_of_the_environment_counts_unless_another_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROMPTAD_TOKEN", "of-the-environment")
    assert ServeOptions(()).needed_token() == "of-the-environment"
    assert ServeOptions((), token=TOKEN).needed_token() == TOKEN
    for empty in ("", "two words", "schlüssel"):
        assert refusal(ServeOptions((), token=empty).needed_token).startswith("`token`, or PROMPTAD_TOKEN: give ASCII")
    monkeypatch.setenv("PROMPTAD_TOKEN", "")
    assert "PROMPTAD_TOKEN" in refusal(ServeOptions(()).needed_token)


def test_a_body_that_stops_coming_is_given_up(exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Asked without the test client, which gives a whole body at once."""
    monkeypatch.setattr(gate, "PATIENCE", 0.05)
    service = Service(open_parts([exported]), 4)
    sent: list[MutableMapping[str, Any]] = []

    async def receive() -> MutableMapping[str, Any]:
        await asyncio.sleep(20)
        return {}

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)

    headers = [(b"content-type", b"multipart/form-data; boundary=x")]
    scope = {"type": "http", "method": "POST", "path": "/predict", "headers": headers, "query_string": b""}
    asyncio.run(make_app(service, token=None, max_mb=1)(scope, receive, send))
    assert sent[0]["status"] == 408
    assert json.loads(sent[1]["body"]) == {"error": "nothing came for 0.05 seconds: send the whole request"}
    assert service.places.taken == 0
    service.close()


def test_what_is_unexpected_is_one_line_and_handed_to_the_server_which_logs_it(
    exported: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("out of\nmemory")

    app = make_app(Service(open_parts([exported]), 4), token=None, max_mb=32)
    with monkeypatch.context() as patch:
        patch.setattr(Session, "run", fail)
        told = TestClient(app, raise_server_exceptions=False).post("/predict", files=files(1))
        assert error(told, 500) == "something unexpected went wrong: the service's log says what"
        with pytest.raises(RuntimeError, match="memory"):
            TestClient(app).post("/predict", files=files(1))
    with TestClient(app) as client:
        assert client.post("/predict", files=files(1)).status_code == 200


def test_the_page_loads_nothing_from_elsewhere(client: TestClient) -> None:
    answer = client.get("/")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert re.search(r"script-src 'sha256-[\w+/]{43}='", policy)
    addresses = re.findall(r"(?:https?:)?//[\w.]+", re.sub(r"\s// .*", "", answer.text))
    assert addresses == ["http://www.w3.org"]  # a namespace
    assert not re.findall(r"url\(|@import|<script src|<link(?! rel=\"icon\" href=\"data:)", answer.text)


def test_the_routes_are_described(client: TestClient) -> None:
    described = client.get("/openapi.json").json()["paths"]
    assert set(described) == {
        "/healthz",
        "/parts",
        "/predict",
        "/parts/{name}/predict",
        "/parts/{name}/map",
    }


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"port": 70000}, "`port` 70000: must be from 0 to 65535"),
        ({"queue": 0}, "`queue` 0: must be at least 1"),
        ({"threads": 0}, "`threads` 0: must be at least 1"),
        ({"max_mb": 0.0}, "`max_mb` 0: must be more than 0"),
        ({"max_mb": float("nan")}, "`max_mb` nan: must be more than 0"),
        ({"engine": "tensorrt"}, 'unknown engine: "tensorrt"'),
    ],
)
def test_impossible_options_are_refused(options: dict[str, Any], words: str) -> None:
    assert words in refusal(ServeOptions, (), **options)


def test_a_checkpoint_is_refused_with_the_cure() -> None:
    checkpoint = CHECKPOINTS / "multi_prototype.pt"
    assert "a checkpoint becomes one by promptad export" in refusal(open_parts, [checkpoint])
    outcome = call("serve", checkpoint, "--port", "0")
    assert outcome.code == 2
    assert outcome.errors.count("\n") == 1
    assert "promptad export" in outcome.errors


def test_folders_without_detectors_towers_alone_and_equal_names_are_refused(heads: Path, tmp_path: Path) -> None:
    assert refusal(open_parts, [tmp_path]).startswith(f"{tmp_path} holds no exported detector")
    assert "is a tower" in refusal(open_parts, [heads / "tower.onnx"])
    for place in ("one", "other"):
        (tmp_path / place).mkdir()
        for name in ("plain.onnx", "tower.onnx"):
            (tmp_path / place / name).write_bytes((heads / name).read_bytes())
    line = refusal(open_parts, [tmp_path / "one", tmp_path / "other"])
    assert "would both be called 'plain': rename one of the files" in line


def test_a_missing_extra_is_one_line_with_the_cure(exported: Path) -> None:
    code = "import sys; sys.modules['fastapi'] = None; from promptad.serve.__main__ import main; "
    code += f"sys.exit(main([{str(exported)!r}, '--port', '0']))"
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr == "promptad: fastapi is not installed: pip install fastapi uvicorn python-multipart\n"
