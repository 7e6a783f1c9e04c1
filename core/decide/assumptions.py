"""What costs are told from: everything but the price table, each with a default that says why."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from core.decide.engine import examples_needed
from core.decide.prices import prices
from core.errors import UserError
from core.models.catalogue import CatalogueEntry, catalogue
from core.models.estimate import Shape, training_memory

# The longest example is about twice the mean; batches are gathered from single examples, so one must fit.
LONGEST = 2

ASKED, TRAINING, PRICES, SERVING = "Requests", "Training", "Models and prices", "Serving"


def _knob(group: str, default: Any, title: str, unit: str, why: str, least: float = 0, most: float = 1e7) -> Any:
    """A field as the page shows it; `why` says what it is and defends the default."""
    number = isinstance(default, (int, float)) and not isinstance(default, bool)
    bounds: dict[str, Any] = {"ge": least, "le": most} if number else {}
    return Field(default, title=title, description=why, json_schema_extra={"unit": unit, "group": group}, **bounds)


class Assumptions(BaseModel):
    """Everything a cost depends on besides the price table. A name that is not listed raises UserError."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    requests_per_day: float = _knob(ASKED, 1000, "Requests", "a day", "A busy tool inside a company.", 1, 1e9)
    peak_factor: float = _knob(ASKED, 3, "Peak over mean", "times", "GPUs must bear the busiest minutes.", 1, 100)
    question_tokens: float = _knob(ASKED, 100, "Question", "tokens", "What is new in each request: a few sentences.")
    instruction_tokens: float = _knob(ASKED, 1500, "Instructions", "tokens", "With worked examples: four pages.")
    tuned_instruction_tokens: float = _knob(
        ASKED, 100, "Instructions to a tuned model", "tokens", "A few sentences: the form is in the weights."
    )
    passage_tokens: float = _knob(ASKED, 1000, "Passages", "tokens", "Four retrieved passages of half a page.")
    corpus_tokens: float = _knob(ASKED, 50_000, "All documents", "tokens", "About 120 printed pages.", 0, 1e12)
    output_tokens: float = _knob(ASKED, 200, "Answer", "tokens", "A paragraph, or a JSON object.", 1)
    cached_share: float = _knob(
        ASKED, 0.8, "Cached share", "", "Of what all prompts begin with; a cache forgets after idle minutes.", 0, 1
    )
    months: float = _knob(ASKED, 12, "Horizon", "months", "Set-up is spread over it; models last about a year.", 1, 120)

    examples: float = _knob(TRAINING, 500, "Examples", "", "Several hundred teach most forms.", 1, 1e9)
    examples_at_hand: float = _knob(
        TRAINING, 0, "Of these at hand", "", "Only those that are missing cost work.", 0, 1e9
    )
    tokens_per_example: float = _knob(TRAINING, 400, "Example", "tokens", "Prompt and answer, half a page each.", 1)
    epochs: float = _knob(TRAINING, 3, "Epochs", "", "The usual start of services.", 0.1, 100)
    trainings_tried: float = _knob(TRAINING, 3, "Trainings", "", "The first is seldom the one that is kept.", 1, 1000)
    minutes_per_example: float = _knob(TRAINING, 3, "Work per example", "minutes", "To write or correct an answer.")
    hours_prompt: float = _knob(TRAINING, 8, "Work on the prompt", "hours", "One day; every rung begins with it.")
    hours_retrieval: float = _knob(TRAINING, 24, "Work on retrieval", "hours", "Three days: files, chunks, checks.")
    hours_training: float = _knob(TRAINING, 16, "Work on own training", "hours", "Two days: GPU, runs, serving.")
    hours_service: float = _knob(TRAINING, 8, "Work with a service", "hours", "One day: contract, upload, runs.")
    train_gpu: str = _knob(TRAINING, "rtx-4090", "GPU to train on", "", "The fastest card below a dollar an hour.")

    data_may_leave: bool = _knob(
        PRICES, True, "Data may leave", "", "If not, the open model answers on every rung, and services are out."
    )
    api_model: str = _knob(PRICES, "gpt-6-luna", "Hosted model", "", "Small and current: what to try first.")
    managed_model: str = _knob(
        PRICES, "qwen3-8b-lora", "Fine-tuning service", "", "The first that takes new customers and sells by the token."
    )
    base_model: str = _knob(
        PRICES, "meta-llama/Llama-3.1-8B-Instruct", "Open model", "", "Learns narrow tasks well and fits into 24 GB."
    )
    embedding_model: str = _knob(PRICES, "text-embedding-3-small", "Embedding model", "", "The cheapest hosted one.")
    dedicated_usd_per_hour: float = _knob(
        PRICES, 8.0, "Service's GPU", "USD an hour", "Where use is not sold by the token: Fireworks AI, 2026-10-07."
    )
    api_first_token_s: float = _knob(PRICES, 0.5, "Hosted: first token", "seconds", "Network and queue.", 0, 1000)
    api_read_tokens_per_s: float = _knob(
        PRICES, 20_000, "Hosted: reading", "tokens a second", "50,000 uncached tokens add some seconds.", 1, 1e9
    )
    api_tokens_per_s: float = _knob(PRICES, 80, "Hosted: writing", "tokens a second", "Small ones write 50 to 150.", 1)

    serve_gpu: str = _knob(SERVING, "rtx-4090", "GPU to serve on", "", "Writes thrice as fast as an L4 of its size.")
    gpu_gb: float = _knob(
        SERVING, 0, "GPU at hand", "GB", "One of your own costs nothing; further ones, or all at 0, are rented.", 0, 1e5
    )
    gpu_hours_per_day: float = _knob(SERVING, 24, "GPU is on", "hours a day", "Always on; offices need 10.", 0.1, 24)
    concurrent: int = _knob(
        SERVING, 16, "Answers at once per GPU", "", "Beyond, waiting grows faster than throughput.", 1, 1024
    )
    search_s: float = _knob(SERVING, 0.1, "Search", "seconds", "To embed a question and find passages.", 0, 1000)

    @property
    def gpu_owned(self) -> bool:
        return self.gpu_gb > 0

    @property
    def base(self) -> CatalogueEntry:
        return open_models()[self.base_model]

    @property
    def shape(self) -> Shape:
        """The open model's."""
        assert self.base.shape is not None
        return self.base.shape

    @model_validator(mode="after")
    def _names_are_known(self) -> Assumptions:
        known = prices()
        known.model(self.api_model)
        known.tuned_model(self.managed_model)
        known.embedder(self.embedding_model)
        known.gpu(self.train_gpu)
        known.gpu(self.serve_gpu)
        if self.base_model not in open_models():
            listed = ", ".join(open_models())
            raise UserError(f'No open model "{self.base_model[:80]}" is in the catalogue.', f"Choose one of {listed}.")
        return self


