"""The judges of documents: everything that accepts or refuses one, asked about the same documents.

A stored document has five judges: the violations, ``recover_*``, the CHECKs of PostgreSQL and
SQLite, and ajv with the stored schema. A submitted one has three: the violations, ``parse_*`` and
ajv with the submitted schema. :mod:`support.differences` lists the known differences.

As a command, draw many documents, print every disagreement, and fail if there is any.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from itertools import product
from pathlib import Path

import attrs
import sqlalchemy as sa

from campaign_model import db, wire
from campaign_model.errors import InvalidDocument, Violation
from campaign_model.testing.documents import KINDS
from campaign_model.validation import load_schema
from support import node, servers
from support.differences import Document, is_known
from support.drawn import draw
from support.paths import SCHEMAS

FORMS = ("submitted", "stored")
CHECKED = ("template_config", "generation_config")
"""The kinds with a CHECK: they are columns of a campaign. A campaign_template is not."""

Judge = Callable[[str, str, Sequence[str]], list[bool] | None]
"""``judge(form, kind, texts)``: which texts it accepts; ``None`` if the judge does not apply."""


# --- Judges in Python ----------------------------------------------------------------------------


def violations(form: str, document: Document) -> tuple[Violation, ...]:
    explain = wire.iter_violations if form == "submitted" else wire.iter_stored_violations
    return tuple(explain(document.text, document.kind))


def values(form: str, kind: str, texts: Sequence[str]) -> list[bool]:
    """Judge with ``parse_*`` and ``recover_*``, which make values."""
    read = getattr(wire, f"{'parse' if form == 'submitted' else 'recover'}_{kind}")

    def accepts(text: str) -> bool:
        try:
            read(text)
        except InvalidDocument:
            return False
        except RuntimeError as error:
            # A refusal without violations is a disagreement too.
            if "without a reason" not in str(error):
                raise
            return False
        return True

    return [accepts(text) for text in texts]


# --- Judges in databases: they evaluate the text of the CHECK ------------------------------------


def check_text(connection: sa.Connection, table: str, column: str) -> str:
    """Read the condition of a CHECK from the database."""
    name = f"ck_{table}_{column}"
    if connection.dialect.name == "postgresql":
        query = "SELECT pg_get_expr(conbin, conrelid) FROM pg_constraint WHERE conname = %s"
        return str(connection.exec_driver_sql(query, (name,)).scalar_one())
    query = "SELECT sql FROM sqlite_master WHERE type = 'table' AND name = ?"
    created = str(connection.exec_driver_sql(query, (table,)).scalar_one())
    found = re.search(rf"CONSTRAINT {name} CHECK (\(.*?\)),\s+CONSTRAINT", created, re.DOTALL)
    assert found is not None
    return found[1]


def check(connection: sa.Connection) -> Judge:
    """Return the judge that evaluates the CHECKs on a campaign's steps and settings."""
    evaluator = _postgresql if connection.dialect.name == "postgresql" else _sqlite
    by_kind = {
        kind: evaluator(connection, kind, check_text(connection, "campaigns", kind))
        for kind in CHECKED
    }

    def judge(form: str, kind: str, texts: Sequence[str]) -> list[bool] | None:
        if form == "submitted" or kind not in by_kind:
            return None
        verdicts = by_kind[kind](texts)
        # SQL accepts a row if its CHECK is NULL.
        assert None not in verdicts, texts[verdicts.index(None)]
        return [bool(verdict) for verdict in verdicts]

    return judge


def _sqlite(
    connection: sa.Connection, column: str, condition: str
) -> Callable[[Sequence[str]], list[bool | None]]:
    query = f"SELECT {condition} FROM (SELECT ? AS {column}) AS row"  # noqa: S608
    return lambda texts: [connection.exec_driver_sql(query, (text,)).scalar_one() for text in texts]


def _postgresql(
    connection: sa.Connection, column: str, condition: str
) -> Callable[[Sequence[str]], list[bool | None]]:
    """Return a function that evaluates a CHECK of PostgreSQL for many texts in one statement."""
    # PostgreSQL refuses text that is not JSON with an error, before any CHECK. So a function of
    # the database catches that error.
    create = f"""
        CREATE FUNCTION pg_temp.accepts_{column}(source text) RETURNS boolean LANGUAGE plpgsql AS
        $accepts$
        DECLARE document jsonb;
        BEGIN
            BEGIN
                document := source::jsonb;
            EXCEPTION WHEN data_exception OR program_limit_exceeded OR statement_too_complex THEN
                RETURN false;
            END;
            RETURN (SELECT {condition} FROM (SELECT document AS {column}) AS row);
        END
        $accepts$"""  # noqa: S608
    connection.exec_driver_sql(create)
    query = f"""
        SELECT array_agg(pg_temp.accepts_{column}(source) ORDER BY place)
        FROM unnest(%s::text[]) WITH ORDINALITY AS texts (source, place)"""  # noqa: S608

    def accepts(texts: Sequence[str]) -> list[bool | None]:
        # The driver cannot send NUL. The empty text is not JSON either.
        sent = ["" if "\0" in text else text for text in texts]
        answers: list[bool | None] = connection.exec_driver_sql(query, (sent,)).scalar_one()
        return answers

    return accepts


