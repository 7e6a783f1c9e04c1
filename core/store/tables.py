"""Every table of the product.

Ids are integers that are never used twice, so a folder named after one never meets a stranger's files. Times
are seconds since the epoch (UTC), as `time.time()` gives them. A column changed here needs a migration beside
`migrations/versions/0001_first.py`; a test compares the two.
"""

from __future__ import annotations

import time
from typing import Any, ClassVar

import sqlalchemy as sa
from sqlalchemy import ForeignKey, MetaData, UniqueConstraint
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

NEVER_REUSE_IDS = {"sqlite_autoincrement": True}


class Base(DeclarativeBase):
    """Names every constraint, since a migration can only change what has a name."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map: ClassVar[dict[Any, Any]] = {
        str: sa.Text(),
        float: sa.Double(),
        dict[str, Any]: sa.JSON(),
        list[dict[str, Any]]: sa.JSON(),
        list[dict[str, str]]: sa.JSON(),
        list[int]: sa.JSON(),
    }


class Dataset(Base):
    """Validated examples under one content hash."""

    __tablename__ = "datasets"
    __table_args__ = NEVER_REUSE_IDS

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    hash: Mapped[str]
    seed: Mapped[int]
    created_at: Mapped[float] = mapped_column(default=time.time)
    source: Mapped[str] = mapped_column(default="")
    """Names of the files it was read from."""
    notes: Mapped[dict[str, Any]] = mapped_column(default=dict)
    importing_at: Mapped[float | None]
    """Last sign of life of the import that fills it; empty once it is complete, and only then is it shown."""


class Example(Base):
    """One record of a dataset: prompt turns and the answer expected of them."""

    __tablename__ = "examples"
    __table_args__ = (
        sa.Index(None, "dataset_id", "split", "position"),
        sa.Index(None, "dataset_id", "label"),
        NEVER_REUSE_IDS,
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    dataset_id: Mapped[int] = mapped_column(ForeignKey("datasets.id", ondelete="CASCADE"))
    position: Mapped[int]
    split: Mapped[str]
    """`train`, `validation` or `test`; `removed` for one that a person took out and can put back."""
    messages: Mapped[list[dict[str, Any]]]
    """The prompt turns, without the answer."""
    reference: Mapped[str]
    group: Mapped[str]
    label: Mapped[str | None]
    context: Mapped[str | None]
    tools: Mapped[list[dict[str, Any]] | None] = mapped_column(sa.JSON(none_as_null=True))
    """Functions the answer may call, as OpenAI's chat format defines them."""
    calls: Mapped[list[dict[str, Any]] | None] = mapped_column(sa.JSON(none_as_null=True))
    """The answer's tool calls, where it is one; `reference` is then their text."""
    folded: Mapped[str] = mapped_column(default="")
    """All its texts in folded case, which is what a search looks through."""
    note: Mapped[str] = mapped_column(default="")
    """What a person wrote beside it; not part of the content."""
    original: Mapped[dict[str, Any] | None] = mapped_column(sa.JSON(none_as_null=True))
    """The columns as imported, once a person has changed any of them."""


class Index(Base):
    """A searchable collection of documents, cut and embedded one way."""

    __tablename__ = "indexes"
    __table_args__ = NEVER_REUSE_IDS

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    embedder: Mapped[str]
    chunk_tokens: Mapped[int]
    overlap_tokens: Mapped[int]
    created_at: Mapped[float] = mapped_column(default=time.time)
    language: Mapped[str] = mapped_column(default="")
    """ISO 639-1 code of most of its documents; empty when nobody could tell."""
    mode: Mapped[str] = mapped_column(default="hybrid")
    """How it is searched unless a search says otherwise: `dense`, `sparse` or `hybrid`."""
    dense_weight: Mapped[float] = mapped_column(default=0.5)
    """Share of the dense list in the hybrid ranking, from 0 to 1."""
    reranker: Mapped[str] = mapped_column(default="")
    """Id of the cross-encoder that orders what was found anew; empty for none."""


class Document(Base):
    """One file of an index; `chunk_count` is 0 until it has been indexed."""

    __tablename__ = "documents"
    __table_args__ = (UniqueConstraint("index_id", "name"), NEVER_REUSE_IDS)

    id: Mapped[int] = mapped_column(primary_key=True)
    index_id: Mapped[int] = mapped_column(ForeignKey("indexes.id", ondelete="CASCADE"))
    name: Mapped[str]
    title: Mapped[str]
    hash: Mapped[str]
    text: Mapped[str]
    """The whole document as Markdown or plain text."""
    pages: Mapped[list[int]] = mapped_column(default=list)
    """Where each page begins in `text`, for documents that have pages; the first page is number 1."""
    meta: Mapped[dict[str, Any]] = mapped_column(default=dict)
    """What the document says about itself, such as its front matter: texts and numbers by name."""
    chunk_count: Mapped[int] = mapped_column(default=0)


