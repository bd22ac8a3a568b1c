"""The file of an option ``--out``, which only its owner can read.

Its content is personal data. So a symbolic link is not followed, since another user may have
placed it, and what is no regular file (a device, a FIFO) is refused.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Literal, TextIO

from campaign_model.cli.console import UserError


def check_output_path(path: Path) -> None:
    """Raise ``UserError`` if ``open_output`` would refuse ``path``. Write nothing."""
    if path.is_symlink():
        raise UserError(f"cannot write {path}: it is a symbolic link")
    if path.exists() and not path.is_file():
        kind = "directory" if path.is_dir() else "device, a FIFO or a socket, not a file"
        raise UserError(f"cannot write {path}: it is a {kind}")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise UserError(
            f"cannot write {path}: the directory {path.parent} does not exist or is read-only"
        )


def open_output(path: Path, mode: Literal["a", "w", "x"]) -> TextIO:
    """Open a file for writing UTF-8 text, with the permissions 0600.

    The modes are those of ``open``: append to a file, empty it, or create one. Raise ``UserError``
    if that is not possible, or if ``path`` is not a regular file.
    """
    if mode == "x" and os.path.lexists(path):
        raise UserError(f"{path} exists already; name a new file with  --out")
    check_output_path(path)
    try:
        file = open(path, mode, encoding="utf-8", opener=_open_privately)  # noqa: SIM115 - returned
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}") from None
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise UserError(f"cannot write {path}: it is not a regular file")
    os.fchmod(file.fileno(), 0o600)  # An existing file may have other permissions.
    return file


def _open_privately(path: str, flags: int) -> int:
    """Open a file for ``open``. The path may have changed since the check."""
    # Without O_NONBLOCK, a FIFO waits for a reader.
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY, 0o600)
