#!/usr/bin/env python
"""Soak test of `promptad watch`: pictures arrive in several ways while the watcher is killed again and again.

usage: python tools/soak_watch.py [--files 2000] [--kills 20] [--seed 0] [--json FILE]

Asserts that each picture has exactly one line, that no line is torn, that every rejected picture is where its line says
and byte for byte what arrived, and that the webhook had each rejected line at least once.
"""

import argparse
import hashlib
import io
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from PIL import Image

from promptad import PromptAD, Settings
from promptad.data.demo import draw_image
from promptad.runtime.arrivals import Identity, utc
from promptad.runtime.journal import Entry
from promptad.settings import TINY_BACKBONE, BackboneSettings, ScoringSettings, TrainingSettings

SETTLE, GIVE_UP = 0.3, 3.0  # seconds
SHORTEST, LONGEST = 0.2, 8.0  # seconds until a kill
PATIENCE = 300.0  # seconds until the last line is there
WAYS = ("plain", "slow", "renamed", "folder", "overwritten", "finished late", "broken")
KINDS = (".png", ".jpg", ".bmp")
WRITERS = 48
FAULTS = 0.05  # share of the webhook's answers that are errors


@dataclass
class Arrived:
    """What has arrived, by its identity: the SHA-256 of its bytes, and whether it can be read."""

    pictures: dict[Identity, tuple[str, bool]] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, path: Path, found: os.stat_result, content: bytes, *, readable: bool = True) -> Identity:
        """Note a file, and return its identity."""
        identity = (str(path), found.st_size, utc(found.st_mtime_ns))
        with self.lock:
            assert identity not in self.pictures
            self.pictures[identity] = (hashlib.sha256(content).hexdigest(), readable)
        return identity


