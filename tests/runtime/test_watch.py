"""A watched folder: each picture is judged once, when it is complete; lines, moved pictures and the webhook survive."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import soak_watch
from exported import carpets, head_of, trained
from helpers import Outcome, assert_refused, call, contents, read_lines, refusal
from PIL import ImageEnhance

from promptad.runtime import rejects, watch_options, webhook
from promptad.runtime.__main__ import main as runtime
from promptad.runtime.arrivals import Arrivals, look_at
from promptad.runtime.judge import Listener
from promptad.runtime.predict import load_image
from promptad.runtime.session import Session
from promptad.runtime.watch import watch
from promptad.runtime.watch_options import WatchOptions

NAME = "multi-prototype+memory"
QUICK = ("--settle", "0.05", "--give-up", "0.3")
GOOD, HOLE = 0, 2  # of the carpets
PATIENCE = 30.0  # seconds


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return head_of(NAME, ".onnx", tmp_path_factory.mktemp("watch"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "new").mkdir()
    return tmp_path / "new"


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "out"


def put(path: Path, number: int = GOOD) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    carpets()[number].save(path)
    return path


def once(detector: Path, folder: Path, output: Path, *more: str | Path) -> Outcome:
    outcome = call("watch", detector, folder, "--output", output, "--once", *QUICK, *more)
    assert outcome.code in (0, 3), outcome.errors
    return outcome


def names(output: Path) -> list[str]:
    return [Path(line["path"]).name for line in read_lines(output)]


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


@contextmanager
def watching(detector: Path, folder: Path, output: Path, **more: Any) -> Iterator[list[str]]:
    """A watcher in a thread; yields what it tells."""
    told: list[str] = []
    stop = threading.Event()
    options = WatchOptions(folder, output, settle=0.1, give_up=0.5, **more)
    arguments = (Session(detector), detector, options, Listener(told.append, lambda _: None), stop)
    codes: list[int] = []
    thread = threading.Thread(target=lambda: codes.append(watch(*arguments)))
    thread.start()
    try:
        wait_until(lambda: bool(told) or not thread.is_alive())
        yield told
    finally:
        stop.set()
        thread.join(PATIENCE)
    assert codes == [0]


def lined(output: Path, count: int) -> Callable[[], bool]:
    return lambda: (output / "predictions.jsonl").is_file() and len(read_lines(output)) >= count


# What is judged


def test_once_judges_what_is_there_and_each_only_once(detector: Path, folder: Path, output: Path) -> None:
    for number in range(4):
        put(folder / f"{number}.png", number)
    put(folder / "deep" / "er" / "5.png")
    outcome = once(detector, folder, output, "--batch-size", "2")
    assert sorted(names(output)) == ["0.png", "1.png", "2.png", "3.png", "5.png"]
    lines = (output / "predictions.jsonl").read_text()
    anomalies = sum(line["decision"] == "anomaly" for line in read_lines(output))
    assert f"5 pictures: {anomalies} anomalies, {5 - anomalies} good, 0 unreadable" in outcome.output
    assert outcome.output.count("\nanomaly ") + outcome.output.startswith("anomaly ") == anomalies > 0
    assert "0 pictures: 0 anomalies" in once(detector, folder, output).output
    put(folder / "6.png")
    assert "1 pictures: 0 anomalies" in once(detector, folder, output).output
    assert (output / "predictions.jsonl").read_text().startswith(lines)
    assert names(output)[-1] == "6.png"


def test_the_lines_are_those_of_predict_and_three_more_values(detector: Path, folder: Path, output: Path) -> None:
    put(folder / "good.png")
    put(folder / "hole.png", HOLE)
    once(detector, folder, output)
    assert call("predict", detector, folder, "--output", output.with_name("usual")).code == 0
    for line, usual in zip(read_lines(output), read_lines(output.with_name("usual")), strict=True):
        own = {name: line.pop(name) for name in ("size", "modified", "judged")}
        assert line == usual
        assert own["size"] == Path(line["path"]).stat().st_size
        assert own["modified"][:10] == own["judged"][:10]
        assert own["judged"].endswith("Z")
    assert json.loads((output / "run.json").read_text()) == json.loads(
        (output.with_name("usual") / "run.json").read_text()
    )


def test_the_report_takes_its_folder_also_when_pictures_were_moved(
    detector: Path, folder: Path, output: Path, tmp_path: Path
) -> None:
    put(folder / "good.png")
    put(folder / "hole.png", HOLE)
    (folder / "broken.png").write_bytes(b"no picture")
    once(detector, folder, output, "--rejected", "move", "--rejected-to", tmp_path / "bad")
    assert call("report", "--predictions", output, "--output", tmp_path / "r.html").code == 0
    page = (tmp_path / "r.html").read_text()
    assert page.count("data:image/jpeg") == 4
    assert "broken.png" in page


def test_a_picture_that_is_overwritten_is_a_new_one(detector: Path, folder: Path, output: Path) -> None:
    put(folder / "same.png")
    once(detector, folder, output)
    put(folder / "same.png", HOLE)
    once(detector, folder, output)
    assert [line["decision"] for line in read_lines(output)] == ["good", "anomaly"]
    os.utime(folder / "same.png", (1, 1))
    once(detector, folder, output)
    assert [line["modified"][:4] == "1970" for line in read_lines(output)] == [False, False, True]


def test_hidden_partial_and_other_files_and_its_own_folders_are_left_out(detector: Path, folder: Path) -> None:
    for name in (".hidden.png", "~lock.png", "a.part.png", "b.TMP.png", "c.png.part", ".deep/d.png", "e.txt"):
        put(folder / "picture.png").rename(folder / "picture.tmp")
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / "picture.tmp").rename(folder / name)
    put(folder / "picture.png", HOLE)
    inside = folder / "out"
    for _ in range(2):
        once(detector, folder, inside, "--rejected", "copy", "--rejected-to", folder / "bad", "--overlays")
    assert names(inside) == ["picture.png"]
    assert (folder / "bad" / "picture.png").is_file()


def test_an_unreadable_picture_is_tried_until_it_is_given_up(detector: Path, folder: Path, output: Path) -> None:
    (folder / "broken.png").write_bytes(b"no picture")
    (folder / "empty.png").touch()
    started = time.monotonic()
    outcome = once(detector, folder, output, "--fail-on-anomaly")
    assert time.monotonic() - started > 0.3
    assert outcome.code == 3
    assert "2 pictures: 0 anomalies, 0 good, 2 unreadable" in outcome.output
    assert [line["error"][:5] for line in read_lines(output)] == ["not a", "empty"]
    assert once(detector, folder, output, "--fail-on-anomaly").code == 0  # they are known
    put(folder / "broken.png")
    once(detector, folder, output)
    assert read_lines(output)[-1]["decision"] == "good"


def test_a_picture_is_read_when_it_is_complete(detector: Path, folder: Path, output: Path) -> None:
    whole = put(folder.with_name("whole.png")).read_bytes()
    with watching(detector, folder, output):
        with (folder / "slow.png").open("wb") as slow:
            for start in range(0, len(whole), len(whole) // 8):
                slow.write(whole[start : start + len(whole) // 8])
                slow.flush()
                time.sleep(0.08)
        wait_until(lined(output, 1))
        put(folder / "renamed.tmp.png").rename(folder / "renamed.png")
        (folder / "later").mkdir()
        put(folder / "later" / "deep.png")
        wait_until(lined(output, 3))
    assert names(output)[0] == "slow.png"
    assert sorted(names(output)) == ["deep.png", "renamed.png", "slow.png"]
    assert {line["decision"] for line in read_lines(output)} == {"good"}


def test_a_picture_that_changes_waits_anew(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("promptad.runtime.arrivals.time.monotonic", lambda: now[0])
    path = put(folder / "a.png")
    arrivals = Arrivals(folder, (), settle=1.0, give_up=3.0)
    arrivals.look()
    found = []
    for step in range(6):  # of half a second; it changes behind the first second, and is complete one second later
        if step == 2:
            os.utime(path, (1, 1))
        found.append(len(arrivals.complete(8)))
        now[0] += 0.5
    assert found == [0, 0, 0, 0, 1, 1]
    (picture,) = arrivals.complete(8)
    assert arrivals.may_recover(picture)
    assert arrivals.complete(8) == []  # until it is tried again
    now[0] += 2.0
    assert not arrivals.may_recover(picture)
    arrivals.finish(picture)
    now[0] += 60.0
    arrivals.look()
    assert len(arrivals) == 0


def test_what_was_read_of_a_picture_that_changed_meanwhile_is_not_written(
    detector: Path, folder: Path, output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = put(folder / "a.png")

    def load(image: Path, **more: Any) -> object:
        read = load_image(image, **more)
        if path.stat().st_size == first:
            put(path, HOLE)
        return read

    first = path.stat().st_size
    monkeypatch.setattr("promptad.runtime.watcher.load_image", load)
    once(detector, folder, output)
    (line,) = read_lines(output)
    assert (line["decision"], line["size"]) == ("anomaly", path.stat().st_size)


def test_once_leaves_what_is_being_written_to_the_next_start(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("promptad.runtime.arrivals.time.monotonic", lambda: now[0])
    path = put(folder / "a.png")
    arrivals = Arrivals(folder, (), settle=1.0, give_up=3.0)
    arrivals.look()
    for step in range(5):
        os.utime(path, (step, step))
        assert arrivals.complete(8) == []
        arrivals.leave_changing()
        now[0] += 1.0
    assert arrivals.left == [path]


def test_polling_finds_pictures_without_the_system(
    detector: Path, folder: Path, output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "watchfiles", None)
    with watching(detector, folder, output, poll=0.1):
        put(folder / "a.png")
        wait_until(lined(output, 1))
        put(folder / "b.png")
        wait_until(lined(output, 2))


def test_what_fails_one_picture_does_not_fail_its_neighbours(
    detector: Path, folder: Path, output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        put(folder / f"{number}.png")
    usual = load_image

    def load(image: Path, **more: Any) -> object:
        if image.name == "1.png":
            raise MemoryError("too\nlarge")
        return usual(image, **more)

    monkeypatch.setattr("promptad.runtime.watcher.load_image", load)
    once(detector, folder, output)
    found = {Path(line["path"]).name: line.get("error") for line in read_lines(output)}
    assert found == {"0.png": None, "1.png": "could not be judged: MemoryError too large", "2.png": None}


def test_what_is_left_to_people_is_named_and_has_its_exit_code(folder: Path, output: Path, tmp_path: Path) -> None:
    for number in (GOOD, HOLE):
        put(folder / f"{number}.png", number)
    trained(NAME).save(tmp_path / "carpet.pt")
    once(tmp_path / "carpet.pt", folder, output)
    raw = sorted(line["raw"] for line in read_lines(output))
    high, unsure = ("--threshold", str(raw[1] + 1)), ("--unsure", "0.9999")
    outcome = call(
        *("watch", tmp_path / "carpet.pt", folder, "--output", tmp_path / "two", "--once", *QUICK),
        *(*high, *unsure, "--fail-on-anomaly"),
    )
    assert outcome.code == 4, outcome.errors
    assert "unsure" in {line["decision"] for line in read_lines(tmp_path / "two")}
    assert "\nunsure 0." in "\n" + outcome.output
    assert "0 anomalies, " in outcome.output


# After a kill


@pytest.mark.slow
def test_each_picture_is_judged_once_while_the_watcher_is_killed(tmp_path: Path) -> None:
    figures = soak_watch.soak(tmp_path, files=30, kills=2, seed=1)
    assert figures["lines"] == figures["pictures"] > 30
    assert figures["rejected and moved"] > 0
    assert figures["with pictures in hand"] > 0


def test_a_torn_last_line_is_cut_off_and_its_picture_judged_again(detector: Path, folder: Path, output: Path) -> None:
    for number in range(3):
        put(folder / f"{number}.png")
    once(detector, folder, output)
    file = output / "predictions.jsonl"
    whole = file.read_bytes()
    last = whole.rindex(b"\n", 0, -1) + 1
    for cut in (last + 1, len(whole) - 1):
        file.write_bytes(whole[:cut])
        once(detector, folder, output)
        assert file.read_bytes()[:last] == whole[:last]
        assert sorted(names(output)) == ["0.png", "1.png", "2.png"]
    file.write_bytes(b"x" * 200_000)
    once(detector, folder, output)
    assert sorted(names(output)) == ["0.png", "1.png", "2.png"]


@pytest.mark.parametrize("way", ["copy", "move"])
@pytest.mark.parametrize("moment", ["before", "between"])
def test_a_kill_behind_the_line_loses_no_rejected_picture(
    detector: Path, folder: Path, output: Path, way: str, moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class KilledError(BaseException):
        pass

    def killed(*_: object) -> None:
        raise KilledError

    content = put(folder / "hole.png", HOLE).read_bytes()
    bad = folder.with_name("bad")
    options = ("--rejected", way, "--rejected-to", bad)
    step = "place" if moment == "before" else "_is_same" if way == "move" else "utc"
    with monkeypatch.context() as patch:
        patch.setattr(rejects, step, killed)
        with pytest.raises(KilledError):
            call("watch", detector, folder, "--output", output, "--once", *QUICK, *options)
    assert len(read_lines(output)) == 1
    once(detector, folder, output)  # completes what the line says, also without the options
    assert contents(bad).get("hole.png") == content
    assert [name for name in contents(bad) if not name.startswith(".watch")] == ["hole.png"]
    assert set(contents(folder)) == ({"hole.png"} if way == "copy" else set())
    (bad / "hole.png").unlink()
    once(detector, folder, output)
    assert "hole.png" not in contents(bad)  # whoever took it away does not get it again
    assert len(read_lines(output)) == 1


def test_a_running_watcher_ends_with_the_batch_in_hand(detector: Path, folder: Path, output: Path) -> None:
    command = [sys.executable, "-m", "promptad.runtime", "watch", detector, folder, "--output", output, "--settle", "0"]
    for number in range(3):
        put(folder / f"{number}.png", number)
    for signal_number in (signal.SIGTERM, signal.SIGINT):
        with subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            wait_until(lined(output, 3))
            assert process.stdout.readline().startswith("watching ")
            process.send_signal(signal_number)
            shown = process.stdout.read()
            assert process.wait(PATIENCE) == 0
        assert "written: " in shown
    assert len(read_lines(output)) == 3


# Rejected pictures


@pytest.mark.parametrize("way", ["copy", "move"])
def test_rejected_pictures_go_under_free_names(detector: Path, folder: Path, output: Path, way: str) -> None:
    pictures = [put(folder / place / "hole.png", HOLE) for place in ("a", "b")]
    put(folder / "good.png")
    bad = folder.with_name("bad")
    (bad / "hole.png").mkdir(parents=True)
    once(detector, folder, output, "--rejected", way, "--rejected-to", bad)
    assert sorted(path.name for path in bad.iterdir() if path.is_file() and path.name[0] != ".") == [
        "hole_2.png",
        "hole_3.png",
    ]
    word = {"copy": "copied", "move": "moved"}[way]
    assert [Path(line[word]).name for line in read_lines(output) if word in line] == ["hole_2.png", "hole_3.png"]
    assert [picture.exists() for picture in pictures] == [way == "copy"] * 2
    assert (folder / "good.png").exists()


def test_a_rejected_picture_that_cannot_be_moved_stays_and_is_tried_again(
    detector: Path, folder: Path, output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = put(folder / "hole.png", HOLE).read_bytes()
    bad = folder.with_name("bad")
    with monkeypatch.context() as patch:

        def full(_: object) -> None:
            raise OSError(28, "No space left on device")

        patch.setattr(rejects, "place", full)
        shown = once(detector, folder, output, "--rejected", "move", "--rejected-to", bad).output
    assert "no space left on device" in shown
    assert "1 rejected pictures are not yet where their lines say" in shown
    assert (folder / "hole.png").read_bytes() == content
    put(folder / "hole_too.png", HOLE)
    once(detector, folder, output, "--rejected", "move", "--rejected-to", bad)
    assert (bad / "hole.png").read_bytes() == content
    assert (bad / "hole_too.png").exists()


def test_a_move_to_another_disk_is_a_copy_first(
    detector: Path, folder: Path, output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = put(folder / "hole.png", HOLE).read_bytes()
    bad, usual = folder.with_name("bad"), Path.rename

    def rename(self: Path, target: Path) -> Path:
        if self.parent != target.parent:
            raise OSError(18, "Invalid cross-device link")
        return usual(self, target)

    monkeypatch.setattr(Path, "rename", rename)
    once(detector, folder, output, "--rejected", "move", "--rejected-to", bad)
    assert (bad / "hole.png").read_bytes() == content
    assert contents(folder) == {}


def test_a_picture_that_replaces_a_rejected_one_is_not_moved_in_its_place(
    detector: Path, folder: Path, output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(folder / "hole.png", HOLE)
    bad = folder.with_name("bad")

    def replaced(path: Path) -> object:
        found = look_at(path)
        if path.name == "hole.png":
            put(path, GOOD)  # right behind the look
        return found

    with monkeypatch.context() as patch:
        patch.setattr("promptad.runtime.rejects.look_at", replaced)
        assert "was replaced" in once(detector, folder, output, "--rejected", "move", "--rejected-to", bad).output
    assert not (bad / "hole.png").exists()
    once(detector, folder, output, "--rejected", "move", "--rejected-to", bad)
    assert [line["decision"] for line in read_lines(output)] == ["anomaly", "good"]
    assert (folder / "hole.png").exists()


def test_overlays_are_drawn_and_those_without_a_line_removed(detector: Path, folder: Path, output: Path) -> None:
    put(folder / "hole.png", HOLE)
    put(output / "overlays" / "0007_killed.png")
    once(detector, folder, output, "--overlays")
    (line,) = read_lines(output)
    assert [line["overlay"]] == [str(path) for path in (output / "overlays").iterdir()]


# The webhook


class Receiver(HTTPServer):
    """Takes lines; the answers to the first of them may be given."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.lines: list[dict[str, Any]] = []
        self.codes: list[int] = []
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.server_port}/secret"