class Chunk(Base):
    """A passage of a document: what is embedded, searched and cited."""

    __tablename__ = "chunks"
    __table_args__ = (
        sa.Index(None, "document_id", "position"),
        sa.Index(None, "index_id", "indexed"),
        NEVER_REUSE_IDS,
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    """Also its id among the vectors and in the word index."""
    index_id: Mapped[int] = mapped_column(ForeignKey("indexes.id", ondelete="CASCADE"))
    document_id: Mapped[int] = mapped_column(ForeignKey("documents.id", ondelete="CASCADE"))
    position: Mapped[int]
    """From 0 within the document."""
    hash: Mapped[str]
    """Of everything that determines its vector: embedder, heading and text."""
    text: Mapped[str]
    section: Mapped[str]
    """Path of the headings above it, joined by " > "; empty without headings."""
    page: Mapped[int | None]
    """The page it begins on, where the document has pages."""
    start: Mapped[int]
    """The characters of the document's text that it covers: from `start` ..."""
    end: Mapped[int]
    """... up to, not including, `end`."""
    indexed: Mapped[bool] = mapped_column(default=False)
    """Whether its vector and words are stored; one that is not is embedded (again)."""


class Job(Base):
    """Long work in its own process. What a job does is its handler's affair; this is what all may see."""

    __tablename__ = "jobs"
    __table_args__ = NEVER_REUSE_IDS

    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str]
    title: Mapped[str] = mapped_column(default="")
    spec: Mapped[dict[str, Any]] = mapped_column(default=dict)
    device: Mapped[str] = mapped_column(default="cpu")
    status: Mapped[str] = mapped_column(default="queued", index=True)
    """`queued`, `running`, `done`, `stopped`, `failed` or `interrupted`."""
    turn: Mapped[float] = mapped_column(default=time.time)
    """Waiting jobs of a device start in this order; the moment they were queued, unless a person moved them."""
    after: Mapped[list[int]] = mapped_column(default=list)
    """Jobs that must be done first."""
    expected_s: Mapped[float | None]

    created_at: Mapped[float] = mapped_column(default=time.time)
    started_at: Mapped[float | None]
    """When the present attempt began."""
    finished_at: Mapped[float | None]
    pid: Mapped[int | None]
    """Of a running job: its process. Of a queued one: the foreground process that will run it itself."""
    process_started: Mapped[float | None]
    """Start time of that process: with the pid it names one process for good, as pids are used again."""
    heartbeat_at: Mapped[float | None]
    """Empty until the job's process has taken over."""
    stop_requested_at: Mapped[float | None]
    stop_then: Mapped[str] = mapped_column(default="")
    """What becomes of it once stopped: empty to resume it later, `keep` or `discard` what it made so far."""

    done: Mapped[float] = mapped_column(default=0.0)
    total: Mapped[float] = mapped_column(default=0.0)
    progress_at: Mapped[float | None]
    """When `done` was reported."""
    attempt_done: Mapped[float] = mapped_column(default=0.0)
    """`done` when this attempt (or its present phase) first reported: the speed is measured from there."""
    attempt_since: Mapped[float | None]
    """When that was."""
    message: Mapped[str] = mapped_column(default="")
    error: Mapped[str] = mapped_column(default="")
    remedy: Mapped[str] = mapped_column(default="")
    traceback: Mapped[str] = mapped_column(default="")
    notes: Mapped[dict[str, Any]] = mapped_column(default=dict)
    """What the handler found along the way, by name, for its screen; kept over all attempts."""
    result: Mapped[dict[str, Any]] = mapped_column(default=dict)