class Line:
    """A production line, whose pictures arrive in a folder."""

    def __init__(self, folder: Path, output: Path) -> None:
        self.folder, self.output, self.arrived = folder, output, Arrived()
        self._drawn = [self._draw(number) for number in range(24)]

    def bring(self, number: int, chance: random.Random) -> str:
        """Have one picture arrive; return in which way."""
        way = chance.choice(WAYS)
        path = self.folder / f"station {chance.randrange(3)}" / f"{number:05}{chance.choice(KINDS)}"
        path.parent.mkdir(exist_ok=True)
        content = self._content(number, path.suffix, chance)
        if way == "slow":
            self._write(path, content, [chance.uniform(0, SETTLE / 2) for _ in range(chance.randrange(2, 7))])
        elif way == "renamed":
            partial = path.with_name(f"{path.name}.part")
            partial.write_bytes(content)
            self.arrived.add(path, partial.stat(), content)
            partial.rename(path)
        elif way == "folder":
            hidden = self.folder / f".{number}"
            hidden.mkdir()
            (hidden / path.name).write_bytes(content)
            self.arrived.add(self.folder / f"lot {number}" / path.name, (hidden / path.name).stat(), content)
            hidden.rename(self.folder / f"lot {number}")
        elif way == "overwritten":
            self._await(self._write(path, content))
            self._write(path, self._content(number + 1_000_000, path.suffix, chance))
        elif way == "finished late":
            self._await(self._write(path, content[: len(content) // 2], readable=False))
            self._write(path, content)
        elif way == "broken":
            self._write(path, chance.randbytes(500), readable=False)
        else:
            self._write(path, content)
        return way

    def lines(self) -> list[Entry]:
        """Return the whole lines there are."""
        file = self.output / "predictions.jsonl"
        content = file.read_bytes() if file.is_file() else b""
        return [Entry.from_line(line) for line in content[: content.rfind(b"\n") + 1].split(b"\n")[:-1]]

    def _write(self, path: Path, content: bytes, pauses: Sequence[float] = (), *, readable: bool = True) -> Identity:
        """Write a file in place, in pieces with pauses between them."""
        size = len(content) // (len(pauses) + 1) + 1
        with path.open("wb", buffering=0) as file:
            file.write(content[:size])
            for number, pause in enumerate(pauses, 1):
                time.sleep(pause)
                file.write(content[number * size : (number + 1) * size])
            return self.arrived.add(path, os.fstat(file.fileno()), content, readable=readable)

    def _await(self, identity: Identity) -> None:
        """Wait until a picture has its line, and is where it is to be."""
        deadline = time.monotonic() + PATIENCE
        needle = json.dumps(identity[0], ensure_ascii=False).encode()
        while time.monotonic() < deadline:
            file = self.output / "predictions.jsonl"
            found = file.read_bytes() if file.is_file() else b""
            if needle in found and any(entry.picture.identity == identity for entry in self.lines()):
                return
            time.sleep(0.2)
        raise AssertionError(f"{identity} has no line after {PATIENCE:g} s")

    def _content(self, number: int, suffix: str, chance: random.Random) -> bytes:
        image = chance.choice(self._drawn).copy()
        image.putpixel((0, 0), (number % 256, number // 256 % 256, number // 65536 % 256))
        file = io.BytesIO()
        image.save(file, {".png": "PNG", ".jpg": "JPEG", ".bmp": "BMP"}[suffix])
        return file.getvalue()

    def _draw(self, number: int) -> Image.Image:
        drawn, _ = draw_image("carpet", style_seed=7, instance_seed=number, defect="hole" if number % 3 == 2 else None)
        return Image.fromarray(drawn).resize((96, 96))


class Receiver(ThreadingHTTPServer):
    """Takes the lines of the webhook, and now and then fails."""

    def __init__(self, seed: int) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.chance, self.received, self.lock = random.Random(seed), Counter[Identity](), threading.Lock()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def handle_error(self, *_: object) -> None:
        """Say nothing of requests that a kill has torn."""


class _Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        """Take a line."""
        line = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.lock:
            fails = self.server.chance.random() < FAULTS
            if not fails:
                self.server.received[(line["path"], line["size"], line["modified"])] += 1
        self.send_response(503 if fails else 200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def make_detector(folder: Path) -> Path:
    """Write a quick detector of small carpets."""
    settings = Settings(
        backbone=BackboneSettings(name=TINY_BACKBONE, resize=48),
        training=TrainingSettings(epochs=1, views=4),
        scoring=ScoringSettings(resolution=24, sigma=1.0, memory=True),
    )
    support = [draw_image("carpet", style_seed=7, instance_seed=number)[0] for number in (40, 41)]
    PromptAD("carpet", settings=settings).fit(support).export(folder / "carpet.onnx")
    return folder / "carpet.onnx"


def soak(scratch: Path, files: int, kills: int, seed: int) -> dict[str, Any]:
    """Let files arrive while the watcher is killed, check what came of it, and return the figures.

    Raises:
        AssertionError: a promise is broken.
    """
    chance, started = random.Random(seed), time.monotonic()
    (scratch / "new").mkdir()
    line, receiver = Line(scratch / "new", scratch / "out"), Receiver(seed)
    command = [sys.executable, "-m", "promptad.runtime", "watch", make_detector(scratch), line.folder]
    command += ["--output", line.output, "--rejected", "move", "--rejected-to", scratch / "bad", "--batch-size", "8"]
    command += ["--settle", SETTLE, "--give-up", GIVE_UP, "--webhook", f"http://127.0.0.1:{receiver.server_port}/"]
    words = list(map(str, command))
    lives = [chance.uniform(SHORTEST, LONGEST) for _ in range(kills)]
    moments = sorted(chance.uniform(0, 0.9 * sum(lives)) for _ in range(files))
    begun = time.monotonic()

    def arrive(number: int) -> str:
        time.sleep(max(begun + moments[number] - time.monotonic(), 0))
        return line.bring(number, random.Random(f"{seed} {number}"))

    with ThreadPoolExecutor(WRITERS) as pool, (scratch / "log.txt").open("w") as log:
        arriving = [pool.submit(arrive, number) for number in range(files)]
        in_hand = []
        for life in lives:
            watcher = subprocess.Popen(words, stdout=log, stderr=log)
            time.sleep(life)
            assert watcher.poll() is None, "the watcher has ended"
            watcher.kill()
            watcher.wait()
            in_hand.append(len(line.arrived.pictures) - len(line.lines()))
        watcher = subprocess.Popen(words, stdout=log, stderr=log)
        ways = Counter(task.result() for task in arriving)
        deadline = time.monotonic() + PATIENCE
        while len(line.lines()) < len(line.arrived.pictures) and time.monotonic() < deadline:
            time.sleep(0.2)
        time.sleep(2 * SETTLE)  # what is judged twice would come now
        watcher.send_signal(signal.SIGTERM)
        assert watcher.wait(60) == 0
        for _ in range(3):  # lines that the webhook's faults left are sent at the next start
            assert subprocess.run([*words, "--once"], stdout=log, stderr=log, check=False).returncode == 0
    receiver.shutdown()
    return {
        "files": files,
        "kills": kills,
        "with pictures in hand": sum(count > 0 for count in in_hand),
        "ways": dict(ways),
        **check(line, scratch / "bad", receiver.received),
        "seconds": round(time.monotonic() - started),
    }


def check(line: Line, bad: Path, received: Counter[Identity]) -> dict[str, int]:
    """Check all promises, and return what was counted."""
    arrived, entries = line.arrived.pictures, line.lines()
    content = (line.output / "predictions.jsonl").read_bytes()
    assert content.endswith(b"\n")
    counts = Counter(entry.picture.identity for entry in entries)
    missing, foreign = arrived.keys() - counts.keys(), counts.keys() - arrived.keys()
    doubled = [identity for identity, count in counts.items() if count > 1]
    assert (missing, foreign, doubled) == (set(), set(), [])
    for entry in entries:
        assert bool(entry.record.error) != arrived[entry.picture.identity][1], entry
    rejected = [entry for entry in entries if entry.is_rejected]
    for entry in rejected:
        assert _sha256(Path(entry.record.moved)) == arrived[entry.picture.identity][0], entry
    there = [path for path in bad.iterdir() if path.name != ".watch.lock"]
    assert len(there) == len({entry.record.moved for entry in rejected}) == len(rejected)
    latest = {entry.picture.path: entry for entry in entries}
    stayed = [entry for entry in latest.values() if not entry.is_rejected]
    for entry in stayed:
        assert _sha256(entry.picture.path) == arrived[entry.picture.identity][0], entry
    assert len(stayed) == sum(path.is_file() for path in line.folder.rglob("*"))
    assert received.keys() == {entry.picture.identity for entry in rejected}
    return {
        "pictures": len(arrived),
        "lines": len(entries),
        "unreadable": sum(bool(entry.record.error) for entry in entries),
        "rejected and moved": len(rejected),
        "messages": received.total(),
    }


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the soak test; return 1 if a promise is broken."""
    parser = argparse.ArgumentParser(description="Kill promptad watch while pictures arrive.")
    parser.add_argument("--files", type=int, default=2000, help="pictures that arrive, at least")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="file for the figures")
    given = parser.parse_args(arguments)
    scratch = Path(tempfile.mkdtemp(prefix="soak_watch_"))
    try:
        figures = soak(scratch, given.files, given.kills, given.seed)
    except AssertionError as error:
        print(f"failed: {str(error)[:2000]}; what there is: {scratch}")
        return 1
    shutil.rmtree(scratch)
    print(json.dumps(figures, indent=1))
    if given.json:
        given.json.write_text(json.dumps(figures) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
