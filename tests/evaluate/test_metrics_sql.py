"""SQL that means the same counts as the same, and nothing else does."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from core.errors import UserError
from core.evaluate.metrics import metric_named
from core.evaluate.metrics.registry import Answer, Scored


def score(answer: str, reference: str, dialect: str = "") -> Scored:
    return metric_named("sql_match").score_all([Answer(answer, reference)], {"dialect": dialect})[0]


@pytest.mark.parametrize(
    ("answer", "reference"),
    [
        ("select A from T;", "SELECT a\n  FROM t"),
        ('SELECT "a" FROM "t"', "SELECT a FROM t"),
        ("SELECT a FROM t -- all of them", "SELECT a FROM t"),
        ("SELECT a FROM t AS x WHERE x.b = 1", "SELECT t.a FROM t WHERE t.b = 1"),
        ("SELECT a FROM t WHERE b = 1 AND c = 2 AND d = 3", "SELECT a FROM t WHERE d = 3 AND (c = 2 AND b = 1)"),
        ("SELECT a FROM t WHERE b = 1 OR (c > 2)", "SELECT a FROM t WHERE 2 < c OR 1 = b"),
        ("SELECT a FROM t WHERE b <> 'x'", "SELECT a FROM t WHERE 'x' != b"),
        ("SELECT a FROM t WHERE b IN (2, 1)", "SELECT a FROM t WHERE b IN (1, 2)"),
        ("SELECT count(*) AS n FROM t", "SELECT COUNT(*) FROM t"),
        (
            "SELECT a, COUNT(*) AS n FROM t GROUP BY a ORDER BY n",
            "SELECT a, COUNT(*) FROM t GROUP BY a ORDER BY COUNT(*)",
        ),
        ("SELECT a FROM t ORDER BY a ASC", "SELECT a FROM t ORDER BY a"),
        (
            "SELECT c.name FROM crew c INNER JOIN boats b ON c.boat = b.id",
            "SELECT crew.name FROM crew JOIN boats ON boats.id = crew.boat",
        ),
        ("SELECT a + b * 2 FROM t", "SELECT 2 * b + a FROM t"),
        ("DELETE FROM t WHERE a=1", "delete from t where a = 1"),
    ],
)
def test_same_query_written_otherwise(answer: str, reference: str) -> None:
    assert score(answer, reference) == Scored(1.0)
    assert score(reference, answer) == Scored(1.0)


@pytest.mark.parametrize(
    ("answer", "reference"),
    [
        ("SELECT a FROM t WHERE b = 'X'", "SELECT a FROM t WHERE b = 'x'"),
        ("SELECT a, b FROM t", "SELECT b, a FROM t"),
        ("SELECT a FROM t ORDER BY a DESC", "SELECT a FROM t ORDER BY a"),
        ("SELECT a FROM t WHERE b > 1", "SELECT a FROM t WHERE b >= 1"),
        ("SELECT a FROM t WHERE b > c", "SELECT a FROM t WHERE c > b"),
        ("SELECT a - b FROM t", "SELECT b - a FROM t"),
        ("SELECT a FROM t WHERE b = 1 AND c = 2 OR d = 3", "SELECT a FROM t WHERE b = 1 AND (c = 2 OR d = 3)"),
        ("SELECT DISTINCT a FROM t", "SELECT a FROM t"),
        ("SELECT a FROM t LEFT JOIN u ON t.x = u.x", "SELECT a FROM t JOIN u ON t.x = u.x"),
        ("SELECT x.a FROM t x JOIN t y ON x.b = y.c", "SELECT y.a FROM t x JOIN t y ON x.b = y.c"),
        ("SELECT a FROM t UNION SELECT a FROM u", "SELECT a FROM t UNION ALL SELECT a FROM u"),
        ("SELECT a FROM t; DROP TABLE t", "SELECT a FROM t"),
        ("Here it is: SELECT a FROM t", "SELECT a FROM t"),
        ("```sql\nSELECT a FROM t\n```", "SELECT a FROM t"),
        ("", "SELECT a FROM t"),
    ],
)
def test_other_queries_differ(answer: str, reference: str) -> None:
    assert score(answer, reference).value == score(reference, answer).value == 0


def test_what_does_not_parse_is_compared_as_text(shared_data: Path) -> None:
    with (shared_data / "mlx-wikisql-text-jsonl" / "test.jsonl").open(encoding="utf-8") as lines:
        queries = [json.loads(line)["text"].rsplit("A: ", 1)[1] for line in lines]
    assert len(queries) > 50
    for query in queries:
        assert score(query.replace("SELECT ", "select  ", 1), query).value == 1
        assert score(query + " LIMIT 1", query).value == 0
    assert any(score(query, query).notes.get("unparsed") == ["answer", "reference"] for query in queries)


def test_dialect_decides_what_quotes_mean() -> None:
    assert score("SELECT `a` FROM t", "SELECT a FROM t", "mysql").value == 1
    assert score('SELECT a FROM t WHERE b = "x"', "SELECT a FROM t WHERE b = 'x'", "mysql").value == 1
    assert score('SELECT a FROM t WHERE b = "x"', "SELECT a FROM t WHERE b = 'x'", "postgres").value == 0
    with pytest.raises(UserError, match=r"no dialect 'klingon'.*sqlite"):
        score("SELECT 1", "SELECT 1", "klingon")
