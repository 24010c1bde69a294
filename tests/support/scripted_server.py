"""A server on the loopback address that sends given bytes, however wrong, and records the requests that it gets."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable
from typing import Any, Self

Action = bytes | Callable[[socket.socket], None]

#: For how many seconds the server waits for the other side, which is then the failure of a test.
MAX_WAIT = 20.0


def http(status: int, body: Any = b"", **headers: str) -> bytes:
    """Return the bytes of a response that ends with its connection."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = {"Content-Length": str(len(raw)), "Connection": "close"} | {
        k.replace("_", "-"): v for k, v in headers.items()
    }
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"HTTP/1.1 {status} Some Reason\r\n{head}\r\n".encode() + raw


def reset(connection: socket.socket) -> None:
    """Break the connection off so that the other side sees a reset."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def trickle(beginning: bytes, piece: bytes, pause: float = 0.05) -> Action:
    """Send piece after piece, each well within any timeout, until the other side breaks the connection off."""

    def send(connection: socket.socket) -> None:
        connection.sendall(beginning)
        for _ in range(int(MAX_WAIT / pause)):
            time.sleep(pause)
            connection.sendall(piece)
        raise AssertionError("the other side went on listening")

    return send


def nothing(connection: socket.socket) -> None:
    """Send nothing until the other side breaks the connection off."""
    try:
        connection.recv(1)
    except TimeoutError:
        raise AssertionError("the other side went on waiting") from None


def then_reset(beginning: bytes) -> Action:
    """Send something, and break the connection off once it has arrived."""

    def send(connection: socket.socket) -> None:
        connection.sendall(beginning)
        time.sleep(0.05)
        reset(connection)

    return send


class ScriptedServer:
    """
    Serves one connection after the other, each with the next action of its script, and the last action for ever.

    :param script: what to send, or what to do with the connection.
    :param tls: the certificate to serve https with.
    :param closed: whether it refuses connections until :meth:`listen` is called.
    """

    def __init__(self, *script: Action, tls: ssl.SSLContext | None = None, closed: bool = False) -> None:
        self.script = list(script)
        self.tls = tls
        self.requests: list[str] = []
        #: When each request came, by a clock that is never set.
        self.times: list[float] = []
        self._clock = time.monotonic
        self._listener = socket.socket()
        self._listener.bind(("127.0.0.1", 0))
        self._open = threading.Event()
        if not closed:
            self.listen()
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def listen(self) -> None:
        """Accept connections."""
        self._listener.listen()
        self._open.set()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):  # it never listened
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._open.set()
        self._thread.join(2 * MAX_WAIT)
        assert not self._thread.is_alive(), "the server has not ended"

    @property
    def tokens(self) -> list[str]:
        """The bearer tokens of the requests, in order."""
        return [
            line.removeprefix("Authorization: Bearer ")
            for request in self.requests
            for line in request.split("\r\n")
            if line.startswith("Authorization: ")
        ]

    def _serve(self) -> None:
        self._open.wait()
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            connection.settimeout(MAX_WAIT)
            with connection, contextlib.suppress(OSError):
                if self.tls:
                    connection = self.tls.wrap_socket(connection, server_side=True)
                with connection:
                    self._answer(connection)

    def _answer(self, connection: socket.socket) -> None:
        request = b""
        while not _is_whole(request):
            piece = connection.recv(65536)
            if not piece:
                return
            request += piece
        self.times.append(self._clock())
        self.requests.append(request.decode())
        action = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        if callable(action):
            action(connection)
        else:
            connection.sendall(action)


def _is_whole(request: bytes) -> bool:
    """Return whether all of a request has come, its body included: a server that leaves it unread resets."""
    head, end, body = request.partition(b"\r\n\r\n")
    length = re.search(rb"(?i)\r\ncontent-length: *([0-9]+)", head)
    return bool(end) and len(body) >= int(length[1] if length else 0)
