"""What a comparison will take, before anything is asked: tokens in and out, time and money, rung by rung."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle, islice, takewhile
from typing import Any

from sqlalchemy import func, select

from core.data.dataset import count_of, examples_of
from core.data.example import Example
from core.data.storing import example_of
from core.documents.chunking import DEFAULT_CHUNK_TOKENS
from core.errors import UserError
from core.evaluate.plan import MetricChoice, Plan
from core.evaluate.questions import answer_tokens, chat_of, choose_shots, chosen_shots
from core.evaluate.rungs import Rung
from core.forecast.lengths import BYTES_PER_TOKEN, OPENING_TOKENS, TURN_TOKENS, at_hand, tokenizer_of
from core.models.access import ModelFacts, describe
from core.models.devices import this_device
from core.models.estimate import decode_seconds, serving_tokens_per_s
from core.models.local import render
from core.models.open import concurrency_of, is_remote, price_of
from core.models.prompt import Message, Passage, Shot
from core.store.database import session
from core.store.tables import Chunk, Experiment, Index, Prediction
from core.store.tables import Example as ExampleRow

# Test examples whose prompts are counted; the mean of so many is within a few percent for one kind of data.
SAMPLE = 24
# Shots are chosen among so many training examples: only their length matters here.
SHOTS_AMONG = 200
# Earlier answers that the speed is taken from: the latest ones, which had the present machine and libraries.
LOOKED_BACK = 200
# A token written takes as long as about so many read, where answers are written side by side.
WRITING = 10
# Answers that a device writes side by side.
CONCURRENT = 16
# What a judge is told beside question and answers, and what it says: a rubric, and a verdict with its reason.
JUDGE_TOLD, JUDGE_SAYS = 400, 60
# Services of whose speed nothing is known yet: seconds to the first token, then tokens a second.
FIRST_TOKEN_S, REMOTE_TOKENS_PER_S = 0.5, 80


@dataclass(frozen=True)
class RungForecast:
    """All of a rung's answers together. `seconds` is None where nothing is known of its model.

    `exact`: the prompts were counted with the model's own tokenizer. `measured`: the speed was seen on this machine.
    """

    rung: str
    model: str
    answers: int
    input_tokens: int
    output_tokens: int
    seconds: float | None
    usd: float
    exact: bool
    measured: bool


@dataclass(frozen=True)
class ComparisonForecast:
    """`rungs`, lowest first, and what `judges` are asked on top, if any."""

    rungs: list[RungForecast]
    judges: list[RungForecast]

    @property
    def answers(self) -> int:
        """Of the rungs alone."""
        return sum(rung.answers for rung in self.rungs)

    @property
    def all(self) -> list[RungForecast]:
        return [*self.rungs, *self.judges]

    @property
    def input_tokens(self) -> int:
        return sum(part.input_tokens for part in self.all)

    @property
    def output_tokens(self) -> int:
        return sum(part.output_tokens for part in self.all)

    @property
    def usd(self) -> float:
        return sum(part.usd for part in self.all)

    @property
    def seconds(self) -> float | None:
        """None as soon as one part's is unknown: a part of the time would be taken for the whole."""
        known = [part.seconds for part in self.all if part.seconds is not None]
        return sum(known) if len(known) == len(self.all) else None