class _Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        assert self.headers["Content-Type"] == "application/json"
        code = self.server.codes.pop(0) if self.server.codes else 200
        if code == 200:
            self.server.lines.append(json.loads(body))
        self.send_response(code)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    monkeypatch.setattr(webhook, "PAUSES", (0.01, 0.01))
    server = Receiver()
    yield server
    server.shutdown()
    server.server_close()


def test_the_lines_of_rejected_pictures_are_sent_or_all(
    detector: Path, folder: Path, output: Path, receiver: Receiver
) -> None:
    put(folder / "good.png")
    put(folder / "hole.png", HOLE)
    once(detector, folder, output, "--webhook", receiver.url)
    assert receiver.lines == [line for line in read_lines(output) if line["decision"] == "anomaly"]
    put(folder / "other.png")
    once(detector, folder, output, "--webhook", receiver.url, "--webhook-all")
    assert [Path(line["path"]).name for line in receiver.lines] == ["hole.png", "other.png"]


def test_a_failure_is_tried_again_then_kept_for_the_next_start(
    detector: Path, folder: Path, output: Path, receiver: Receiver
) -> None:
    put(folder / "a.png", HOLE)
    receiver.codes = [500, 302]
    assert "webhook" not in once(detector, folder, output, "--webhook", receiver.url).output
    assert len(receiver.lines) == 1
    put(folder / "b.png", HOLE)
    receiver.codes = [503, 503, 503]
    shown = once(detector, folder, output, "--webhook", receiver.url).output
    assert f"webhook 127.0.0.1: answered with 503; kept for the next start: {folder / 'b.png'}" in shown
    assert "secret" not in shown
    assert len(receiver.lines) == 1
    once(detector, folder, output, "--webhook", receiver.url)
    assert [Path(line["path"]).name for line in receiver.lines] == ["a.png", "b.png"]
    assert (output / "webhook.jsonl").read_text() == ""


