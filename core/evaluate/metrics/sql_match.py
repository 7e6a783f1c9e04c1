"""SQL match: the same query, however it is written."""

from __future__ import annotations

from collections import Counter
from functools import lru_cache
from typing import Any

from pydantic import Field, field_validator

from core.evaluate.metrics.registry import Answer, Scored, answer_metric
from core.evaluate.metrics.settings import MetricSettings

# No query of a person is longer; the parser's time and depth stay bounded.
LONGEST = 20_000


class SqlSettings(MetricSettings):
    """How the queries are written."""

    dialect: str = Field(
        "",
        title="SQL dialect",
        description="Such as sqlite, postgres, mysql, duckdb, bigquery or tsql. Empty: what most dialects share.",
    )

    @field_validator("dialect")
    @classmethod
    def _known(cls, dialect: str) -> str:
        from sqlglot.dialects.dialect import Dialect, Dialects

        dialect = dialect.strip().lower()
        try:
            Dialect.get_or_raise(dialect or None)
        except ValueError as error:
            known = ", ".join(sorted(entry.value for entry in Dialects if entry.value))
            raise ValueError(f"there is no dialect {dialect!r}; known: {known}") from error
        return dialect


@answer_metric("sql_match", title="SQL equal", kind="binary", family="code", needs=("reference",), settings=SqlSettings)
def sql_match(answer: Answer, settings: SqlSettings) -> Scored:
    """1 if the answer is the same SQL as the reference once both are parsed and written one way.

    Left out: case of keywords and names, quotes around names, white space, comments, needless parentheses, aliases of
    tables used once and of result columns, ASC, INNER; and the order of AND, OR, +, *, = and IN. Queries that give the
    same rows in truly different ways differ. What does not parse is compared as text, case outside quotes aside;
    the notes say `unparsed`. Source: sqlglot.
    """
    expected, given = _written(answer.reference, settings.dialect), _written(answer.output, settings.dialect)
    if expected is not None and given is not None:
        return Scored(float(given == expected))
    unparsed = [side for side, tree in (("answer", given), ("reference", expected)) if tree is None]
    same = bool(answer.reference.strip()) and _folded(answer.output) == _folded(answer.reference)
    return Scored(float(same), {"unparsed": unparsed})


@lru_cache(maxsize=4096)
def _written(text: str, dialect: str) -> str | None:
    """The query in the one way, or None where it is no SQL statement."""
    import sqlglot
    from sqlglot import exp
    from sqlglot.errors import SqlglotError

    statements = (exp.Query, exp.Insert, exp.Update, exp.Delete, exp.Merge, exp.Create, exp.Drop, exp.Alter)
    if not text.strip() or len(text) > LONGEST:
        return None
    try:
        trees = [tree for tree in sqlglot.parse(text, dialect=dialect or None) if tree is not None]
        if not trees or not all(isinstance(tree, statements) for tree in trees):
            return None
        return "; ".join(_Writer(tree).write(tree) for tree in trees)
    except (SqlglotError, RecursionError):
        return None


class _Writer:
    """Writes a parsed query as nested terms in which nothing is left that does not matter."""

    def __init__(self, tree: Any) -> None:
        from sqlglot import exp

        self.exp = exp
        tables = list(tree.find_all(exp.Table))
        names = Counter(table.name.lower() for table in tables)
        aliases = Counter(table.alias.lower() for table in tables if table.alias)
        # An alias that stands for one table used once is another name for it.
        self.tables = {
            table.alias.lower(): table.name.lower()
            for table in tables
            if table.alias and names[table.name.lower()] == aliases[table.alias.lower()] == 1
        }
        self.only_table = len(tables) == 1 and not list(tree.find_all(exp.Subquery, exp.CTE))
        # Only the outermost names of result columns are free: inner ones are referred to from outside.
        self.columns: dict[str, Any] = {}
        if isinstance(tree, exp.Select):
            self.columns = {item.alias.lower(): item.this for item in tree.expressions if isinstance(item, exp.Alias)}
        self.root = tree

    def write(self, node: Any) -> str:
        exp = self.exp
        if isinstance(node, exp.Paren):
            return self.write(node.this)
        if isinstance(node, exp.Identifier):
            return str(node.name).lower()
        if isinstance(node, exp.Literal):
            return f"'{node.this}'" if node.is_string else str(node.this)
        if isinstance(node, exp.Column):
            return self._column(node)
        if isinstance(node, exp.Alias) and node.parent is self.root and isinstance(self.root, exp.Select):
            return self.write(node.this)
        if isinstance(node, exp.And | exp.Or | exp.Add | exp.Mul):
            return f"{node.key}({', '.join(sorted(map(self.write, _operands(node))))})"
        if isinstance(node, exp.EQ | exp.NEQ):
            return f"{node.key}({', '.join(sorted((self.write(node.this), self.write(node.expression))))})"
        if isinstance(node, exp.GT | exp.GTE):
            turned = "lt" if isinstance(node, exp.GT) else "lte"
            return f"{turned}({self.write(node.expression)}, {self.write(node.this)})"
        if isinstance(node, exp.LT | exp.LTE):
            return f"{node.key}({self.write(node.this)}, {self.write(node.expression)})"
        return f"{node.key}({', '.join(self._parts(node))})"

    def _parts(self, node: Any) -> list[str]:
        exp, parts = self.exp, []
        for name, value in node.args.items():
            if not value or (isinstance(node, exp.Join) and name == "kind" and str(value).upper() == "INNER"):
                continue
            if isinstance(node, exp.Table) and name == "alias" and node.alias.lower() in self.tables:
                continue
            items = value if isinstance(value, list) else [value]
            written = [self.write(item) if isinstance(item, exp.Expression) else str(item).lower() for item in items]
            if isinstance(node, exp.In) and name == "expressions":
                written.sort()
            parts.append(f"{name}={' '.join(written)}")
        return sorted(parts)

    def _column(self, node: Any) -> str:
        name, table = str(node.name).lower(), str(node.table).lower()
        if not table and name in self.columns and node.find_ancestor(self.exp.Order, self.exp.Having, self.exp.Group):
            meant = self.columns.pop(name)
            try:
                return self.write(meant)
            finally:
                self.columns[name] = meant
        if isinstance(node.this, self.exp.Star):
            name = "*"
        return name if not table or self.only_table else f"{self.tables.get(table, table)}.{name}"


def _operands(node: Any) -> list[Any]:
    """The operands of a chain such as a AND b AND c, however it is bracketed; without recursion."""
    from sqlglot import exp

    waiting, found = [node.this, node.expression], []
    while waiting:
        operand = waiting.pop()
        while isinstance(operand, exp.Paren):
            operand = operand.this
        if type(operand) is type(node):
            waiting += [operand.this, operand.expression]
        else:
            found.append(operand)
    return found


def _folded(text: str) -> str:
    """One space between words, lower case outside single quotes, no semicolon at the end."""
    parts = text.strip().rstrip(";").split("'")
    return "'".join(" ".join(part.split()).lower() if i % 2 == 0 else part for i, part in enumerate(parts))
