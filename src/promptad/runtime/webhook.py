"""Send lines to an address as they are written: in their order, again after a failure, and after a kill."""

import http.client
import json
import os
import threading
import urllib.request
from collections.abc import Callable
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit

from promptad.errors import InputError
from promptad.runtime.journal import Entry, Journal
from promptad.runtime.records import NO_RECORD
from promptad.utils.files import whole_file
from promptad.utils.json_text import is_number, parse_json

SENT, KEPT = "webhook.json", "webhook.jsonl"
TIMEOUT = 10.0  # seconds that an answer may take
PAUSES = (1.0, 2.0, 4.0, 8.0)  # seconds between the attempts of one line
REFUSED = range(400, 500)  # answers that another attempt does not change
PASSING = (408, 429)  # but these
REFUSAL = "refused"  # how the reason of such a failure begins


def check_address(url: str) -> None:
    """Check an address that lines are to be sent to.

    Raises:
        InputError: it is none of http or https.
    """
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        usable = False
    if not usable or not url.isascii() or not url.isprintable() or " " in url:
        raise InputError(f"`webhook` {url!r}: give an address that begins with http:// or https://")


class Webhook:
    """Sends lines in a thread of its own. The queue is the file of lines itself, so that it takes no memory.

    How far it has come is kept in a file. A line that is refused, or could not be sent in all attempts, goes to another
    file, which is sent again at the next start. After a kill a line may be sent twice.
    """

    def __init__(self, url: str, journal: Journal, tell: Callable[[str], None], *, every: bool) -> None:
        check_address(url)
        self._url, self._journal, self._tell, self._every = url, journal.path, tell, every
        self._host = urlsplit(url).hostname
        self._state, self._kept = journal.path.with_name(SENT), journal.path.with_name(KEPT)
        self._end = journal.end
        self._sent = self._read_state()
        self._save()
        self._changed = threading.Condition()
        self._stopping = self._draining = False
        # No handler of redirects: they would turn a POST into a GET, and lead to other schemes.
        self._opener = urllib.request.OpenerDirector()
        for handler in (
            urllib.request.ProxyHandler,
            urllib.request.HTTPHandler,
            urllib.request.HTTPSHandler,
            urllib.request.HTTPDefaultErrorHandler,
            urllib.request.HTTPErrorProcessor,
        ):
            self._opener.add_handler(handler())
        self._thread = threading.Thread(target=self._run, name="webhook", daemon=True)
        self._thread.start()

    def announce(self, end: int) -> None:
        """Send the lines up to this byte of the file, too."""
        with self._changed:
            self._end = end
            self._changed.notify()

    def close(self, *, drain: bool) -> None:
        """End the thread: after the attempt in hand, or with `drain` when all is sent or one line could not be."""
        with self._changed:
            self._draining, self._stopping = drain, not drain
            self._changed.notify()
        self._thread.join()
        if count := self._count_unsent():
            self._tell(f"webhook {self._host}: {count} further lines are sent at the next start")

    def _run(self) -> None:
        try:
            self._send_kept()
            while self._await_line():
                self._send_lines()
        except (OSError, InputError) as error:  # a full disk: the next start goes on from here
            self._tell(f"webhook {self._host} has ended, until the next start: {error}")

    def _await_line(self) -> bool:
        with self._changed:
            self._changed.wait_for(lambda: self._stopping or self._draining or self._sent < self._end)
            return not self._stopping and self._sent < self._end

    def _send_lines(self) -> None:
        """Send the lines there are; how far it came is kept behind each that was sent, and at the end."""
        with self._journal.open("rb") as lines:
            lines.seek(self._sent)
            while self._sent < self._end and not self._stopping:
                line = lines.readline()
                if self._is_wanted(line):
                    failure = self._deliver(line)
                    if self._stopping and failure:
                        return
                    if failure:
                        self._keep(line, failure)
                        self._stopping = self._draining and not failure.startswith(REFUSAL)
                    self._sent = lines.tell()
                    self._save()
                else:
                    self._sent = lines.tell()
        self._save()

    def _count_unsent(self) -> int:
        with self._journal.open("rb") as lines:
            lines.seek(self._sent)
            return sum(map(self._is_wanted, lines))

    def _is_wanted(self, line: bytes) -> bool:
        try:
            return self._every or Entry.from_line(line).is_rejected
        except NO_RECORD:
            return False

    def _send_kept(self) -> None:
        """Send what earlier starts could not; stop at the first that fails again for another reason than itself."""
        if not self._kept.is_file():
            return
        waiting = [line for line in self._kept.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]
        remaining = list(waiting)
        for line in waiting:
            failure = self._deliver(line)
            if not failure:
                remaining.remove(line)
            elif not failure.startswith(REFUSAL):
                break
        if remaining:
            self._tell(f"webhook {self._host}: {len(remaining)} lines wait in {self._kept}")
        with whole_file(self._kept, "output") as temporary:
            temporary.write_bytes(b"".join(remaining))

    def _keep(self, line: bytes, failure: str) -> None:
        with self._kept.open("ab") as kept:
            kept.write(line)
            kept.flush()
            os.fsync(kept.fileno())
        self._tell(f"webhook {self._host}: {failure}; kept for the next start: {json.loads(line)['path']}")

    def _deliver(self, line: bytes) -> str:
        """Send a line, in several attempts; return why it could not be sent, or ""."""
        failure = ""
        for pause in (*PAUSES, 0.0):
            failure = self._post(line)
            if not failure or failure.startswith(REFUSAL):
                return failure
            with self._changed:
                if self._changed.wait_for(lambda: self._stopping, pause):
                    return failure
        return failure

    def _post(self, line: bytes) -> str:
        headers = {"Content-Type": "application/json", "User-Agent": "promptad"}
        request = urllib.request.Request(self._url, line.rstrip(b"\n"), headers, method="POST")
        try:
            with self._opener.open(request, timeout=TIMEOUT) as answer:
                answer.read(1)
        except HTTPError as error:
            error.close()
            kind = REFUSAL if error.code in REFUSED and error.code not in PASSING else "answered"
            return f"{kind} with {error.code}"
        except (URLError, OSError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", None) or error
            return f"not reached ({getattr(reason, 'strerror', None) or reason or type(error).__name__})".lower()
        return ""

    def _read_state(self) -> int:
        """Return how many bytes of lines are done with: all there are, if no address was given before."""
        try:
            sent = parse_json(self._state.read_text(encoding="utf-8"))["sent"]
        except (OSError, ValueError, KeyError, TypeError):
            return self._end
        return int(sent) if is_number(sent) and 0 <= sent <= self._end else self._end

    def _save(self) -> None:
        with whole_file(self._state, "output") as temporary:
            temporary.write_text(f'{{"sent": {self._sent}}}\n', encoding="utf-8")
