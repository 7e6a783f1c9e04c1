"""The records: migrations, and the promises that other processes rely on."""

from __future__ import annotations

import multiprocessing
import threading
import time
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy.exc import IntegrityError

from core.errors import UserError
from core.settings import get_settings
from core.store import database
from core.store.tables import Base, Dataset, Example, Experiment, Job, Metric, Prediction, Score


def test_migrations_make_what_the_tables_say() -> None:
    with database.session() as opened:
        context = MigrationContext.configure(opened.connection(), opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []


def test_answers_of_before_survive_the_table_being_made_anew(home: Path) -> None:
    """The fourth migration rebuilds `predictions`, which SQLite does by copying."""
    engine = database.engine()
    config = Config()
    config.set_main_option("script_location", str(database.MIGRATIONS))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0003")
        for statement in (
            "INSERT INTO datasets (id, name, hash, seed, created_at, source, notes) "
            "VALUES (1, 'd', 'h', 0, 0, '', '{}')",
            'INSERT INTO examples (id, dataset_id, position, split, messages, reference, "group") '
            "VALUES (1, 1, 0, 'test', '[]', 'r', 'g')",
            "INSERT INTO experiments (id, name, created_at, dataset_id, model, metric, delta, seed, spec) "
            "VALUES (5, 'e', 0, 1, 'm', 'exact_match', 0.05, 0, '{}')",
            "INSERT INTO predictions (id, experiment_id, rung, example_id, output, input_tokens, output_tokens, "
            "latency_s, cost_usd, retrieved) VALUES (7, 5, 'base', 1, 'kept', 1, 2, 0.5, 0, '[]')",
        ):
            connection.execute(sa.text(statement))
    with database.session() as opened:
        kept = opened.get_one(Prediction, 7)
        assert (kept.output, kept.sample, kept.key, kept.reused) == ("kept", 0, "", False)
        opened.add(Score(prediction_id=7, metric="exact_match", value=1.0))
    with database.session() as opened:
        opened.execute(sa.delete(Experiment))
    with database.session(read_only=True) as opened:
        assert opened.scalar(sa.select(sa.func.count(Score.id))) == 0
        assert opened.scalar(sa.select(sa.func.count(Prediction.id))) == 0


def test_upgrade_twice_changes_nothing(home: Path) -> None:
    with database.session() as opened:
        opened.add(Job(kind="train"))
    database.forget(get_settings().records_url)
    with database.session() as opened:
        assert opened.scalar(sa.select(sa.func.count(Job.id))) == 1


def _open_when_all_are_ready(barrier: threading.Barrier) -> None:
    barrier.wait()
    with database.session() as opened:
        opened.add(Job(kind="train"))


def test_processes_that_start_at_once_upgrade_once() -> None:
    spawn = multiprocessing.get_context("spawn")
    barrier = spawn.Barrier(4)
    processes = [spawn.Process(target=_open_when_all_are_ready, args=(barrier,)) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(timeout=30)
    assert [process.exitcode for process in processes] == [0] * 4
    with database.session(read_only=True) as opened:
        assert opened.scalar(sa.select(sa.func.count(Job.id))) == 4


def test_records_of_a_newer_version_are_left_alone() -> None:
    with database.session() as opened:
        opened.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    database.forget(get_settings().records_url)
    with pytest.raises(UserError, match=r"newer version.*Update the program"), database.session():
        pass


def test_sqlite_is_ready_for_several_processes() -> None:
    with database.session() as opened:
        assert opened.scalar(sa.text("PRAGMA journal_mode")) == "wal"
        assert opened.scalar(sa.text("PRAGMA foreign_keys")) == 1
        assert opened.scalar(sa.text("PRAGMA busy_timeout")) == 30_000


def test_read_then_write_survives_a_writer_in_between() -> None:
    """Both read the value before they add to it; were transactions to begin late, one would fail."""
    with database.session() as opened:
        job = Job(kind="train")
        opened.add(job)

    def add() -> None:
        with database.session() as opened:
            row = opened.get_one(Job, job.id)
            time.sleep(0.02)
            row.done += 1

    threads = [threading.Thread(target=add) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with database.session(read_only=True) as opened:
        assert opened.get_one(Job, job.id).done == 8


def test_reading_waits_for_no_writer() -> None:
    with database.session() as writing:
        writing.add(Job(kind="train"))
        writing.flush()
        with database.session(read_only=True) as reading:
            assert reading.scalar(sa.select(sa.func.count(Job.id))) == 0


def test_read_only_session_refuses_to_write() -> None:
    with pytest.raises(RuntimeError, match="read-only"), database.session(read_only=True) as opened:
        opened.add(Job(kind="train"))


def test_error_rolls_everything_back() -> None:
    with pytest.raises(ZeroDivisionError), database.session() as opened:
        opened.add(Job(kind="train"))
        opened.flush()
        _ = 1 / 0
    with database.session(read_only=True) as opened:
        assert opened.scalar(sa.select(sa.func.count(Job.id))) == 0


def test_dataset_takes_its_examples_along() -> None:
    with database.session() as opened:
        dataset = Dataset(name="tickets", hash="abc", seed=0)
        opened.add(dataset)
        opened.flush()
        opened.add(
            Example(
                dataset_id=dataset.id,
                position=0,
                split="test",
                messages=[{"role": "user", "content": "?"}],
                reference="!",
                group="g",
            )
        )
    with database.session() as opened:
        opened.execute(sa.delete(Dataset))
    with database.session(read_only=True) as opened:
        assert opened.scalar(sa.select(sa.func.count(Example.id))) == 0


def test_row_of_nobody_is_refused() -> None:
    with pytest.raises(IntegrityError), database.session() as opened:
        opened.add(Metric(job_id=7, step=0, name="loss", value=1.0, time=0.0))


def test_ids_are_never_used_twice() -> None:
    with database.session() as opened:
        first = Job(kind="train")
        opened.add(first)
    with database.session() as opened:
        opened.execute(sa.delete(Job))
    with database.session() as opened:
        second = Job(kind="train")
        opened.add(second)
    assert second.id > first.id
