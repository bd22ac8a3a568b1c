"""The blocks of code in the pages of the documentation, and how to run them.

The blocks of a page run in order. Python blocks share one namespace. A comment
before a block says what else to do with it:

* ``<!-- file: NAME -->``: the block is a file; commands and blocks after it can use the file.
* ``<!-- run by: tests/FILE.py::TEST -->``: that test runs the block, in its own way.
* ``<!-- not run: REASON -->``: nothing can run the block here.
* ``<!-- hidden``, Python code and ``-->``: code that readers do not see. It defines what the next
  blocks take for granted, or checks the ``output`` of the block before it.
* ``<!-- continues: PAGE -->``: the blocks of that page run first, in the same directory.

A block of the language ``output`` is what the block before it prints; ``...`` stands for any text.
Commands (``sh``) run in the tutorial and in the how-to guides.
"""

from __future__ import annotations

import contextlib
import doctest
import io
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import attrs

from support.paths import DOCS, ROOT, SCHEMAS

__all__ = ["Block", "PageRun", "list_pages", "read_blocks"]

_PART = re.compile(
    r"^<!-- (?P<mark>hidden|file|run by|not run|continues)(?:: |\n)(?P<value>.*?) ?-->$"
    r"|^```(?P<language>\w+)\n(?P<code>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
_POSTGRESQL_URL = "postgresql+psycopg://postgres:secret@localhost/campaigns"
"""The URL in the pages. Tests replace it by the URL of their own server."""


@attrs.frozen
class Block:
    """A block of code, or a comment without one (``hidden``, ``continues``)."""

    page: Path
    line: int
    language: str
    code: str
    mark: str = ""
    value: str = ""

    @property
    def runs(self) -> bool:
        """Whether the tests of the pages run the block."""
        is_command = self.language == "sh" and self.page.parent.name in {"tutorial", "how-to"}
        return (is_command or self.language == "python") and self.mark not in {"run by", "not run"}

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def list_pages() -> list[Path]:
    """Return the pages of the documentation."""
    pages = [page for page in DOCS.rglob("*.md") if "_build" not in page.parts]
    return [*sorted(ROOT.glob("*.md")), *sorted(pages), SCHEMAS / "README.md"]


def read_blocks(page: Path) -> list[Block]:
    """Return the blocks of a page, in order."""
    blocks = []
    text = page.read_text(encoding="utf-8")
    mark, value = "", ""
    for part in _PART.finditer(text):
        line = text.count("\n", 0, part.start()) + 1
        if part["language"]:
            blocks.append(Block(page, line, part["language"], part["code"], mark, value))
            mark, value = "", ""
        elif part["mark"] in {"hidden", "continues"}:
            blocks.append(Block(page, line, "", part["value"], part["mark"], part["value"]))
        else:
            mark, value = part["mark"], part["value"]
    return blocks


@attrs.define
class PageRun:
    """Runs the blocks of one page in ``directory``. ``names`` is the namespace of Python blocks."""

    directory: Path
    names: dict[str, Any]
    variables: dict[str, str]
    postgresql_url: str
    _output: str = ""

    def run(self, blocks: list[Block]) -> None:
        """Run the blocks of a page. A failure names the page and the line of the block."""
        for block in blocks:
            try:
                self._run_block(block)
            except Exception as error:
                error.add_note(f"in the block at {block}")
                raise

    def _run_block(self, block: Block) -> None:
        match block:
            case Block(mark="continues", value=name):
                self.run(read_blocks(block.page.parent / name))
            case Block(mark="run by" | "not run"):
                pass
            case Block(mark="file", value=name, code=code):
                (self.directory / name).write_text(code, encoding="utf-8")
            case Block(mark="hidden") | Block(language="python"):
                self._output = self._run_python(block)
            case Block(language="output", code=expected):
                options = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
                is_equal = doctest.OutputChecker().check_output(expected, self._output, options)
                assert is_equal, f"expected\n{expected}\ngot\n{self._output}"
            case Block(language="sh") if block.runs:
                self._output = self._run_commands(block.code)

    def _run_python(self, block: Block) -> str:
        source = "\n" * block.line + block.code  # Tracebacks show the lines of the page.
        code = compile(source, str(block.page), "exec", dont_inherit=True)
        printed = io.StringIO()
        self.names["output"] = self._output
        with contextlib.chdir(self.directory), contextlib.redirect_stdout(printed):
            exec(code, self.names)  # noqa: S102 - our own documentation
        return printed.getvalue()

    def _run_commands(self, commands: str) -> str:
        """Run commands with Bash, in the environment that the commands before them have left."""
        commands = commands.replace(_POSTGRESQL_URL, self.postgresql_url)
        environment = self.directory / ".environment"
        environment.touch()
        # Other tests measure the coverage of the library.
        variables = {key: os.environ[key] for key in os.environ if not key.startswith("COV")}
        variables |= self.variables
        variables["PATH"] = f"{Path(sys.executable).parent}:{variables['PATH']}"
        completed = subprocess.run(
            ["/bin/bash", "-c", f"set -ae; . ./.environment\n{commands}\nexport -p > .environment"],
            cwd=self.directory,
            env=variables,
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        assert completed.returncode == 0, f"{commands}\n{completed.stdout}{completed.stderr}"
        return completed.stdout
