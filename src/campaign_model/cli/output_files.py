"""The file of an option ``--out``, which only its owner can read.

Its content is personal data. So a symbolic link is not followed, since another user may have
placed it, and what is no regular file (a device, a FIFO) is refused.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import TextIO

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


def open_output(path: Path, *, append: bool = False, must_be_new: bool = False) -> TextIO:
    """Open a file for writing UTF-8 text, with the permissions 0600.

    The file is new, or emptied unless ``append``. Raise ``UserError`` if that is not possible, if
    ``path`` is not a regular file, or if it exists although it ``must_be_new``.
    """
    if must_be_new and os.path.lexists(path):
        raise UserError(f"{path} exists already; name a new file with  --out")
    check_output_path(path)
    # The path may have changed since the check. Without O_NONBLOCK, a FIFO waits for a reader.
    flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY
    if must_be_new:
        flags |= os.O_EXCL
    try:
        descriptor = os.open(path, flags, 0o600)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}") from None
    file = os.fdopen(descriptor, "w", encoding="utf-8")
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        file.close()
        raise UserError(f"cannot write {path}: it is not a regular file")
    os.fchmod(descriptor, 0o600)  # An existing file may have other permissions.
    if append:
        os.lseek(descriptor, 0, os.SEEK_END)
    else:
        os.ftruncate(descriptor, 0)
    return file
