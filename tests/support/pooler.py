"""A pooler in transaction mode, such as services put before PostgreSQL.

Every transaction of a client may run on another server connection, which the clients before left
as it is: with their prepared statements, and without this one's.
"""

from __future__ import annotations

import socket
import struct
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import make_url

_SOCKET = ".s.PGSQL.5432"
_IDLE = b"Z\0\0\0\5I"


def _read(source: socket.socket, number: int) -> bytes:
    found = b""
    while len(found) < number:
        piece = source.recv(number - len(found))
        if not piece:
            raise ConnectionError
        found += piece
    return found


def _message(source: socket.socket, *, typed: bool = True) -> bytes:
    head = _read(source, 5 if typed else 4)
    (length,) = struct.unpack("!I", head[-4:])
    return head + _read(source, length - 4)


def _until_ready(server: socket.socket) -> Iterator[bytes]:
    while True:
        message = _message(server)
        yield message
        if message[:1] == b"Z":
            return


class _Pooler:
    def __init__(self, upstream: str) -> None:
        self._upstream = upstream
        self._lock = threading.Lock()
        self._idle: defaultdict[bytes, list[socket.socket]] = defaultdict(list)
        self._greetings: dict[bytes, bytes] = {}
        self.opened: list[socket.socket] = []

    def _server(self, startup: bytes) -> socket.socket:
        with self._lock:
            if self._idle[startup]:
                return self._idle[startup].pop()
        server = socket.socket(socket.AF_UNIX)
        self.opened.append(server)
        server.connect(self._upstream)
        server.sendall(startup)
        self._greetings[startup] = b"".join(_until_ready(server))
        return server

    def serve(self, client: socket.socket) -> None:
        """One client, until it goes."""
        with client:
            startup = _message(client, typed=False)
            self._idle[startup].append(self._server(startup))
            client.sendall(self._greetings[startup])
            server: socket.socket | None = None
            try:
                while (request := _message(client))[:1] != b"X":
                    server = server or self._server(startup)
                    server.sendall(request)
                    if request[:1] in {b"Q", b"S"}:
                        for answer in _until_ready(server):
                            client.sendall(answer)
                        if answer == _IDLE:
                            self._idle[startup].append(server)
                            server = None
            except ConnectionError:
                pass  # The client went without a word; its transaction is over with this.
            if server is not None:
                server.close()


@contextmanager
def pooled(url: str, directory: Path) -> Iterator[str]:
    """The URL of a pooler, listening in ``directory``, for the database at ``url``."""
    target = make_url(url)
    pooler = _Pooler(f"{target.query['host']}/{_SOCKET}")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(directory / _SOCKET))
        listener.listen()

        def accept() -> None:
            while True:
                try:
                    client, _ = listener.accept()
                except OSError:
                    return
                threading.Thread(target=pooler.serve, args=(client,), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        try:
            yield target.set(query={"host": str(directory)}).render_as_string()
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            for server in pooler.opened:
                server.close()
