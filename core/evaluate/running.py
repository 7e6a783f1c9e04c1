"""Asking every rung every question: each answer is stored as it comes, and none that is known is asked for again.

All rungs of one model are asked together, so that it is loaded once and its batches mix them; models follow one
another, so that only one is in memory.
"""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sqlalchemy import delete, insert, select

from core.data.dataset import examples_of
from core.errors import UserError
from core.evaluate.metrics import metric_named
from core.evaluate.normalize import storable
from core.evaluate.plan import MetricChoice, Plan, metrics_of
from core.evaluate.progress import Board
from core.evaluate.questions import Question, answer_tokens, gather, questions_of
from core.evaluate.rungs import Rung
from core.evaluate.scoring import IDS_PER_QUERY, retrieving_rungs, score_these
from core.models.budget import CapReached
from core.models.generation import Completion, Generator, Request, Sampling, never
from core.models.identity import adapter_fingerprint, answer_key, fingerprint, seed_of
from core.settings import get_settings
from core.store.database import session
from core.store.tables import Adapter, Experiment, Prediction

FIGURES = ("input_tokens", "output_tokens", "latency_s", "cost_usd", "finish_reason")


@dataclass(frozen=True)
class Wanted:
    """One answer that is not there yet; `key` is the hash of everything that determines it, `seed` included."""

    rung: Rung
    question: Question
    sample: int
    seed: int = 0
    key: str = ""


def run_experiment(
    experiment_id: int,
    open_model: Callable[[str], Generator],
    progress: Callable[[float, float, str], None] = lambda done, total, message: None,
    check_stop: Callable[[], None] = lambda: None,
    stop_requested: Callable[[], bool] = never,
    note: Callable[[dict[str, Any]], None] = lambda rungs: None,
) -> None:
    """Ask every rung every test question that has no stored answer yet, and score the answers by the cheap metrics.

    A rung whose model or adapter is gone gets failed answers with the reason, and the others go on. `check_stop` is
    called whenever answers were stored and may raise; what is stored by then is never asked again. `note` is told how
    far each rung is.

    Raises:
        UserError: nothing could be answered at all; what failed is forgotten then, so that it can be tried again.
            CapReached, when the money is used up, is one too.
    """
    _Run(experiment_id, open_model, progress, check_stop, stop_requested, note).run()