def forecast(
    dataset_id: int, plan: Plan, model: str, index_id: int | None = None, metrics: Sequence[MetricChoice] = ()
) -> ComparisonForecast:
    """What asking every rung of `plan` every test question takes; `model` is that of rungs without one of their own.

    Nothing is searched and no weights are loaded: passages of the index stand for those that will be found, shots at
    random for similar ones. Answers are taken to be as long as this rung's earlier ones on this data, else as the
    references. Raises UserError for a service or a worked example that is gone.
    """
    counted = _spread(dataset_id)
    if not counted:
        return ComparisonForecast([], [])
    shots = _shots(dataset_id, plan)
    stock = _passages(index_id, plan.passages * len(counted))
    longest = answer_tokens(plan, dataset_id)
    answers = count_of(dataset_id, "test") * plan.samples
    references = [len(example.reference.encode()) // BYTES_PER_TOKEN + 2 for example in counted]
    found = []
    for rung in plan.ladder:
        at = rung.model or model
        passages = cycle(stock)
        found_for = [list(islice(passages, plan.passages)) if rung.retrieval and stock else [] for _ in counted]
        chats = [
            chat_of(example, plan.template, shots if rung.shots else (), hits)
            for example, hits in zip(counted, found_for, strict=True)
        ]
        written = _usual_output(at, rung.switches, dataset_id) or sum(references) / len(references)
        found.append(_of_rung(rung, at, chats, min(written, longest), answers))
    judged = [*_judged(found, plan, metrics, count_of(dataset_id, "test"))]
    return ComparisonForecast(found, judged)


def _judged(
    rungs: Sequence[RungForecast], plan: Plan, metrics: Sequence[MetricChoice], tests: int
) -> Iterator[RungForecast]:
    """What judges are asked: every answer under the metric `judge`, and pairs of answers in both orders."""
    asked = [
        (str(choice.settings.get("model") or ""), sum(rung.answers for rung in rungs))
        for choice in metrics
        if choice.name == "judge"
    ]
    if plan.judge is not None:
        pairs = len(rungs) - 1 if plan.judge.pairs == "best" else len(rungs) * (len(rungs) - 1) // 2
        asked.append((plan.judge.model, 2 * pairs * min(plan.judge.examples, tests)))
    for model, calls in asked:
        if not model or not calls:
            continue
        plainest = min(rungs, key=lambda rung: rung.input_tokens)
        answer = max(rung.output_tokens / rung.answers for rung in rungs)
        read = JUDGE_TOLD + plainest.input_tokens / plainest.answers + 2 * answer
        yield _asked("judge", model, "base", read, JUDGE_SAYS, calls, exact=False)


def _of_rung(rung: Rung, model: str, chats: Sequence[Sequence[Message]], written: float, answers: int) -> RungForecast:
    """`chats` are a sample of its prompts, `written` the mean tokens of its answers."""
    count, exact = _counter(_facts(model))
    read = sum(map(count, chats)) / len(chats)
    alike = _alike(chats)
    shared = count(chats[0][:alike]) if alike else 0
    return _asked(rung.name, model, rung.switches, read, written, answers, exact=exact, shared=shared)


def _alike(chats: Sequence[Sequence[Message]]) -> int:
    """With how many turns all chats begin: those are read once, by a local model."""
    columns = zip(*chats, strict=False)
    return sum(1 for _ in takewhile(lambda turns: all(turn == turns[0] for turn in turns), columns))


def _asked(
    name: str, model: str, switches: str, read: float, written: float, answers: int, *, exact: bool, shared: int = 0
) -> RungForecast:
    """So many answers of so many tokens each, from this model; all prompts begin with the same `shared` tokens."""
    before = _earlier(model, switches)
    each = before.seconds(read, written) if before else _reckoned(_facts(model), model, read - shared, written)
    if each is not None and is_remote(model):
        each /= min(concurrency_of(model), answers)
    price_in, price_out = price_of(model)
    return RungForecast(
        rung=name,
        model=model,
        answers=answers,
        input_tokens=round(read * answers),
        output_tokens=round(written * answers),
        seconds=None if each is None else each * answers,
        usd=answers * (read * price_in + written * price_out) / 1e6,
        exact=exact,
        measured=before is not None,
    )


def _shots(dataset_id: int, plan: Plan) -> Sequence[Shot]:
    if plan.shot_choice == "chosen":
        return chosen_shots(dataset_id, plan.shot_ids) if any(rung.shots for rung in plan.ladder) else []
    train = [example for _, example in examples_of(dataset_id, "train", SHOTS_AMONG)]
    return choose_shots(train, plan.shots, plan.seed or 0)


def _spread(dataset_id: int) -> list[Example]:
    """Test examples spread evenly over the split: files are often sorted."""
    mine = ExampleRow.dataset_id == dataset_id, ExampleRow.split == "test"
    with session(read_only=True) as db:
        ids = list(db.scalars(select(ExampleRow.id).where(*mine).order_by(ExampleRow.position)))
        chosen = ids if len(ids) <= SAMPLE else [ids[number * len(ids) // SAMPLE] for number in range(SAMPLE)]
        return [example_of(row) for row in db.scalars(select(ExampleRow).where(ExampleRow.id.in_(chosen)))]


def _passages(index_id: int | None, wanted: int) -> list[Passage]:
    """Passages of the index; of one that is not cut yet, fillers of the length it will be cut to."""
    if index_id is None:
        return []
    with session(read_only=True) as db:
        texts = list(db.scalars(select(Chunk.text).where(Chunk.index_id == index_id).limit(wanted)))
        tokens = db.scalar(select(Index.chunk_tokens).where(Index.id == index_id)) or DEFAULT_CHUNK_TOKENS
    return [Passage("Document", text) for text in texts or ["word" * tokens]]


def _facts(model: str) -> ModelFacts | None:
    """What is known of a local model; None for a service's, and where nothing is."""
    try:
        return None if is_remote(model) else describe(model)
    except UserError:
        return None


def _counter(facts: ModelFacts | None) -> tuple[Callable[[Sequence[Message]], int], bool]:
    """(tokens of a chat, whether they are counted with the model's tokenizer and not told from the texts' size)."""
    if facts is None or not at_hand(facts):
        return _told, False
    tokenizer: Any = tokenizer_of(facts.id)
    return lambda chat: len(tokenizer(render(tokenizer, chat), add_special_tokens=False)["input_ids"]), True


def _told(chat: Sequence[Message]) -> int:
    around = OPENING_TOKENS + TURN_TOKENS * len(chat)
    return sum(len(turn["content"].encode()) for turn in chat) // BYTES_PER_TOKEN + around


@dataclass(frozen=True)
class _Before:
    """Means of a rung's latest answers."""

    latency_s: float
    read: float
    written: float

    def seconds(self, read: float, written: float) -> float:
        """Of an answer with so many tokens, in proportion to the work."""
        return self.latency_s * (read + WRITING * written) / max(1.0, self.read + WRITING * self.written)


def _earlier(model: str, switches: str) -> _Before | None:
    """How fast this model was here: with the same switches if it was asked that way, else with any.

    Answers taken over from another experiment are left out: they are in the table once more, with the time of then.
    """
    columns = Prediction.latency_s, Prediction.input_tokens, Prediction.output_tokens
    asked = (
        select(*columns)
        .join(Experiment, Prediction.experiment_id == Experiment.id)
        .where(_of_model(model), Prediction.error.is_(None), Prediction.reused.is_(False), Prediction.latency_s > 0)
        .order_by(Prediction.id.desc())
        .limit(LOOKED_BACK)
    )
    with session(read_only=True) as db:
        for query in (asked.where(_with(switches)), asked):
            latest = query.subquery()
            means = db.execute(select(*(func.avg(column) for column in latest.c))).one()
            if means[0] is not None:
                return _Before(*means)
    return None


def _usual_output(model: str, switches: str, dataset_id: int) -> float | None:
    """Mean tokens of what this rung answered to this data before; a model that rambles does so again."""
    query = (
        select(Prediction.output_tokens)
        .join(Experiment, Prediction.experiment_id == Experiment.id)
        .where(_of_model(model), _with(switches), Experiment.dataset_id == dataset_id, Prediction.error.is_(None))
        .order_by(Prediction.id.desc())
        .limit(LOOKED_BACK)
    )
    with session(read_only=True) as db:
        return db.scalar(select(func.avg(query.subquery().c.output_tokens)))


def _of_model(model: str) -> Any:
    """Answers of this model: the experiment's own, or named in the rung."""
    own = (Experiment.model == model) & ~Prediction.rung.contains("@")
    return own | Prediction.rung.endswith(f"@{model}", autoescape=True)


def _with(switches: str) -> Any:
    named = [Prediction.rung == switches]
    named += [Prediction.rung.startswith(f"{switches}{mark}", autoescape=True) for mark in "#@"]
    return named[0] | named[1] | named[2]


def _reckoned(facts: ModelFacts | None, model: str, read: float, written: float) -> float | None:
    """Seconds of an answer, told from the device and the model's shape; of a service, from what they usually take."""
    if is_remote(model):
        return FIRST_TOKEN_S + written / REMOTE_TOKENS_PER_S
    if facts is None or facts.shape is None:
        return None
    device, written = this_device(), max(1.0, written)
    bits = 32 if device.kind == "cpu" else 16
    if device.kind == "cpu":
        # Two cores gain little from answers side by side once prompts are long.
        return decode_seconds(facts.shape, device, read, written / CONCURRENT, bits)
    return written / serving_tokens_per_s(facts.shape, device, read, written, CONCURRENT, bits)