def assumptions_from(answers: Mapping[str, Any]) -> Assumptions:
    """The wizard's answers as assumptions; what is open or "unsure" keeps its default.

    A GPU at hand counts as the smallest listed one of its size (the first of equals, which is the slower), or as the
    largest; what fits is told from its own memory.
    """
    numbers = {k: float(v) for k, v in answers.items() if isinstance(v, (int, float)) and not isinstance(v, bool)}
    given: dict[str, Any] = {}
    if "requests_per_day" in numbers:
        given["requests_per_day"] = max(1.0, numbers["requests_per_day"])
    if "prompt_tokens" in numbers:
        given["instruction_tokens"] = numbers["prompt_tokens"]
    if "corpus_tokens" in numbers:
        given["corpus_tokens"] = numbers["corpus_tokens"]
    if "examples" in numbers or "behavior_kind" in answers:
        at_hand = numbers.get("examples", 0.0)
        given |= {"examples": max(at_hand, examples_needed(answers)), "examples_at_hand": at_hand}
    if answers.get("data_may_leave") is False:
        given["data_may_leave"] = False
    if answers.get("managed_access") == "openai":
        given["managed_model"] = next(tuned.id for tuned in prices().tuned if tuned.provider == "OpenAI")
    if numbers.get("gpu_gb", 0) > 0:
        gpus = sorted(prices().gpus, key=lambda gpu: gpu.memory_gb)
        like = next((gpu for gpu in gpus if gpu.memory_gb >= numbers["gpu_gb"]), gpus[-1])
        given |= {"gpu_gb": numbers["gpu_gb"], "train_gpu": like.id, "serve_gpu": like.id}
        given["base_model"] = _largest_for(numbers["gpu_gb"])
    return Assumptions(**given)


def _largest_for(gpu_gb: float) -> str:
    """The default open model, or the largest smaller one that QLoRA with passages can train in this memory."""
    defaults = Assumptions()
    longest = math.ceil(LONGEST * (defaults.tokens_per_example + defaults.passage_tokens))
    smaller = [entry for entry in open_models().values() if entry.parameters <= defaults.base.parameters]
    ranked = sorted(smaller, key=lambda entry: (entry.id != defaults.base_model, -entry.parameters))
    for entry in ranked:
        assert entry.shape is not None
        if training_memory(entry.shape, "qlora", sequence=longest, batch=1).total <= gpu_gb:
            return entry.id
    return ranked[-1].id


def open_models() -> dict[str, CatalogueEntry]:
    """The models of the catalogue that can be trained and served, by id."""
    return {entry.id: entry for entry in catalogue() if entry.shape is not None}
