"""Judge statements by the rules of a PostgreSQL that is sharded by tenant (decision 44).

``broken_rules`` judges the parsed text of one statement. ``StoreStatements`` collects the
statements that the store sends, and judges each text once.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Any, Self

import pglast
import sqlalchemy as sa
from pglast.enums import BoolExprType, JoinType, NullTestType, SetOperation

import campaign_model
from campaign_model.store.assignment import assign_contacts
from campaign_model.store.postgresql import _CLAIM, _CLAIM_SHARDED
from campaign_model.store.statements import _driver_sql
from campaign_model.store.tables import campaign_templates, metadata
from campaign_model.store.types import UtcDateTime
from support.tenants import HOST

ast: Any = pglast.ast
"""The nodes of a parsed statement. Their stubs call every attribute optional."""

LIBRARY = Path(campaign_model.__file__).parent
PER_TENANT = (f"{LIBRARY / 'store'}/", f"{LIBRARY / 'db' / 'tenants.py'}")
"""The beginnings of the paths of modules whose statements work for one tenant."""

SHARDED = {*metadata.tables, *(table.name for table in (HOST.owners, HOST.contacts, HOST.messages))}
"""Tables whose rows lie on the server of their tenant."""

IMMUTABLE = {"jsonb_array_length"}
"""The functions that a change of rows may call."""

NOT_VOLATILE = IMMUTABLE | {
    *("count", "max", "sum"),
    *("json_to_recordset", "row_to_json", "to_jsonb", "unnest"),
}
"""The functions that the other parts of a statement that writes may call."""

COMPUTED_DEFAULTS = {
    table.name: {
        column.name
        for column in table.c
        if isinstance(column.server_default, sa.DefaultClause)
        and isinstance(column.server_default.arg, sa.sql.functions.FunctionElement)
    }
    for table in metadata.tables.values()
}
"""The columns of each table whose default is a time or an id of the server."""

LOCK = "pg_advisory_xact_lock_shared"
CLOCK = "clock_timestamp"

TIME_TYPES = {"timestamptz", "timestamp", "interval", "date", "time", "timetz"}
TIMES = {
    column.name
    for table in metadata.tables.values()
    for column in table.c
    if isinstance(column.type, UtcDateTime)
} | {"now"}
COMPARISONS = {"=", "<>", "<", ">", "<=", ">="}


class Rule(StrEnum):
    TENANT = "each table reference is restricted by tenant_id = :tenant on its own query level"
    INSERT_IN_WITH = "a WITH contains no INSERT, and an INSERT has no WITH"
    TENANT_OF_INSERT = "INSERT ... SELECT takes the tenant from a column of a table"
    SUBQUERY_IN_INSERT = "an INSERT has no subquery as a value"
    IMMUTABLE = "a change of rows, its RETURNING and ON CONFLICT call only IMMUTABLE functions"
    SUBQUERY_IN_CHANGE = "an UPDATE or DELETE casts no (SELECT :parameter)"
    CONDITION = "no condition consists of parameters only"
    SERVER_VALUES = "a statement that writes takes no time, id or random number from the server"
    MERGE = "no MERGE"


def parse(statement: str) -> Any:
    """Parse a statement as SQLAlchemy sends it to psycopg."""
    names: dict[str, int] = {}

    def number(match: re.Match[str]) -> str:
        return f"${names.setdefault(match[1], len(names) + 1)}"

    sql = re.sub(r"%\((\w+)\)s", number, statement).replace("%%", "%")
    (parsed,) = pglast.parse_sql(sql)
    return parsed.stmt


def walk(node: Any, *, into_queries: bool = True) -> Iterator[Any]:
    """Yield the nodes of a tree. Without ``into_queries``, leave out the queries in it."""
    if isinstance(node, tuple):
        for one in node:
            yield from walk(one, into_queries=into_queries)
    elif isinstance(node, ast.Node):
        yield node
        for name in node:
            part = getattr(node, name)
            if into_queries or not isinstance(part, ast.SelectStmt):
                yield from walk(part, into_queries=into_queries)


def broken_rules(statement: str) -> list[Rule]:
    """Return the rules that a statement breaks."""
    tree = parse(statement)
    nodes = [*walk(tree)]
    changes = (ast.InsertStmt, ast.UpdateStmt, ast.DeleteStmt)
    broken: dict[Rule, None] = {}
    for node in nodes:
        match node:
            case ast.MergeStmt():
                broken[Rule.MERGE] = None
            case (
                ast.CommonTableExpr(ctequery=ast.InsertStmt())
                | ast.InsertStmt(withClause=ast.WithClause())
            ):
                broken[Rule.INSERT_IN_WITH] = None
            case ast.InsertStmt(relation=table, cols=columns):
                if not _names_its_tenant(node):
                    broken[Rule.TENANT_OF_INSERT] = None
                if any(isinstance(one, ast.SubLink) for one in walk(node.selectStmt)):
                    broken[Rule.SUBQUERY_IN_INSERT] = None
                named = {column.name for column in columns or ()}
                if not COMPUTED_DEFAULTS.get(table.relname, set()) <= named:
                    broken[Rule.SERVER_VALUES] = None
        if isinstance(node, changes):
            parts = [*_changing_parts(node)]
            if not all(map(_is_immutable, parts)):
                broken[Rule.IMMUTABLE] = None
            # In a statement that is a change as a whole, that holds for its WITH too.
            if any(map(_casts_parameter, [tree] if isinstance(tree, changes) else parts)):
                broken[Rule.SUBQUERY_IN_CHANGE] = None
        if not all(map(_reads_rows, _conditions(node))):
            broken[Rule.CONDITION] = None
        if not _restricts_tables(node):
            broken[Rule.TENANT] = None
    if any(isinstance(node, changes) for node in nodes):
        # In a SELECT that contains changes, the server of the tenant evaluates them.
        allowed = NOT_VOLATILE | ({LOCK} if isinstance(tree, ast.SelectStmt) else set())
        clocks = {id(node.args[1]) for node in nodes if _is_time_of_claim(node)}
        calls = [node for node in nodes if _function(node) and id(node) not in clocks]
        if not allowed.issuperset(map(_function, calls)):
            broken[Rule.SERVER_VALUES] = None
    return [*broken]


def _conjuncts(condition: Any) -> tuple[Any, ...]:
    """Return the conditions that AND connects."""
    if isinstance(condition, ast.BoolExpr) and condition.boolop == BoolExprType.AND_EXPR:
        return tuple(one for argument in condition.args for one in _conjuncts(argument))
    return () if condition is None else (condition,)


def _references(item: Any, conditions: tuple[Any, ...]) -> Iterator[tuple[ast.RangeVar, Any]]:
    """Yield each table of a FROM clause, and the conditions that restrict its rows."""
    if isinstance(item, ast.RangeVar) and item.relname in SHARDED:
        yield item, conditions
    elif isinstance(item, ast.JoinExpr):
        on = _conjuncts(item.quals)
        restricts_left = item.jointype in {JoinType.JOIN_INNER, JoinType.JOIN_RIGHT}
        restricts_right = item.jointype in {JoinType.JOIN_INNER, JoinType.JOIN_LEFT}
        yield from _references(item.larg, conditions + on if restricts_left else conditions)
        yield from _references(item.rarg, conditions + on if restricts_right else conditions)


def _restricts_tables(level: Any) -> bool:
    """Tell whether a query restricts each of its tables to the tenant, without its subqueries."""
    match level:
        case ast.SelectStmt():
            items = level.fromClause or ()
        case ast.UpdateStmt():
            items = (level.relation, *(level.fromClause or ()))
        case ast.DeleteStmt():
            items = (level.relation, *(level.usingClause or ()))
        case _:
            return True
    where = _conjuncts(level.whereClause)
    tables = [pair for item in items for pair in _references(item, where)]
    return all(
        any(_is_of_tenant(one, table, is_alone=len(tables) == 1) for one in conditions)
        for table, conditions in tables
    )


def _is_of_tenant(condition: Any, table: ast.RangeVar, *, is_alone: bool) -> bool:
    """Tell whether a condition is ``table.tenant_id = :tenant``.

    Templates are on every server, so that they may also be those without a tenant.
    """

    def is_tenant(node: Any) -> bool:
        if not isinstance(node, ast.ColumnRef):
            return False
        *qualifier, name = (field.sval for field in node.fields)
        names = [] if is_alone and not qualifier else [_name(table)]
        return bool(name == "tenant_id" and qualifier == names)

    match condition:
        case ast.A_Expr(name=(ast.String(sval="="),), lexpr=column, rexpr=value):
            return is_tenant(column) and _is_parameter(value)
        case ast.BoolExpr(boolop=BoolExprType.OR_EXPR, args=(own, ast.NullTest() as system)):
            is_null = system.nulltesttype == NullTestType.IS_NULL and is_tenant(system.arg)
            is_template = table.relname == campaign_templates.name
            return is_template and is_null and _is_of_tenant(own, table, is_alone=is_alone)
    return False


def _name(table: ast.RangeVar) -> str:
    return str(table.alias.aliasname if table.alias else table.relname)


def _is_parameter(node: Any) -> bool:
    return isinstance(node.arg if isinstance(node, ast.TypeCast) else node, ast.ParamRef)


def _names_its_tenant(insert: Any) -> bool:
    """Tell whether an INSERT takes the tenant of its rows from VALUES, or from a column."""
    columns = [column.name for column in insert.cols or ()]
    if insert.relation.relname not in SHARDED:
        return True
    if "tenant_id" not in columns or insert.selectStmt is None:
        return False
    query, place = insert.selectStmt, columns.index("tenant_id")
    if query.valuesLists:
        return True
    if query.op != SetOperation.SETOP_NONE:
        return False
    value = query.targetList[place].val
    return isinstance(value, ast.ColumnRef) and value.fields[-1].sval == "tenant_id"


def _changing_parts(change: Any) -> Iterator[Any]:
    """Yield the parts of a change that the coordinator may evaluate."""
    yield change.returningClause
    if isinstance(change, ast.InsertStmt):
        yield change.onConflictClause
    else:
        yield change.whereClause
    if isinstance(change, ast.UpdateStmt):
        yield change.targetList


def _is_immutable(part: Any) -> bool:
    """Tell whether an expression has the same value whatever the settings of the session are."""
    for node in walk(part, into_queries=False):
        match node:
            case ast.FuncCall() if _function(node) not in IMMUTABLE:
                return False
            case ast.SQLValueFunction():
                return False
            case ast.A_Expr() if node.name[-1].sval not in COMPARISONS:
                if _is_time(node.lexpr) or _is_time(node.rexpr):
                    return False
            case ast.TypeCast() if not _is_parameter(node):
                if _is_time(node) or _is_time(node.arg):
                    return False
    return True


def _casts_parameter(part: Any) -> bool:
    """Tell whether an expression casts a subquery that is only a parameter, or computes with it.

    Comparisons with a column are no such expressions, unless they cast the parameter to text.
    """
    for node in walk(part):
        match node:
            case ast.TypeCast(arg=operand):
                operands = [operand]
            case ast.A_Expr(lexpr=left, rexpr=right):
                is_comparison = node.name[-1].sval in COMPARISONS
                operands = [
                    one for one in (left, right) if not is_comparison or _is_hidden_text(one)
                ]
            case ast.ResTarget(val=value) if _is_hidden_text(value):
                operands = [value]
            case ast.FuncCall(args=arguments) if _function(node) != "unnest":
                # (The coordinator evaluates no function that returns a set.)
                operands = [*(arguments or ())]
            case _:
                continue
        if any(map(_is_hidden_parameter, operands)):
            return True
    return False


def _is_hidden_parameter(node: Any) -> bool:
    return (
        isinstance(node, ast.SubLink)
        and not node.subselect.fromClause
        and _is_parameter(node.subselect.targetList[0].val)
    )


def _is_hidden_text(node: Any) -> bool:
    """Tell whether a node is the subquery of a text, which psycopg calls VARCHAR."""
    if not _is_hidden_parameter(node):
        return False
    value = node.subselect.targetList[0].val
    return isinstance(value, ast.TypeCast) and value.typeName.names[-1].sval == "varchar"


def _is_time(node: Any) -> bool:
    """Tell whether an expression is a time or a duration, by the names in it."""
    match node:
        case ast.ColumnRef():
            return getattr(node.fields[-1], "sval", "") in TIMES
        case ast.TypeCast():
            return node.typeName.names[-1].sval in TIME_TYPES
    return False


def _conditions(node: Any) -> Iterator[Any]:
    """Yield the conditions of a query or a join, without AND, OR and NOT."""
    pending = [getattr(node, name, None) for name in ("whereClause", "quals")]
    for condition in pending:
        if isinstance(condition, ast.BoolExpr):
            pending.extend(condition.args)
        elif condition is not None:
            yield condition


def _reads_rows(condition: Any) -> bool:
    """Tell whether a condition depends on rows, or is a literal."""
    return isinstance(condition, ast.A_Const) or any(
        isinstance(node, ast.ColumnRef | ast.RangeVar) for node in walk(condition)
    )


def _function(node: Any) -> str | None:
    """Return the name of the function that a node calls, or None."""
    if isinstance(node, ast.SQLValueFunction):
        return str(node.op.name)
    return str(node.funcname[-1].sval) if isinstance(node, ast.FuncCall) else None


def _is_time_of_claim(node: Any) -> bool:
    """Tell whether a node is the time of a test's clock, or else of the server's."""
    return (
        isinstance(node, ast.CoalesceExpr)
        and len(node.args) == 2
        and any(isinstance(one, ast.ParamRef) for one in walk(node.args[0]))
        and _function(node.args[1]) == CLOCK
    )


class StoreStatements:
    """Collects the statements that the store sends to PostgreSQL, and where it sends them.

    ``sent`` has the texts, ``sites`` the path and line of each call that has sent one, and
    ``broken`` a line for each rule that a text breaks. Use it as a context manager.
    """

    judged: dict[str, list[Rule]] = {}  # noqa: RUF012 - shared: parsing takes a millisecond

    def __init__(self) -> None:
        self.sent: dict[str, None] = {}
        self.sites: set[tuple[str, int]] = set()

    @property
    def broken(self) -> list[str]:
        return [f"{rule}: {text}" for text in self.sent for rule in self.judged[text]]

    def __enter__(self) -> Self:
        sa.event.listen(sa.Engine, "before_cursor_execute", self._note)
        return self

    def __exit__(self, *_: object) -> None:
        sa.event.remove(sa.Engine, "before_cursor_execute", self._note)

    def _note(self, connection: sa.Connection, _cursor: object, text: str, *_: object) -> None:
        if connection.dialect.driver != "psycopg":
            return
        caller = sys._getframe(1)
        while caller.f_back and "/sqlalchemy/" in caller.f_code.co_filename:
            caller = caller.f_back
        path = caller.f_code.co_filename
        if path.startswith(PER_TENANT):
            self.sites.add((path, caller.f_lineno))
            if caller.f_code is assign_contacts.__code__ and text.startswith("SELECT"):
                return  # The query of the store's caller.
            if text == _driver_sql(_CLAIM, connection.dialect)[0]:
                # A sharded database gets the other form of this statement.
                text = _driver_sql(_CLAIM_SHARDED, connection.dialect)[0]
            self.sent[text] = None
            if text not in self.judged:
                self.judged[text] = broken_rules(text)