def test_a_refused_line_does_not_hold_up_the_others(
    detector: Path, folder: Path, output: Path, receiver: Receiver
) -> None:
    for name in "abc":
        put(folder / f"{name}.png", HOLE)
    receiver.codes = [413]
    shown = once(detector, folder, output, "--webhook", receiver.url).output
    assert shown.count("refused with 413") == 1
    assert [Path(line["path"]).name for line in receiver.lines] == ["b.png", "c.png"]
    assert len((output / "webhook.jsonl").read_text().splitlines()) == 1


def test_lines_that_a_kill_left_unsent_are_sent_at_the_next_start(
    detector: Path, folder: Path, output: Path, receiver: Receiver
) -> None:
    put(folder / "a.png", HOLE)
    once(detector, folder, output, "--webhook", receiver.url)
    put(folder / "b.png", HOLE)
    once(detector, folder, output)  # as a kill between line and message
    once(detector, folder, output, "--webhook", receiver.url)
    assert [Path(line["path"]).name for line in receiver.lines] == ["a.png", "b.png"]


def test_nobody_at_the_address_costs_no_picture(detector: Path, folder: Path, output: Path, receiver: Receiver) -> None:
    for number in range(3):
        put(folder / f"{number}.png", HOLE)
    url = receiver.url
    receiver.shutdown()
    receiver.server_close()
    shown = once(detector, folder, output, "--webhook", url).output
    assert "not reached (connection refused)" in shown
    assert "2 further lines are sent at the next start" in shown or "1 further lines" in shown
    assert len(read_lines(output)) == 3


