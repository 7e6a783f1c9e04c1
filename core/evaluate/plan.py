"""What an experiment asks, of whom, and how its answers are scored: all of it stored, so that it can be run again."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from core.evaluate.metrics import metric_named
from core.evaluate.metrics.registry import identity_of
from core.evaluate.rungs import LADDER, RecordId, Rung, RungChoice, in_order
from core.store.tables import Experiment


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class MetricChoice(_Strict):
    """A metric with its settings, as an experiment holds it."""

    name: str
    settings: dict[str, Any] = Field(default_factory=dict)

    @property
    def identity(self) -> str:
        """The metric's name, with a hash of the settings where there are any. Raises UserError for unknown names."""
        return identity_of(metric_named(self.name), self.settings)

    @property
    def title(self) -> str:
        return metric_named(self.name).title


class RetrieverChoice(_Strict):
    """How passages are searched; empty fields are as the index says."""

    mode: Literal["dense", "sparse", "hybrid"] | None = None
    dense_weight: float | None = Field(None, ge=0, le=1)
    reranker: str | None = None
    min_score: float | None = None


class PromptTemplate(_Strict):
    """What stands around a question. `{question}`, `{passages}` mark where each goes; no other field is filled in."""

    system: str | None = Field(None, description="Instructions; empty for those of the example itself.")
    question: str = Field("{question}", description="What the last turn says.")
    passages: str | None = Field(
        None, description="The last turn where passages were found: {passages} and {question}; empty for ours."
    )

    @field_validator("question")
    @classmethod
    def _asks(cls, text: str) -> str:
        if "{question}" not in text:
            raise ValueError("must hold {question}")
        return text

    @field_validator("passages")
    @classmethod
    def _quotes(cls, text: str | None) -> str | None:
        if text is not None and not ("{question}" in text and "{passages}" in text):
            raise ValueError("must hold {passages} and {question}")
        return text


class JudgePlan(_Strict):
    """A judge model that compares answers pair by pair, in both orders: secondary evidence."""

    model: str
    rubric: str = Field("", description="What makes an answer the better one; empty for ours.")
    pairs: Literal["best", "all"] = Field("best", description="The best rung against each other one, or all pairs.")
    examples: int = Field(50, ge=1, description="So many test examples are judged, chosen by the seed.")


class Plan(_Strict):
    """How the rungs are asked; the same for all of them."""

    rungs: list[RungChoice] = Field(
        default_factory=lambda: [RungChoice(**vars(rung)) for rung in LADDER],
        description="What is compared: worked examples (prompt), retrieval (rag), an adapter (lora), alone or joined "
        "by +; then #ADAPTER and @MODEL where a rung has its own.",
    )
    shots: int = Field(8, ge=1, le=64, description="Worked examples in the prompt of a rung with shots.")
    shot_choice: Literal["random", "similar", "chosen"] = Field(
        "random",
        description="Which training examples are shown: at random but varied, the ones most like each question, or "
        "chosen by hand.",
    )
    shot_ids: list[RecordId] = Field(default_factory=list, description="The training examples chosen by hand.")
    passages: int = Field(2, ge=1, le=50, description="Passages in the prompt of a rung with retrieval.")
    retrieval: RetrieverChoice = Field(default_factory=RetrieverChoice, description="How passages are searched.")
    rag_adapter_id: RecordId | None = Field(
        None, description="Adapter of rungs with retrieval, trained with passages; empty: the experiment's one."
    )
    template: PromptTemplate = Field(default_factory=PromptTemplate, description="What stands around a question.")
    max_new_tokens: int | None = Field(None, ge=1, le=32_768, description="Longest answer; empty: from the data.")
    temperature: float = Field(0.0, ge=0, le=2, description="0 takes the likeliest word each time.")
    top_p: float = Field(1.0, gt=0, le=1, description="Words are drawn from the likeliest that make up this share.")
    samples: int = Field(1, ge=1, le=20, description="Answers to each question; their scores are averaged.")
    fresh: bool = Field(False, description="Ask even what was answered in an earlier experiment.")
    seed: int | None = Field(None, ge=0, lt=2**63, description="Of shots and sampling; empty: the dataset's.")
    spending_cap_usd: float | None = Field(None, gt=0, description="Paid models are asked no further than this.")
    minimums: dict[str, float] = Field(
        default_factory=dict, description="Score that each rung named here must reach, from 0 to 1."
    )
    judge: JudgePlan | None = Field(None, description="A model that compares answers pair by pair, in both orders.")
    answers: dict[str, bool | float | str] = Field(
        default_factory=dict,
        description="The wizard's answers that led here, whose advice the verdict is held against.",
    )

    @field_validator("rungs")
    @classmethod
    def _distinct(cls, rungs: list[RungChoice]) -> list[RungChoice]:
        names = [choice.rung.name for choice in rungs]
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise ValueError(f"the rung {twice} is there twice")
        return rungs

    @model_validator(mode="after")
    def _samples_differ(self) -> Plan:
        if self.samples > 1 and self.temperature == 0:
            raise ValueError("several samples need a temperature above 0: at 0 all would be the same")
        return self

    @property
    def ladder(self) -> list[Rung]:
        """The rungs, lowest first."""
        return in_order(choice.rung for choice in self.rungs)


def metrics_of(experiment: Experiment) -> list[MetricChoice]:
    """An experiment's metrics, the deciding one first; older experiments named that one alone."""
    if not experiment.metrics:
        return [MetricChoice(name=experiment.metric)]
    return [MetricChoice.model_validate(stored) for stored in experiment.metrics]
