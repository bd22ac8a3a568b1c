"""The reference of the site has every public name, command, option and log record."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

from typer.testing import CliRunner

import campaign_model
from campaign_model.cli import console
from campaign_model.cli.app import app
from command_line import command_reference
from public_names import MODULES, public_names
from support.pages import list_pages
from support.paths import DOCS

PACKAGE = Path(campaign_model.__file__).parent
PAGES = {page: page.read_text(encoding="utf-8") for page in list_pages()}


def test_a_page_describes_each_public_module_and_all_names_in_it() -> None:
    described = [
        module
        for page in PAGES.values()
        for module in re.findall(r"^```\{public-names\} (\S+)$", page, re.MULTILINE)
    ]
    assert sorted(described) == sorted(public_names())


def test_every_module_whose_names_others_import_is_public() -> None:
    packages = {
        path.parent.name
        for path in PACKAGE.glob("*/__init__.py")
        if not path.parent.name.startswith("_") and path.parent.name not in {"cli", "testing"}
    }
    assert {f"campaign_model.{name}" for name in packages} <= {*MODULES}


def test_the_page_on_the_public_api_names_every_public_module() -> None:
    page, _, _ = PAGES[DOCS / "public-api.md"].partition("## Not public")
    named = {f"campaign_model{name}" for name in re.findall(r"`(?:campaign_model)?([.\w]*)`", page)}
    assert [one for one in MODULES if one not in named and ".testing." not in one] == []


def test_every_public_class_and_function_has_a_docstring() -> None:
    values = {
        f"{module}.{name}": getattr(import_module(module), name)
        for module, names in public_names().items()
        for name in names
    }
    docstrings = {
        name: value.__doc__
        for name, value in values.items()
        if inspect.isclass(value) or inspect.isroutine(value)
    }
    assert [name for name, docstring in docstrings.items() if not docstring] == []


def test_the_command_reference_has_every_command_and_option() -> None:
    page = command_reference()
    section = re.compile(
        r"^## campaign-model ([\w -]+)\n(.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL
    )
    sections = dict(section.findall(page))
    assert len(sections) > 10
    for name, text in sections.items():
        completed = CliRunner().invoke(app, [*name.split(), "--help"], terminal_width=200)
        options = {*re.findall(r"(?<![\w-])--[a-z][a-z-]+", completed.output)} - {"--help"}
        assert [one for one in options if one not in text] == [], name


RECORDS = {
    "'%s raised %s'": ("`generate`, `save` or `push` raised", "`report` raised"),
    "message": ("`generate` returned no outcome",),
    "'the worker ends after %d equal failures in a row (%s)'": ("the worker ends after too many",),
    "'a claim raised %s'": ("a claim raised an error",),
    "'a task has run for longer than %s, and is asked to stop'": ("a task exceeds its time limit",),
    "'a claim takes over a contact whose lease has expired'": ("a claim takes over a contact",),
    "'%(action)s moves a campaign from %(source)s to %(target)s'": (
        "an action changes the status",
    ),
    "'corrected the totals of campaign %s: %s'": ("the totals of a campaign did not fit",),
    "'attempt %d at a transaction met %s; trying again (%s)'": (
        "an attempt at a transaction is repeated after a conflict",
        "an attempt at a transaction is repeated after a fault",
    ),
    "'the steps of a campaign cannot be read'": ("the steps of a campaign cannot be read",),
    "'waiting for another db init, db adopt or db rls: %s'": ("`db.init` or `db.adopt` waits",),
}
"""The message of each record in the code, and how its lines in the page begin."""


LEVELS = {"debug", "info", "warning", "error", "exception", "log"}


def log_calls() -> Iterator[tuple[str, str]]:
    """Yield the logger and the message of every call that logs."""
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                logger = ast.unparse(node.func.value)
                is_logger = logger in {"worker_log", "store_log", "setup_log"}
                if is_logger and node.func.attr in LEVELS:
                    message = node.args[1] if node.func.attr == "log" else node.args[0]
                    yield logger.removesuffix("_log"), ast.unparse(message)


def test_the_page_of_the_workers_lists_every_log_record() -> None:
    page = (DOCS / "workers.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (worker|store|setup), \w+ \| ([^|]+?) \|", page, re.MULTILINE)
    expected = [(logger, row) for logger, message in log_calls() for row in RECORDS[message]]
    matched = [
        next(one for one in expected if one[0] == logger and row.startswith(one[1]))
        for logger, row in rows
    ]
    assert sorted(matched) == sorted(expected)


def test_the_page_of_the_command_has_every_exit_code() -> None:
    page = PAGES[DOCS / "reference" / "command-line.md"]
    codes = {console.SUCCESS, console.FOUND_PROBLEMS, console.USAGE_ERROR}
    codes |= {console.UNAVAILABLE, console.CRASH, console.INTERRUPTED}
    assert {int(code) for code in re.findall(r"^\| (\d+) \|", page, re.MULTILINE)} == codes