# What is refused


def test_mistakes_are_one_line(detector: Path, folder: Path, output: Path, tmp_path: Path) -> None:
    def refused(*more: str | Path, **places: Path) -> Outcome:
        place = places.get("output", output)
        return call("watch", detector, places.get("folder", folder), "--output", place, "--once", *more)

    assert_refused(refused(folder=tmp_path / "nothing"), "no folder of pictures")
    assert_refused(refused(output=folder), "--output", "is the watched folder, or above it")
    assert_refused(refused("--rejected", "burn", "--rejected-to", tmp_path / "x"), "copy, move")
    assert_refused(refused("--rejected", "move"), "--rejected and --rejected-to go together")
    assert_refused(refused("--rejected", "move", "--rejected-to", tmp_path), "--rejected-to", "above it")
    assert_refused(refused("--settle", "-1"), "--settle -1")
    assert_refused(refused("--settle", "nan"), "--settle nan")
    assert_refused(refused("--give-up", "0.5"), "--give-up 0.5", "--settle 1")
    assert_refused(refused("--poll", "0"), "--poll 0")
    assert_refused(refused("--batch-size", "0"), "--batch-size 0")
    assert_refused(refused("--webhook-all"), "--webhook-all")
    for url in ("file:///etc/passwd", "ftp://x/", "x", "http://", "http://a b/", "http://[", "http://a:99999/"):
        assert_refused(refused("--webhook", url), "--webhook", "http://")
    assert_refused(call("watch", detector, folder, "--output", output, "--fail-on-anomaly"), "--once")
    assert_refused(call("watch", trained_single(tmp_path), folder, "--output", output, "--once"), "decides nothing")
    assert not output.exists()