class Metric(Base):
    """One measured value of a job. A value that was not a number is stored as NULL."""

    __tablename__ = "metrics"
    __table_args__ = (
        sa.Index(None, "job_id", "id"),
        sa.Index(None, "job_id", "name", "step"),
        NEVER_REUSE_IDS,
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    job_id: Mapped[int] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"))
    step: Mapped[int]
    name: Mapped[str]
    value: Mapped[float | None]
    time: Mapped[float]


class Sample(Base):
    """What a model in training answers to one fixed question, at one step."""

    __tablename__ = "samples"
    __table_args__ = (UniqueConstraint("job_id", "step", "position"), NEVER_REUSE_IDS)

    id: Mapped[int] = mapped_column(primary_key=True)
    job_id: Mapped[int] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"))
    step: Mapped[int]
    """0 before the first step: the base model's answer."""
    position: Mapped[int]
    """Which of the fixed questions, from 0."""
    prompt: Mapped[str]
    """The last turn of the question."""
    reference: Mapped[str]
    output: Mapped[str]


class Adapter(Base):
    """The weights a training run produced: LoRA matrices, or with the method `full` a whole model."""

    __tablename__ = "adapters"
    __table_args__ = NEVER_REUSE_IDS

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    job_id: Mapped[int | None] = mapped_column(ForeignKey("jobs.id", ondelete="SET NULL"))
    dataset_id: Mapped[int | None] = mapped_column(ForeignKey("datasets.id", ondelete="SET NULL"))
    base_model: Mapped[str]
    method: Mapped[str]
    recipe: Mapped[dict[str, Any]] = mapped_column(default=dict)
    path: Mapped[str]
    """Relative to the home folder."""
    eval_loss: Mapped[float | None]
    created_at: Mapped[float] = mapped_column(default=time.time)
    notes: Mapped[dict[str, Any]] = mapped_column(default=dict)
    """Figures of the run and what was found since: `step`, `data_hash`, `forgetting` and the like."""
    deleted_at: Mapped[float | None]
    """When a person deleted it; it can be brought back until its files are cleared away."""


class Experiment(Base):
    """A set of rungs on one test split under one metric. Its dataset cannot be deleted before it."""

    __tablename__ = "experiments"
    __table_args__ = NEVER_REUSE_IDS

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    created_at: Mapped[float] = mapped_column(default=time.time)
    dataset_id: Mapped[int] = mapped_column(ForeignKey("datasets.id"))
    index_id: Mapped[int | None] = mapped_column(ForeignKey("indexes.id", ondelete="SET NULL"))
    adapter_id: Mapped[int | None] = mapped_column(ForeignKey("adapters.id", ondelete="SET NULL"))
    train_job_id: Mapped[int | None] = mapped_column(ForeignKey("jobs.id", ondelete="SET NULL"))
    model: Mapped[str]
    metric: Mapped[str]
    """The identity of the metric that decides."""
    metrics: Mapped[list[dict[str, Any]]] = mapped_column(default=list)
    """All metrics, the deciding one first: `name` and `settings`."""
    target: Mapped[float | None]
    delta: Mapped[float]
    seed: Mapped[int]
    spec: Mapped[dict[str, Any]] = mapped_column(default=dict)
    job_id: Mapped[int | None] = mapped_column(ForeignKey("jobs.id", ondelete="SET NULL"))
    report: Mapped[dict[str, Any] | None] = mapped_column(sa.JSON(none_as_null=True))
    rerun_of: Mapped[int | None]
    """The experiment that this one repeats, which may be gone by now."""


class Prediction(Base):
    """A rung's answer to one example, stored as it comes: what is here is never asked again."""

    __tablename__ = "predictions"
    __table_args__ = (UniqueConstraint("experiment_id", "rung", "example_id", "sample"), NEVER_REUSE_IDS)

    id: Mapped[int] = mapped_column(primary_key=True)
    experiment_id: Mapped[int] = mapped_column(ForeignKey("experiments.id", ondelete="CASCADE"))
    rung: Mapped[str]
    example_id: Mapped[int] = mapped_column(ForeignKey("examples.id"), index=True)
    sample: Mapped[int] = mapped_column(default=0)
    """Which of the repeated answers to the same question, from 0."""
    key: Mapped[str] = mapped_column(default="", index=True)
    """Hash of everything that determines the answer; empty for those of before it was noted."""
    reused: Mapped[bool] = mapped_column(default=False)
    """Taken over from an earlier experiment, so neither asked nor paid for again."""
    output: Mapped[str]
    error: Mapped[str | None]
    finish_reason: Mapped[str | None]
    input_tokens: Mapped[int] = mapped_column(default=0)
    output_tokens: Mapped[int] = mapped_column(default=0)
    latency_s: Mapped[float] = mapped_column(default=0.0)
    cost_usd: Mapped[float] = mapped_column(default=0.0)
    retrieved: Mapped[list[dict[str, Any]]] = mapped_column(default=list)
    """Chunks used: `chunk_id`, `source`, `title`, `text`, `score`."""


class Score(Base):
    """One metric's value for one prediction; NULL where the metric does not apply to its rung."""

    __tablename__ = "scores"
    __table_args__ = (UniqueConstraint("prediction_id", "metric"), NEVER_REUSE_IDS)

    id: Mapped[int] = mapped_column(primary_key=True)
    prediction_id: Mapped[int] = mapped_column(ForeignKey("predictions.id", ondelete="CASCADE"))
    metric: Mapped[str]
    """The metric's identity: its name, and a hash of its settings where it has any."""
    value: Mapped[float | None]
    notes: Mapped[dict[str, Any]] = mapped_column(default=dict)
    """Why: what failed, what a judge said, which keys were right."""


class Vote(Base):
    """One person's blind choice between two rungs' answers to one example."""

    __tablename__ = "votes"
    __table_args__ = (
        UniqueConstraint("experiment_id", "example_id", "rung_a", "rung_b", "voter"),
        NEVER_REUSE_IDS,
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    experiment_id: Mapped[int] = mapped_column(ForeignKey("experiments.id", ondelete="CASCADE"))
    example_id: Mapped[int] = mapped_column(ForeignKey("examples.id"), index=True)
    rung_a: Mapped[str]
    """The lower of the two."""
    rung_b: Mapped[str]
    choice: Mapped[str]
    """`a`, `b` or `tie`."""
    swapped: Mapped[bool]
    """Whether the answer of `rung_b` was shown first."""
    voter: Mapped[str]
    created_at: Mapped[float] = mapped_column(default=time.time)


class Judgement(Base):
    """A judge model's choice between two rungs' answers to one example, shown in one order."""

    __tablename__ = "judgements"
    __table_args__ = (
        UniqueConstraint("experiment_id", "example_id", "rung_a", "rung_b", "swapped", "judge"),
        NEVER_REUSE_IDS,
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    experiment_id: Mapped[int] = mapped_column(ForeignKey("experiments.id", ondelete="CASCADE"))
    example_id: Mapped[int] = mapped_column(ForeignKey("examples.id"), index=True)
    rung_a: Mapped[str]
    """The lower of the two."""
    rung_b: Mapped[str]
    swapped: Mapped[bool]
    """Whether the answer of `rung_b` was shown first."""
    judge: Mapped[str]
    """The judging model and a hash of what it was asked."""
    choice: Mapped[str]
    """`a`, `b`, `tie` or `unreadable`."""
    reason: Mapped[str] = mapped_column(default="")
    cost_usd: Mapped[float] = mapped_column(default=0.0)


class ApiKey(Base):
    """Who may use the server: of the key itself only a hash is kept."""

    __tablename__ = "api_keys"
    __table_args__ = (UniqueConstraint("hash"), NEVER_REUSE_IDS)

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    hash: Mapped[str]
    """SHA-256 of the key, in hexadecimal."""
    beginning: Mapped[str]
    """Its first characters, by which a person knows it again."""
    created_at: Mapped[float] = mapped_column(default=time.time)
    expires_at: Mapped[float | None]
    revoked_at: Mapped[float | None]
    last_used_at: Mapped[float | None]
    requests_per_minute: Mapped[int | None]
    """Empty for no limit."""
    tokens_per_minute: Mapped[int | None]
    """Of prompts and answers together; empty for no limit."""


class ApiFile(Base):
    """A file sent to the server, or written by it; its bytes lie in the home folder under its public id."""

    __tablename__ = "api_files"
    __table_args__ = (UniqueConstraint("public_id"), NEVER_REUSE_IDS)

    id: Mapped[int] = mapped_column(primary_key=True)
    public_id: Mapped[str]
    """`file-` and what nobody can guess."""
    name: Mapped[str]
    purpose: Mapped[str]
    bytes: Mapped[int]
    hash: Mapped[str]
    """SHA-256 of its content, in hexadecimal."""
    created_at: Mapped[float] = mapped_column(default=time.time)
    expires_at: Mapped[float | None]


class FineTune(Base):
    """A training job as the server's clients see it; what happens to it is its job's record."""

    __tablename__ = "fine_tunes"
    __table_args__ = (UniqueConstraint("public_id"), NEVER_REUSE_IDS)

    id: Mapped[int] = mapped_column(primary_key=True)
    public_id: Mapped[str]
    """`ftjob-` and what nobody can guess."""
    job_id: Mapped[int | None] = mapped_column(ForeignKey("jobs.id", ondelete="SET NULL"))
    """The job that checks its files, then the one that trains."""
    created_at: Mapped[float] = mapped_column(default=time.time)
    model: Mapped[str]
    """As it was asked for."""
    training_file: Mapped[str]
    """Public id of the file."""
    validation_file: Mapped[str | None]
    result_file: Mapped[str | None]
    suffix: Mapped[str | None]
    seed: Mapped[int]
    request: Mapped[dict[str, Any]] = mapped_column(default=dict)
    """What was asked for besides: hyperparameters, method, metadata."""
    error: Mapped[dict[str, Any] | None] = mapped_column(sa.JSON(none_as_null=True))
    """Why it never became a training: `code`, `message`, `param`."""
    fine_tuned_model: Mapped[str | None]
    """The model's public name, once it has one: it outlives the job's record."""
    trained_tokens: Mapped[int | None]
    finished_at: Mapped[float | None]


class Withheld(Base):
    """A model that the server does not offer, by its public name; all others are offered."""

    __tablename__ = "withheld"
    __table_args__ = NEVER_REUSE_IDS

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
