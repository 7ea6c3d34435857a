"""``/healthz`` and ``/metrics`` on a loopback port."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from dicom_nodes.index import Index
from dicom_nodes.storage import Storage
from psdt_planner.casebook import Casebook
from psdt_planner.errors import ConfigurationError

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True)
class Health:
    """What has to be well.

    Attributes:
        reserve_mb: room that must be left on the disk.
        stepped_at_s: when the worker last took up work, POSIX time; None where this process does not work.
        stuck_s: a worker that has not done so for so long is stuck.
    """

    index: Index
    storage: Storage
    casebook: Casebook
    reserve_mb: float
    stepped_at_s: Callable[[], float] | None
    stuck_s: float
    clock: Callable[[], float]

    def check(self) -> Mapping[str, str]:
        """``ok``, or what is wrong, by what was looked at."""
        return {
            "disk": _told(self._disk),
            "index": _told(lambda: self.index.count() and ""),
            "casebook": _told(lambda: self.casebook.position("health") and ""),
            "worker": _told(self._worker),
        }

    def _disk(self) -> str:
        free_mb = self.storage.free_mb()
        if free_mb >= self.reserve_mb:
            return ""
        return f"{free_mb:.0f} MB are left, {self.reserve_mb:.0f} MB are the reserve: senders hear A700"

    def _worker(self) -> str:
        if self.stepped_at_s is None:
            return ""
        age_s = self.clock() - self.stepped_at_s()
        return "" if age_s < self.stuck_s else f"no step for {age_s:.0f} s"


def _told(check: Callable[[], object]) -> str:
    try:
        return str(check() or "ok")
    except Exception as error:  # whatever a dead database or disk raises, this page says so
        return f"does not answer: {type(error).__name__}"


@contextmanager
def serve_status(port: int, health: Health, metrics: Callable[[], bytes]) -> Iterator[int]:
    """Serve the two pages in a thread of its own; gives the port, which the system chooses where it is 0.

    Raises:
        ConfigurationError: the port is taken.
    """

    class Pages(BaseHTTPRequestHandler):
        """The two pages; nothing else is there, and nothing can be changed."""

        def do_GET(self) -> None:
            if self.path == "/healthz":
                checks = health.check()
                well = set(checks.values()) == {"ok"}
                body = json.dumps({"status": "ok" if well else "failing", "checks": checks}).encode()
                self._answer(200 if well else 503, "application/json", body)
            elif self.path == "/metrics":
                try:
                    self._answer(200, "text/plain; version=0.0.4; charset=utf-8", metrics())
                except Exception as error:  # as in ``_told``
                    self._answer(503, "text/plain", f"{type(error).__name__}\n".encode())
            else:
                self._answer(404, "text/plain", b"/healthz or /metrics\n")

        def _answer(self, code: int, kind: str, body: bytes) -> None:
            self.send_response(code)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Not logged: a probe asks every few seconds."""

    try:
        server = ThreadingHTTPServer((LOOPBACK, port), Pages)
    except OSError as error:
        raise ConfigurationError(f"cannot serve the status pages: {error.strerror}", where=f"port {port}") from error
    thread = threading.Thread(target=server.serve_forever, args=(0.1,), name="status", daemon=True)
    thread.start()
    try:
        yield int(server.server_address[1])
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
