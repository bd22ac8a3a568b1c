"""What a command prints, and its exit code, when an exception ends it.

``print_failure`` is the only place that decides this. A mistake of the user, or a database that
does not answer, becomes one line on standard error. Every other exception is a bug of this program:
its traceback is printed, and the exit code is 70.
"""

from __future__ import annotations

import errno
import sys
import traceback
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import typer

from campaign_model.cli.console import (
    CRASH,
    NAME,
    USAGE_ERROR,
    Interruption,
    UserError,
    hide_passwords,
    print_error,
)

_ARGUMENT_OPTIONS = ("status_map", "status_rule", "tenants", "owners", "contacts", "messages")
"""Arguments of ``db`` that are options of its commands, with a dash for each underscore."""


def wants_json(arguments: Sequence[str]) -> bool:
    """Tell whether the errors of a command with these arguments are JSON."""
    return (
        "--json" in arguments
        or "--format=json" in arguments
        or ("--format", "json") in pairwise(arguments)
    )


def print_failure(error: Exception, *, as_json: bool) -> int:
    """Print what ``error`` means on standard error, and return the exit code.

    With ``as_json``, that is one line with a JSON object: ``code``, ``message`` and the data of the
    error.
    """
    if hasattr(error, "format_message"):  # An error of Typer: a wrong option or argument.
        return _print_wrong_usage(error, as_json=as_json)
    if isinstance(error, typer.Abort):
        error = Interruption("interrupted")
    if not isinstance(error, UserError | Interruption):
        explained = _explain(error)
        if isinstance(explained, dict):
            print_error(explained.pop("message"), as_json=as_json, **explained)
            return USAGE_ERROR
        if explained is None:
            return _print_bug(error, as_json=as_json)
        error = explained
    print_error(str(error), as_json=as_json, code=error.code)
    return error.exit_code


def _print_wrong_usage(error: Any, *, as_json: bool) -> int:
    """Print what Typer found wrong, and which command prints the help."""
    # Newer versions of Typer let Pydantic check values, and pass on its words.
    message = error.format_message().replace("Value error, ", "")
    if message.startswith("Usage: "):  # The help of a group that was called without a command.
        sys.stdout.write(f"{message}\n")
        return USAGE_ERROR
    print_error(message, as_json=as_json)
    if error.ctx is not None and not as_json:
        sys.stderr.write(f"Try  {error.ctx.command_path} --help\n")
    return USAGE_ERROR


def _explain(error: Exception) -> UserError | dict[str, Any] | None:
    """Return an error that the user can act on, or the data of an error of the library.

    ``None`` means that the error is a bug. These imports are slow; an error may wait for them.
    """
    import sqlalchemy as sa

    from campaign_model.cli.database import explain_database_error
    from campaign_model.db import SetupError
    from campaign_model.errors import CampaignModelError, InvalidArgument

    match error:
        case InvalidArgument():
            return error.to_dict() | {"message": _name_option(error)}
        case CampaignModelError():
            return error.to_dict()
        case SetupError():
            return UserError(str(error))
        case sa.exc.DBAPIError():
            return explain_database_error(error)
        case OSError(errno=errno.ENOSPC | errno.EDQUOT):
            return UserError(f"cannot write: {error.strerror}")
        case _:
            return None


def _name_option(error: Any) -> str:
    """Return the message of an ``InvalidArgument``. It begins with the option, if there is one."""
    if error.argument == "after":
        return f"--{error}"
    if error.argument not in _ARGUMENT_OPTIONS:
        return str(error)
    message = str(error).removeprefix(f"{error.argument.replace('_', ' ')}: ")
    return f"--{error.argument.replace('_', '-')}: {message}"


def _print_bug(error: Exception, *, as_json: bool) -> int:
    """Print the traceback of a bug and return the exit code. The last line says what happened."""
    lines = hide_passwords("".join(traceback.format_exception(error)))
    message = f"{type(error).__name__}: {error}"
    original = getattr(error, "orig", None)
    if original is not None:
        message = f"database error: {original}"
    if as_json:
        print_error(message, as_json=True, code="internal_error", traceback=lines)
    else:
        sys.stderr.write(lines)
        print_error(f"this is a bug of {NAME}: {message}")
    return CRASH
