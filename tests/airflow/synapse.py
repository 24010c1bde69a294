"""A Synapse whose sessions go by the table: each cell has a pool, whose time begins with the first look."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from tests.airflow.outcomes import ANSWERS, Answer


class TimedSynapse(ThreadingHTTPServer):
    """Answers for the pools that are named ``<ending>.<anything>``, and remembers who asked."""

    daemon_threads = True
    request_queue_size = 200

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.askers: defaultdict[str, set[str]] = defaultdict(set)
        self.last_look: dict[str, float] = {}
        self._began: dict[str, float] = {}
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self.serve_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *details: object) -> None:
        self.shutdown()
        self._thread.join()
        self.server_close()

    def answer(self, pool: str, asker: str) -> Answer:
        """Return what a session of the pool shows by now."""
        with self._lock:
            now = time.monotonic()
            self.askers[pool].add(asker)
            passed = now - self._began.setdefault(pool, now)
            self.last_look[pool] = passed
        return [answer for answer in ANSWERS[pool.partition(".")[0]] if answer.after <= passed][-1]


class _Handler(BaseHTTPRequestHandler):
    """Answers the GET for a session; who asks, the worker or the triggerer, shows by its HTTP library."""

    server: TimedSynapse
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Answer."""
        pool = self.path.split("/")[5]
        answer = self.server.answer(pool, "triggerer" if "aiohttp" in self.headers["User-Agent"] else "worker")
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        self.wfile.write(answer.body)

    def log_message(self, *words: Any) -> None:
        """Stay silent."""
