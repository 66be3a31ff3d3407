"""The service as a process of its own: it starts, is stopped, and does not start."""

import http.client
import json
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from urllib.request import urlopen

import pytest
from served import export_whole, picture, running

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_whole(tmp_path_factory.mktemp("whole") / "part.onnx")


def multipart(*contents: bytes) -> tuple[bytes, dict[str, str]]:
    """The body and headers of a request that sends pictures."""
    pieces = [
        b'--x\r\nContent-Disposition: form-data; name="images"; filename="%d.png"\r\n\r\n%s\r\n' % (number, content)
        for number, content in enumerate(contents)
    ]
    return b"".join([*pieces, b"--x--\r\n"]), {"Content-Type": "multipart/form-data; boundary=x"}


def refused_start(*arguments: str | Path) -> str:
    """The one line of a service that does not start."""
    command = [sys.executable, "-m", "promptad.serve", *map(str, arguments)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    return done.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_what_is_being_judged_is_answered_before_the_service_stops(exported: Path, number: int) -> None:
    many = [picture(seed, (900, 900)) for seed in range(8)]
    with running(exported) as served:
        body, headers = multipart(*many)
        connection = http.client.HTTPConnection("127.0.0.1", served.port)
        connection.request("POST", "/predict?map=png", body, headers)  # all of it is sent
        time.sleep(0.1)
        codes: list[int] = []
        stopping = threading.Thread(target=lambda: codes.append(served.stop(number)))
        stopping.start()
        answer = connection.getresponse()
        assert answer.status == 200
        assert [record["path"] for record in json.loads(answer.read())] == [f"{one}.png" for one in range(8)]
        stopping.join(30)
        assert codes == [0]
        with pytest.raises(ConnectionRefusedError), socket.create_connection(("127.0.0.1", served.port)):
            pass


def test_a_refused_body_is_answered_and_the_connection_goes_on(exported: Path) -> None:
    with running(exported, "--max-mb", "0.1") as served:
        connection = http.client.HTTPConnection("127.0.0.1", served.port)
        connection.request("POST", "/predict", bytes(3_000_000), {"Content-Type": "multipart/form-data; boundary=x"})
        answer = connection.getresponse()
        assert answer.status == 413
        assert b"more than 0.1 MB" in answer.read()
        body, headers = multipart(picture(1))
        connection.request("POST", "/predict", body, headers)
        assert connection.getresponse().status == 200


def test_a_token_comes_from_the_environment(exported: Path) -> None:
    with running(exported, PROMPTAD_TOKEN="a-secret") as served:
        connection = http.client.HTTPConnection("127.0.0.1", served.port)
        connection.request("GET", "/parts")
        assert connection.getresponse().status == 401
        assert json.loads(urlopen(f"{served.address}/healthz").read())["status"] == "ok"


def test_whoever_opens_it_to_others_without_a_token_is_warned(exported: Path) -> None:
    command = [sys.executable, "-m", "promptad.serve", str(exported), "--host", "0.0.0.0", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("judging carpet at http://0.0.0.0:")
        line = "whoever reaches 0.0.0.0 can use this service: give a --token, or --host 127.0.0.1\n"
        assert process.stdout.readline() == line
        process.terminate()
        assert process.wait(30) == 0


def test_a_taken_port_is_one_line(exported: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        line = refused_start(exported, "--port", str(port))
    assert line == (f"promptad: --port {port} of 127.0.0.1: address already in use; choose another with --port\n")


def test_an_address_of_another_machine_is_one_line(exported: Path) -> None:
    assert refused_start(exported, "--host", "no.such.host.invalid").startswith("promptad: --host no.such.host.invalid")


def test_the_service_loads_without_torch(exported: Path) -> None:
    heavy = ("torch", "cv2", "scipy", "matplotlib", "rich", "jinja2")
    code = "import sys, pathlib; from promptad.serve import app, parts, service; "
    code += f"found = parts.open_parts([pathlib.Path({str(exported)!r})]); "
    code += "app.make_app(service.Service(found, 4), token=None, max_mb=1); "
    code += f"print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("[]\n", "")