def trained_single(folder: Path) -> Path:
    trained("single-anchor").save(folder / "single.pt")
    return head_of("single-anchor", ".onnx", folder)


def test_a_missing_extra_is_one_line_with_its_install_command(
    detector: Path, folder: Path, output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch_options, "find_spec", lambda name: None if name == "watchfiles" else name)
    outcome = call("watch", detector, folder, "--output", output)
    assert_refused(outcome, "watchfiles is not installed: pip install watchfiles")
    once(detector, folder, output)  # which does without


def test_another_detector_or_rate_on_the_same_output_is_refused(
    detector: Path, folder: Path, output: Path, tmp_path: Path
) -> None:
    put(folder / "a.png")
    once(detector, folder, output)
    trained(NAME).save(tmp_path / "other.pt")
    outcome = call("watch", tmp_path / "other.pt", folder, "--output", output, "--once", *QUICK)
    assert_refused(outcome, "is of another detector", "choose another --output")
    once(tmp_path / "other.pt", folder, tmp_path / "fresh")
    rate = ("--false-alarm-rate", "0.2")
    outcome = call("watch", tmp_path / "other.pt", folder, "--output", tmp_path / "fresh", "--once", *QUICK, *rate)
    assert_refused(outcome, "is of false_alarm_rate 0.01, not 0.2")
    outcome = call("watch", tmp_path / "other.pt", folder, "--output", tmp_path / "fresh", "--once", "--threshold", "3")
    assert_refused(outcome, "is of threshold None, not 3.0")


