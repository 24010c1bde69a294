"""A proxy as companies have them: it opens tunnels, looks into them with certificates of its own, and keeps a list."""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import threading
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from airflow_provider_synapse_livy.emulator.tls import server_context


class TunnelProxy:
    """
    Leads every tunnel to one server, whatever host it was asked for.

    :param folder: where to keep its certificates.
    :param target: the https address to lead all to.
    :param hosts: the hosts that it has a certificate for.
    :param refusal: the status to refuse with, instead of opening a tunnel.
    """

    def __init__(self, folder: Path, target: str, hosts: list[str], refusal: int | None = None) -> None:
        self.tunnels: list[str] = []
        self.ca_file = folder / "proxy-ca.pem"
        self._target = urlsplit(target)
        self._refusal = refusal
        self._context = server_context(self.ca_file, *hosts)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._tunnelled: list[socket.socket] = []

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for client in self._tunnelled:  # a client may keep its connection for another request
            _shut(client)
        for thread in self._threads:
            thread.join()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self._threads.append(threading.Thread(target=self._serve, args=[client], daemon=True))
            self._threads[-1].start()

    def _serve(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError), client:
            self.tunnels.append(_head(client).split()[1])
            if self._refusal:
                client.sendall(
                    f"HTTP/1.1 {self._refusal} No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode()
                )
                return
            client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            with self._context.wrap_socket(client, server_side=True) as inner, self._connect() as outer:
                self._tunnelled.append(inner)
                _carry(inner, outer)

    def _connect(self) -> ssl.SSLSocket:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context.wrap_socket(socket.create_connection((self._target.hostname, self._target.port)))


def _head(connection: socket.socket) -> str:
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += connection.recv(1) or b"\r\n\r\n"
    return head.decode()


def _carry(inner: ssl.SSLSocket, outer: ssl.SSLSocket) -> None:
    """Send each end what the other sends; all in one thread, since OpenSSL crashes where two share a connection."""
    across = {inner: outer, outer: inner}
    while True:
        for end in [end for end in across if end.pending()] or select.select(across, [], [])[0]:
            end.settimeout(0)  # what has arrived can be TLS's own, with nothing in it to read
            with contextlib.suppress(ssl.SSLWantReadError):
                if not (piece := end.recv(65536)):
                    return
                across[end].settimeout(None)
                across[end].sendall(piece)


def _shut(connection: socket.socket) -> None:
    """Break a connection off, without the farewell of TLS."""
    with contextlib.suppress(OSError):
        socket.socket.shutdown(connection, socket.SHUT_RDWR)