# --- Judges in JavaScript ------------------------------------------------------------------------


@contextmanager
def ajv() -> Iterator[Judge]:
    """Return the judge of front ends: the validator ajv with the published schemas."""
    node.installed()
    command: list[str | Path] = [
        "node",
        node.JAVASCRIPT / "judge.mjs",
        *SCHEMAS.glob("*.schema.json"),
    ]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        questions, answers = process.stdin, process.stdout

        def judge(form: str, kind: str, texts: Sequence[str]) -> list[bool]:
            schema = load_schema(f"{kind}.{form}")["$id"]
            print(json.dumps([[schema, text] for text in texts]), file=questions, flush=True)
            answer: list[bool] = json.loads(answers.readline())
            return answer

        yield judge


# --- All judges ----------------------------------------------------------------------------------

Judges = Mapping[str, Judge]


@contextmanager
def all_judges(databases: servers.Databases) -> Iterator[Judges]:
    """Return every judge but the violations, by name. Create a database for each engine."""
    with ExitStack() as stack:
        judges: dict[str, Judge] = {"values": values, "ajv": stack.enter_context(ajv())}
        for name in servers.available():
            url = databases.create(name)
            stack.callback(databases.drop, url)
            engine = sa.create_engine(url)
            stack.callback(engine.dispose)
            db.init(engine, with_host_tables=True)
            judges[name] = check(stack.enter_context(engine.connect()))
        yield judges


@attrs.frozen
class Verdict:
    """The answers of all judges to one document."""

    form: str
    document: Document
    violations: tuple[Violation, ...]
    accepted: dict[str, bool]

    @property
    def differing(self) -> set[str]:
        """The judges whose answer differs from the violations."""
        return {name for name, accepts in self.accepted.items() if accepts == bool(self.violations)}

    @property
    def disagreeing(self) -> set[str]:
        """The judges whose difference is not a known one."""
        return {
            name
            for name in self.differing
            if not is_known(name, self.form, self.document, self.violations)
        }

    def __str__(self) -> str:
        lines = [f"{self.form} {self.document.kind}: {self.document.text!a}"]
        lines += [
            f"  {violation.path} {violation.code}: {violation.message!a}"
            for violation in self.violations
        ]
        lines += [
            f"  {name} {'accepts' if accepts else 'refuses'} it"
            f"{', and should not' if name in self.disagreeing else ''}"
            for name, accepts in self.accepted.items()
        ]
        return "\n".join(lines)


def judged(judges: Judges, form: str, documents: Sequence[Document]) -> list[Verdict]:
    """Ask every judge about these documents, all of one kind."""
    kind, texts = documents[0].kind, [document.text for document in documents]
    answers_by_judge = {name: judge(form, kind, texts) for name, judge in judges.items()}
    return [
        Verdict(
            form,
            document,
            violations(form, document),
            {
                name: answers[index]
                for name, answers in answers_by_judge.items()
                if answers is not None
            },
        )
        for index, document in enumerate(documents)
    ]


@attrs.define
class Judged:
    """The result of judging drawn documents."""

    tally: Counter[str] = attrs.Factory(Counter)
    disagreements: list[Verdict] = attrs.Factory(list)


def judge_drawn(judges: Judges, count: int) -> Judged:
    """Judge ``count`` different documents, each in both forms.

    The same number is drawn of each kind and form.
    """
    result, seen = Judged(), set[int]()

    def visit(documents: list[Document]) -> None:
        for form in FORMS:
            for verdict in judged(judges, form, documents):
                word = "refused" if verdict.violations else "accepted"
                result.tally[f"{form} {verdict.document.kind}: {word}"] += 1
                if verdict.disagreeing:
                    result.disagreements.append(verdict)
                elif verdict.differing:
                    result.tally["known differences"] += 1

    kinds_and_forms = list(product(KINDS, FORMS))
    for index, (kind, form) in enumerate(kinds_and_forms):
        draw(kind, form, (count + index) // len(kinds_and_forms), seen, visit)
    return result


def main() -> None:
    """Judge drawn documents, print the disagreements and the totals, and fail if any disagree."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--documents", type=int, default=500, metavar="N", help="how many to draw")
    count = parser.parse_args().documents
    with (
        servers.open_directory() as directory,
        all_judges(servers.Databases(directory)) as judges,
    ):
        result = judge_drawn(judges, count)
    names = {"violations", *(name.partition("-")[0] for name in judges)}
    wrong = len(result.disagreements)
    lines = [
        *map(str, result.disagreements),
        *(f"{what}: {number}" for what, number in sorted(result.tally.items())),
        f"judges: {count} documents, {len(names)} judges, {wrong} disagreements",
    ]
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    sys.exit(wrong > 0)


if __name__ == "__main__":
    main()
