"""A connection pooler in transaction mode, as services put one before PostgreSQL.

Each transaction of a client may run on another server connection. That connection has the prepared
statements of earlier clients, and may lack those of this client.
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
_READY_AND_IDLE = b"Z\0\0\0\5I"
"""The server is ready for the next query and no transaction is open."""


def _read(source: socket.socket, number: int) -> bytes:
    """Read exactly ``number`` bytes. Raises ``ConnectionError`` at the end of the stream."""
    content = b""
    while len(content) < number:
        piece = source.recv(number - len(content))
        if not piece:
            raise ConnectionError
        content += piece
    return content


def _message(source: socket.socket, *, typed: bool = True) -> bytes:
    """Read one protocol message. The startup message alone has no type byte."""
    head = _read(source, 5 if typed else 4)
    (length,) = struct.unpack("!I", head[-4:])
    return head + _read(source, length - 4)


def _messages_until_ready(server: socket.socket) -> Iterator[bytes]:
    """Yield the messages of the server up to ReadyForQuery (Z)."""
    while True:
        message = _message(server)
        yield message
        if message[:1] == b"Z":
            return


class _Pooler:
    def __init__(self, upstream: str, *, takes_turns: bool) -> None:
        self._upstream = upstream
        self._next_idle = 0 if takes_turns else -1
        self._lock = threading.Lock()
        self._idle_servers: defaultdict[bytes, list[socket.socket]] = defaultdict(list)
        self._greetings: dict[bytes, bytes] = {}
        self.opened: list[socket.socket] = []

    def _server(self, startup: bytes) -> socket.socket:
        """Take an idle server connection with the same startup message, or open one."""
        with self._lock:
            if self._idle_servers[startup]:
                return self._idle_servers[startup].pop(self._next_idle)
        server = socket.socket(socket.AF_UNIX)
        self.opened.append(server)
        server.connect(self._upstream)
        server.sendall(startup)
        self._greetings[startup] = b"".join(_messages_until_ready(server))
        return server

    def serve(self, client: socket.socket) -> None:
        """Serve one client until it disconnects."""
        with client:
            startup = _message(client, typed=False)
            self._idle_servers[startup].append(self._server(startup))
            client.sendall(self._greetings[startup])
            server: socket.socket | None = None
            try:
                # X is Terminate. Q (Query) and S (Sync) end a request.
                while (request := _message(client))[:1] != b"X":
                    server = server or self._server(startup)
                    server.sendall(request)
                    if request[:1] in {b"Q", b"S"}:
                        answers = b""
                        for answer in _messages_until_ready(server):
                            answers += answer
                        if answer == _READY_AND_IDLE:
                            # Before the client knows: its next connection can get this server.
                            self._idle_servers[startup].append(server)
                            server = None
                        client.sendall(answers)
            except ConnectionError:
                pass  # The client disconnected without Terminate, so its transaction ends here.
            if server is not None:
                server.close()


@contextmanager
def pooled(url: str, directory: Path, *, takes_turns: bool = False) -> Iterator[str]:
    """Run a pooler that listens in ``directory``, and yield its URL for the database at ``url``.

    A transaction gets the idle server connection that was used last, or, if they take turns, the
    one that was idle for the longest time.
    """
    target = make_url(url)
    pooler = _Pooler(f"{target.query['host']}/{_SOCKET}", takes_turns=takes_turns)
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
