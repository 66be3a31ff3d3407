"""The service under load: requests a second, latency, memory, and that no request is lost.

python benchmarks/serve_load.py [--json FILE]

Trains the demo's carpet with `tiny`, exports it, starts `python -m promptad.serve` on loopback, and asks it from 1, 4
and 16 clients at once, in this process, each over one connection: one PNG picture of 256 pixels a request, first
for records, then with maps too. A request is lost if it is not answered with its own picture's record. About 2
minutes. On 2 cores, which clients and other work shared: 40 requests a second at 1 client and 55 at 16; lost 0.
"""

import argparse
import http.client
import json
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from rich.console import Console

from promptad import PromptAD
from promptad.data.demo import make_demo_class
from promptad.utils.files import whole_file
from promptad.utils.progress import add_task, progress_bar

CLASS = "carpet"
CLIENTS = (1, 4, 16)
PATHS = {"records": "/predict", "maps": "/predict?map=png"}
BOUNDARY = "pictures"


class Answer(NamedTuple):
    """How long an answer took, and whether it was the right one."""

    seconds: float
    right: bool


class Service(NamedTuple):
    """A running service."""

    port: int
    process: int


def main() -> None:
    """Train, export, ask; print and, if requested, write."""
    options = _parse()
    console = Console(highlight=False)
    figures: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as place:
        with console.status("training"):
            detector, pictures = trained(Path(place))
        with running(detector) as service, progress_bar(console) as progress:
            load(service, "/predict", 1, options.requests // 4, pictures)  # warms up
            figures["rss_mib_before"] = resident_mib(service.process)
            task = add_task(progress, "rounds", len(PATHS) * len(CLIENTS))
            for kind, path in PATHS.items():
                for clients in CLIENTS:
                    figures |= measured(f"{kind}_{clients}", service, path, clients, options.requests, pictures)
                    progress.advance(task)
            figures["rss_mib_after"] = resident_mib(service.process)
    for name, value in figures.items():
        console.print(f"{name} {value:.1f}")
    if options.json:
        with whole_file(options.json) as temporary:
            temporary.write_text(json.dumps(figures, indent=2) + "\n")


def trained(folder: Path) -> tuple[Path, list[Path]]:
    """Return an exported detector of the demo's class, and the test pictures."""
    carpet = make_demo_class(folder / "demo", CLASS)
    detector = PromptAD(CLASS, backbone="tiny")
    detector.fit(sorted(carpet.glob("train/good/*.png"))[:2])
    detector.export(folder / f"{CLASS}.onnx")
    return folder / f"{CLASS}.onnx", sorted(carpet.glob("test/*/*.png"))


@contextmanager
def running(detector: Path) -> Iterator[Service]:
    """Yield the service of a detector, which is stopped at the end."""
    command = [sys.executable, "-m", "promptad.serve", str(detector), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            found = re.search(r":(\d+),", process.stdout.readline())
            assert found, "the service has not started"
            yield Service(int(found[1]), process.pid)
        finally:
            process.send_signal(signal.SIGTERM)


def measured(
    name: str, service: Service, path: str, clients: int, requests: int, pictures: Sequence[Path]
) -> dict[str, float]:
    """Return the figures of one round."""
    started = time.monotonic()
    answers = load(service, path, clients, requests, pictures)
    seconds = time.monotonic() - started
    milliseconds = [1000 * answer.seconds for answer in answers]
    return {
        f"{name}_per_second": len(answers) / seconds,
        f"{name}_median_ms": statistics.median(milliseconds),
        f"{name}_p95_ms": statistics.quantiles(milliseconds, n=20)[-1],
        f"{name}_lost": requests - sum(answer.right for answer in answers),
    }


def load(service: Service, path: str, clients: int, requests: int, pictures: Sequence[Path]) -> list[Answer]:
    """Ask from several clients at once, `requests` times in all."""
    bodies = [(f"{number}.png", body_of(f"{number}.png", file)) for number, file in enumerate(pictures)]
    shares = [range(first, requests, clients) for first in range(clients)]

    def ask(share: range) -> list[Answer]:
        connection = http.client.HTTPConnection("127.0.0.1", service.port)
        return [asked(connection, path, *bodies[number % len(bodies)]) for number in share]

    with ThreadPoolExecutor(clients) as pool:
        return [answer for own in pool.map(ask, shares) for answer in own]


def asked(connection: http.client.HTTPConnection, path: str, name: str, body: bytes) -> Answer:
    """Send a picture, and check the answer."""
    started = time.monotonic()
    connection.request("POST", path, body, {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"})
    response = connection.getresponse()
    content = json.loads(response.read())
    right = response.status == 200 and [record["path"] for record in content] == [name] and "score" in content[0]
    return Answer(time.monotonic() - started, right)


def body_of(name: str, file: Path) -> bytes:
    """Return the body of a request with one picture."""
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="images"; filename="{name}"\r\n\r\n'
    return head.encode() + file.read_bytes() + f"\r\n--{BOUNDARY}--\r\n".encode()


def resident_mib(process: int) -> float:
    """Return the memory of a process, in MiB; Linux alone tells."""
    (line,) = re.findall(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{process}/status").read_text())
    return int(line) / 1024


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--requests", type=int, default=400, help="of each round")
    parser.add_argument("--json", type=Path, help="file to write the figures to")
    return parser.parse_args()


if __name__ == "__main__":
    main()