class _Run:
    """One attempt at an experiment."""

    def __init__(
        self,
        experiment_id: int,
        open_model: Callable[[str], Generator],
        progress: Callable[[float, float, str], None],
        check_stop: Callable[[], None],
        stop_requested: Callable[[], bool],
        note: Callable[[dict[str, Any]], None],
    ) -> None:
        with session(read_only=True) as db:
            self.experiment = db.get_one(Experiment, experiment_id)
        self.plan = Plan.model_validate(self.experiment.spec)
        self.sampling = Sampling(
            answer_tokens(self.plan, self.experiment.dataset_id), self.plan.temperature, self.plan.top_p
        )
        self.open_model, self.check_stop, self.stop_requested = open_model, check_stop, stop_requested
        self.board = Board(progress, note)
        self.retrieving = retrieving_rungs(self.plan)
        # One that fails is left to the scoring after the last answer, where its error ends the job.
        self.live = [choice for choice in metrics_of(self.experiment) if metric_named(choice.name).cost == "cheap"]

    def run(self) -> None:
        wanted = self._wanted()
        for model in dict.fromkeys(rung.model or self.experiment.model for rung in self.plan.ladder):
            mine = [each for each in wanted if (each.rung.model or self.experiment.model) == model]
            if mine:
                self._ask_model(model, mine)
                # Frees the weights before the next model is loaded.
                gc.collect()
        self.board.finish()
        self._refuse_nothing()

    def _wanted(self) -> list[Wanted]:
        """All answers that are not stored yet, of all rungs."""
        key = (Prediction.rung, Prediction.example_id, Prediction.sample)
        with session(read_only=True) as db:
            rows = db.execute(select(*key).where(Prediction.experiment_id == self.experiment.id))
            stored = {(rung, example_id, sample) for rung, example_id, sample in rows}
        tests = examples_of(self.experiment.dataset_id, "test")
        rungs, samples = self.plan.ladder, range(self.plan.samples)
        missing = {
            (rung.name, example_id, sample) for rung in rungs for example_id, _ in tests for sample in samples
        } - stored
        asked = {example_id for _, example_id, _ in missing}
        # What is there needs no looking up: a change of metrics alone should not have to wait for a search.
        material = gather(self.experiment, self.plan, [row for row in tests if row[0] in asked], self._tick)
        wanted = []
        for rung in rungs:
            questions = questions_of(rung, self.plan, material)
            mine = [
                Wanted(rung, question, sample)
                for sample in samples
                for question in questions
                if (rung.name, question.example_id, sample) in missing
            ]
            self.board.add(rung.name, len(tests) * self.plan.samples, [each.question.effort for each in mine])
            if rung.retrieval and material.no_hits is not None:
                self._fail(mine, material.no_hits)
            else:
                wanted += mine
        return wanted

    def _tick(self, message: str) -> None:
        self.board.say(message)
        self.check_stop()

    def _ask_model(self, model: str, wanted: Sequence[Wanted]) -> None:
        """Answer all that is wanted of one model: from earlier experiments, or by asking, or with why it cannot."""
        adapters: dict[Rung, Path | None] = {}
        marks: dict[Rung, str] = {}
        for rung in dict.fromkeys(each.rung for each in wanted):
            try:
                folder = adapter_folder(rung, self.experiment, self.plan) if rung.adapter else None
                marks[rung] = adapter_fingerprint(folder) if folder is not None else ""
                adapters[rung] = folder
            except (UserError, OSError) as error:
                self._fail([each for each in wanted if each.rung == rung], error)
        left = [each for each in wanted if each.rung in adapters]
        try:
            identity = fingerprint(model)
            if identity is not None:
                left = self._take_over(self._keyed(left, identity, marks))
            if not left:
                return
            self.board.say(f"Loading {model}")
            generator = self.open_model(model)
            opened = fingerprint(model)
            if opened is None or opened != identity:
                # Opening it downloaded the model, or a newer revision of it.
                left = self._take_over(self._keyed(left, opened or model, marks))
        except CapReached:
            raise
        except (UserError, OSError) as error:
            self._fail(left, error)
            return
        if left:
            self._ask(generator, left, adapters)

    def _keyed(self, wanted: Iterable[Wanted], model: str, marks: dict[Rung, str]) -> list[Wanted]:
        """With seed and key; `marks` are the fingerprints of the rungs' adapters."""
        keyed = []
        for each in wanted:
            chat = each.question.chat
            seed = seed_of(self.experiment.seed, each.sample, chat)
            key = answer_key(model, marks[each.rung], chat, self.sampling, seed)
            keyed.append(replace(each, seed=seed, key=key))
        return keyed

    def _take_over(self, wanted: list[Wanted]) -> list[Wanted]:
        """Store what was answered before under the same key, the newest answer; returns the rest."""
        if self.plan.fresh:
            return wanted
        left: list[Wanted] = []
        for start in range(0, len(wanted), IDS_PER_QUERY):
            chunk = wanted[start : start + IDS_PER_QUERY]
            keys = {each.key for each in chunk}
            figures = [getattr(Prediction, name) for name in FIGURES]
            query = select(Prediction.key, Prediction.output, *figures).order_by(Prediction.id)
            with session(read_only=True) as db:
                rows = db.execute(query.where(Prediction.key.in_(keys), Prediction.error.is_(None))).all()
            # In the order of the fields.
            known = {key: Completion(*answer) for key, *answer in rows}
            self._store([(each, known[each.key], True) for each in chunk if each.key in known])
            left += [each for each in chunk if each.key not in known]
            self.check_stop()
        return left

    def _ask(self, generator: Generator, wanted: Sequence[Wanted], adapters: dict[Rung, Path | None]) -> None:
        """Ask for what is wanted, each key once, and store what comes."""
        same: dict[str, list[Wanted]] = {}
        for each in wanted:
            same.setdefault(each.key, []).append(each)
        waiting = list(same.values())
        requests = [Request(first.question.chat, adapters[first.rung], first.seed) for first, *_ in waiting]
        answered: set[int] = set()
        self.board.begin(each.rung.name for each in wanted)
        try:
            for batch in generator.answer(requests, self.sampling, stop=self.stop_requested):
                self._store(
                    [(each, completion, each is not waiting[i][0]) for i, completion in batch for each in waiting[i]]
                )
                answered |= {i for i, _ in batch}
                self.check_stop()
        except CapReached:
            raise
        except (UserError, OSError) as error:
            left = [each for i, group in enumerate(waiting) if i not in answered for each in group]
            pools = {adapters[each.rung] for each in left}
            if len(pools) == 1:
                self._fail(left, error)
                return
            # One adapter that cannot be read must not take the others with it.
            for folder in pools:
                self._ask(generator, [each for each in left if adapters[each.rung] == folder], adapters)
        self.check_stop()

    def _fail(self, wanted: Sequence[Wanted], error: UserError | OSError) -> None:
        """Store that these could not be answered: they count as failures."""
        # Reports are given away, so no path of this machine belongs in them.
        files = "The files of the model or the adapter cannot be read"
        said = f"{files}: {error.strerror or type(error).__name__}." if isinstance(error, OSError) else error.what
        failed = Completion("", finish_reason="error", error=said)
        self._store([(each, failed, False) for each in wanted])
        self.board.fail(each.rung.name for each in wanted)

    def _store(self, answers: Sequence[tuple[Wanted, Completion, bool]]) -> None:
        """Store answers (each with whether it was known already), then their cheap scores."""
        if not answers:
            return
        rows = [
            {name: getattr(completion, name) for name in FIGURES}
            | {
                "output": storable(completion.text),
                "error": None if completion.error is None else storable(completion.error),
                "experiment_id": self.experiment.id,
                "rung": each.rung.name,
                "example_id": each.question.example_id,
                "sample": each.sample,
                "key": each.key,
                "reused": reused and completion.error is None,
                "retrieved": [hit.as_dict() for hit in each.question.hits],
            }
            for each, completion, reused in answers
        ]
        with session() as db:
            ids = db.scalars(insert(Prediction).returning(Prediction.id), rows).all()
        for choice in list(self.live):
            self._score(ids, choice)
        self.board.advance((each.rung.name, each.question.effort, reused) for each, _, reused in answers)

    def _score(self, ids: Sequence[int], choice: MetricChoice) -> None:
        try:
            score_these(ids, choice, self.retrieving)
        except UserError:
            self.live.remove(choice)

    def _refuse_nothing(self) -> None:
        mine = Prediction.experiment_id == self.experiment.id
        with session(read_only=True) as db:
            if db.scalar(select(Prediction.id).where(mine, Prediction.error.is_(None)).limit(1)) is not None:
                return
        with session() as db:
            reasons = Counter(db.scalars(select(Prediction.error).where(mine)))
            db.execute(delete(Prediction).where(mine))
        (reason, count), *_ = reasons.most_common(1)
        raise UserError(
            f"Not one question could be answered. {reason}"
            + (f" ({count} of {reasons.total()} failed so.)" if len(reasons) > 1 else ""),
            "Put that right, then resume: every question will be asked again.",
        )


def adapter_folder(rung: Rung, experiment: Experiment, plan: Plan) -> Path:
    """Where the weights are that the rung puts on its model. Raises UserError when they are gone."""
    named = rung.adapter_id
    if named is None and rung.retrieval:
        named = plan.rag_adapter_id
    if named is None:
        named = experiment.adapter_id
    with session(read_only=True) as db:
        # Of no job are also those that were brought along: where nothing is named any more, none is meant.
        trained = Adapter.job_id.is_not(None), Adapter.job_id == experiment.train_job_id
        wanted = [Adapter.id == named] if named is not None else trained
        adapter = db.scalar(select(Adapter).where(*wanted).order_by(Adapter.id.desc()))
    folder = get_settings().home / adapter.path if adapter else None
    if folder is None or not folder.is_dir():
        raise UserError(f"The adapter of {rung.name} is gone.", "Train it again and start a new experiment.")
    return folder
