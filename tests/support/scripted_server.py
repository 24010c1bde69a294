"""A server on the loopback address that answers with given bytes, however wrong, and remembers what it was asked."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable
from typing import Any, Self

Action = bytes | Callable[[socket.socket], None]


def http(status: int, body: Any = b"", **headers: str) -> bytes:
    """Write an answer that ends with its connection."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = {"Content-Length": str(len(raw)), "Connection": "close"} | {
        k.replace("_", "-"): v for k, v in headers.items()
    }
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"HTTP/1.1 {status} Some Reason\r\n{head}\r\n".encode() + raw


def reset(connection: socket.socket) -> None:
    """Break the connection off, so that the other side sees a reset."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def trickle(beginning: bytes, piece: bytes, pause: float = 0.05) -> Action:
    """Send piece after piece, each well within any timeout, for as long as the other side listens."""

    def send(connection: socket.socket) -> None:
        connection.sendall(beginning)
        while True:
            time.sleep(pause)
            connection.sendall(piece)

    return send


def nothing(connection: socket.socket) -> None:
    """Say nothing until the other side has had enough."""
    connection.recv(1)


def then_reset(beginning: bytes) -> Action:
    """Send something, and break the connection off once it has arrived."""

    def send(connection: socket.socket) -> None:
        connection.sendall(beginning)
        time.sleep(0.05)
        reset(connection)

    return send


class ScriptedServer:
    """
    Answers one connection after the other, each with the next action of its script, the last one for ever.

    :param script: what to send, or what to do with the connection.
    :param tls: the certificate to serve https with.
    :param closed: whether it refuses connections until it is told to :meth:`listen`.
    """

    def __init__(self, *script: Action, tls: ssl.SSLContext | None = None, closed: bool = False) -> None:
        self.script = list(script)
        self.tls = tls
        self.requests: list[str] = []
        self._listener = socket.socket()
        self._listener.bind(("127.0.0.1", 0))
        self._open = threading.Event()
        if not closed:
            self.listen()
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def listen(self) -> None:
        """Let connections in."""
        self._listener.listen()
        self._open.set()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()

    @property
    def tokens(self) -> list[str]:
        """The bearer tokens that came, in order."""
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
            with connection, contextlib.suppress(OSError):
                if self.tls:
                    connection = self.tls.wrap_socket(connection, server_side=True)
                with connection:
                    self._answer(connection)

    def _answer(self, connection: socket.socket) -> None:
        request = b""
        while not request.endswith(b"\r\n\r\n"):
            piece = connection.recv(65536)
            if not piece:
                return
            request += piece
        self.requests.append(request.decode())
        action = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        if callable(action):
            action(connection)
        else:
            connection.sendall(action)