def test_lines_of_predict_and_of_a_watcher_are_not_mixed(detector: Path, folder: Path, output: Path) -> None:
    put(folder / "a.png")
    assert call("predict", detector, folder, "--output", output).code == 0
    outcome = call("watch", detector, folder, "--output", output, "--once", *QUICK)
    assert_refused(outcome, "line 1 of", "was not written by promptad watch")
    once(detector, folder, output.with_name("watched"))
    before = contents(output.with_name("watched"))
    outcome = call("predict", detector, folder, "--output", output.with_name("watched"))
    assert_refused(outcome, "holds the lines of promptad watch")
    assert contents(output.with_name("watched")) == before


def test_a_second_watcher_on_the_same_folders_is_refused(detector: Path, folder: Path, output: Path) -> None:
    bad = output.with_name("bad")
    with watching(detector, folder, output, rejected="move", rejected_to=bad):
        outcome = call("watch", detector, folder, "--output", output, "--once")
        assert_refused(outcome, "is in use by another promptad")
        options = ("--rejected", "move", "--rejected-to", bad)
        outcome = call("watch", detector, folder, "--output", output.with_name("other"), "--once", *options)
        assert_refused(outcome, "--rejected-to", "is in use by another promptad")
    once(detector, folder, output)


def test_a_full_disk_keeps_no_part_of_a_line(
    detector: Path, folder: Path, output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(folder / "a.png")
    once(detector, folder, output)
    before = (output / "predictions.jsonl").read_bytes()
    put(folder / "b.png")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("promptad.runtime.journal.os.fsync", full)
        outcome = call("watch", detector, folder, "--output", output, "--once", *QUICK)
    assert outcome.code == 2
    assert (output / "predictions.jsonl").read_bytes() == before
    once(detector, folder, output)
    assert names(output) == ["a.png", "b.png"]


def test_the_runtime_watches_without_torch(detector: Path, folder: Path, output: Path) -> None:
    put(folder / "hole.png", HOLE)
    arguments = ["watch", str(detector), str(folder), "--output", str(output), "--once", *QUICK, "--overlays"]
    code = f"import sys; from promptad.runtime.__main__ import main; code = main({arguments!r}); "
    code += "print([name for name in ('torch', 'cv2', 'scipy', 'matplotlib', 'rich') if name in sys.modules], code)"
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "[] 0", done.stderr
    assert names(output) == ["hole.png"]
    assert runtime(["watch", str(detector), str(folder), "--output", str(output), "--once", "--fail-on-anomaly"]) == 0


def test_a_system_that_tells_of_no_changes_is_one_line(
    detector: Path, folder: Path, output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "OS file watch limit reached")

    monkeypatch.setattr("watchfiles.watch", full)
    options = WatchOptions(folder, output)
    message = refusal(watch, Session(detector), detector, options, Listener(print, print))
    assert "os file watch limit reached" in message
    assert "give `poll` in seconds" in message


# Whether the pictures have changed


def test_a_change_is_told_once_also_over_a_restart(detector: Path, folder: Path, output: Path) -> None:
    def dark(number: int) -> None:
        ImageEnhance.Brightness(carpets()[number % 12]).enhance(0.5).save(folder / f"dark_{number}.png")

    for number in range(15):
        dark(number)
    assert "the pictures have changed" not in once(detector, folder, output).output
    for number in range(15, 30):
        dark(number)
    told = once(detector, folder, output).output
    assert told.count("the pictures have changed") == 1
    assert "darker than those learned from" in told
    dark(30)
    assert "the pictures have changed" not in once(detector, folder, output).output


def test_a_folder_of_an_older_promptad_goes_on(detector: Path, folder: Path, output: Path) -> None:
    put(folder / "1.png")
    once(detector, folder, output)
    (line,) = read_lines(output)
    del line["look"], line["explanation"]["distance"]
    (output / "predictions.jsonl").write_text(json.dumps(line) + "\n")
    run = json.loads((output / "run.json").read_text())
    del run["looks"]
    (output / "run.json").write_text(json.dumps(run))
    put(folder / "2.png")
    once(detector, folder, output)
    assert names(output) == ["1.png", "2.png"]
