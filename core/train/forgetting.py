"""What a training cost: the same general questions to the base model and to what was trained from it.

Two measures, since each misses something. Right or wrong is what people see, but forty questions show only large
losses. How likely the model finds a right answer moves long before the answers do.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict

from core.errors import UserError
from core.models.generation import Request, Sampling
from core.models.loading import LoadedModel, compute_device, load_model, model_source
from core.models.local import LocalGenerator, render
from core.settings import REPOSITORY, get_settings

QUESTIONS_FILE = REPOSITORY / "assets" / "general.yaml"
# Enough for a sentence; who rambles on says the answer early or not at all.
MAX_NEW_TOKENS = 32
ALPHA = 0.05
# Between the two, more questions would be needed to call a loss of right answers chance.
DOUBTFUL = 0.2
# Nats per token: of right answers whose every token became 10% less likely most are still said, at 40% hardly any.
SLIGHT, GRAVE = 0.1, 0.5

OnProgress = Callable[[float, float, str], None]
"""Told (done, total, what is going on), in answers. It may raise, to stop."""


class General(BaseModel):
    """One general question; see assets/general.yaml."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    topic: str
    ask: str
    accept: tuple[str, ...]
    reference: str

    def right(self, answer: str) -> bool:
        """Whether the answer contains one of the accepted ones as whole words, in any case."""
        return any(re.search(rf"(?<!\w){re.escape(word)}(?!\w)", answer, re.IGNORECASE) for word in self.accept)


@dataclass(frozen=True)
class Tested:
    """How one model did on each question: its answer, and the nats per token of the reference."""

    answers: list[str]
    nll: list[float]


@dataclass(frozen=True)
class Forgetting:
    """`before` and `after` hold `right`, `of` and `nll` (mean nats per token); `changed` names the questions, from 0,
    that one model got right and the other wrong; `questions` has the answers; `text` is the verdict in words."""

    before: dict[str, Any]
    after: dict[str, Any]
    changed: list[int]
    text: str
    questions: list[dict[str, Any]]

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


@cache
def general_questions() -> tuple[General, ...]:
    return tuple(General.model_validate(entry) for entry in yaml.safe_load(QUESTIONS_FILE.read_text(encoding="utf-8")))


def check(
    model_id: str, adapter_folder: Path, method: str, progress: OnProgress = lambda done, total, message: None
) -> Forgetting:
    """Ask the base model (once for all its adapters) and what was trained from it. Raises UserError when either cannot
    be opened."""
    questions = general_questions()
    half, total = len(questions), 2 * len(questions)
    loaded: LoadedModel | None = None
    before = _kept(model_id)
    if before is None:
        progress(0, total, "Loading the base model")
        loaded = load_model(model_id)
        before = examine(loaded, loaded.model, lambda done: progress(done, total, "Asking the base model"))
        _keep(model_id, before)
    progress(half, total, "Loading what was trained")
    if method == "full":
        loaded = None  # frees the base model before the other one is loaded
    loaded, network = _open(model_id, loaded, adapter_folder, method)
    after = examine(loaded, network, lambda done: progress(half + done, total, "Asking what was trained"))
    return judge(questions, before, after)


def examine(loaded: LoadedModel, network: Any, progress: Callable[[int], None] = lambda done: None) -> Tested:
    """Greedy answers of `network` (the model of `loaded`, maybe with an adapter on it) to all general questions, and
    how likely it finds each reference."""
    questions = general_questions()
    chats = [[{"role": "user", "content": question.ask}] for question in questions]
    requests = [Request(chat) for chat in chats]
    answers, done = [""] * len(questions), 0
    progress(done)
    for batch in LocalGenerator(replace(loaded, model=network)).answer(requests, Sampling(MAX_NEW_TOKENS)):
        for i, completion in batch:
            answers[i] = completion.error or completion.text
        done += len(batch)
        progress(done)
    prompts = [render(loaded.tokenizer, chat) for chat in chats]
    return Tested(
        answers,
        [_nll(loaded, network, prompt, q.reference) for prompt, q in zip(prompts, questions, strict=True)],
    )


def _nll(loaded: LoadedModel, network: Any, prompt: str, answer: str) -> float:
    """Mean negative log-likelihood of the answer after the prompt, in nats per token."""
    import torch

    ids, wanted = (loaded.tokenizer(text, add_special_tokens=False)["input_ids"] for text in (prompt, answer))
    with torch.inference_mode():
        rows = torch.tensor([ids + wanted], device=loaded.device)
        # The logits at a position speak of the next token.
        logits = network(input_ids=rows, use_cache=False).logits[0, len(ids) - 1 : -1].float()
        return float(torch.nn.functional.cross_entropy(logits, rows[0, len(ids) :]))


def _open(model_id: str, loaded: LoadedModel | None, folder: Path, method: str) -> tuple[LoadedModel, Any]:
    """What was trained, ready to answer: a model of its own, or an adapter on the base model."""
    from peft import PeftModel

    needed = "config.json" if method == "full" else "adapter_model.safetensors"
    if not (folder / needed).is_file():
        raise UserError(f"What was trained has lost its file {needed}.", "Train it again.")
    if method == "full":
        loaded = load_model(str(folder))
        return loaded, loaded.model
    loaded = loaded or load_model(model_id)
    return loaded, PeftModel.from_pretrained(loaded.model, str(folder)).eval()


def judge(questions: Sequence[General], before: Tested, after: Tested) -> Forgetting:
    """Both side by side, with the verdict."""
    right = [[q.right(a) for q, a in zip(questions, one.answers, strict=True)] for one in (before, after)]
    changed = [i for i, (was, still) in enumerate(zip(*right, strict=True)) if was != still]
    summaries = [
        {"right": sum(marks), "of": len(questions), "nll": sum(one.nll) / len(one.nll)}
        for one, marks in zip((before, after), right, strict=True)
    ]
    return Forgetting(
        before=summaries[0],
        after=summaries[1],
        changed=changed,
        text=verdict(right[0], right[1], [b - a for a, b in zip(before.nll, after.nll, strict=True)]),
        questions=[
            {
                "prompt": question.ask,
                "before": before.answers[i],
                "after": after.answers[i],
                "right_before": right[0][i],
                "right_after": right[1][i],
            }
            for i, question in enumerate(questions)
        ],
    )


def verdict(right_before: Sequence[bool], right_after: Sequence[bool], rise: Sequence[float]) -> str:
    """What the paired tests allow to say: exact McNemar on right and wrong, Student's interval (95%) on the rise of the
    nats per token."""
    from scipy.stats import binomtest, ttest_1samp

    of, was, still = len(right_before), sum(right_before), sum(right_after)
    lost = sum(b and not a for b, a in zip(right_before, right_after, strict=True))
    gained = sum(a and not b for b, a in zip(right_before, right_after, strict=True))
    p = binomtest(lost, lost + gained).pvalue if lost + gained else 1.0
    mean, low, high = sum(rise) / len(rise), rise[0], rise[0]
    if len(set(rise)) > 1:
        low, high = map(float, ttest_1samp(rise, 0).confidence_interval(1 - ALPHA))
    counts = f"It answers {still} of {of} general questions right, the base model {was}"
    chance = f"{lost} lost, {gained} gained; p = {p:.2g}, exact McNemar test"
    share, moved = (1 - math.exp(-mean), "less") if mean > 0 else (math.exp(-mean) - 1, "more")
    likely = (
        f"Each token of a right answer has become {100 * share:.0f}% {moved} likely on average "
        f"({mean:+.2f} nats, plausibly {low:+.2f} to {high:+.2f})"
    )
    if p < ALPHA and lost > gained:
        return f"Clearly forgets. {counts}: more than chance explains ({chance}). {likely}."
    if low > GRAVE:
        return f"Clearly forgets. {likely}. {counts} ({chance})."
    if low > SLIGHT:
        return f"Forgets a little. {likely}. The answers do not show it beyond chance yet: {_lower(counts)} ({chance})."
    if high < SLIGHT and (p > DOUBTFUL or gained >= lost):
        return f"No forgetting seen. {counts} ({chance}). {likely}, which is nothing that matters."
    return f"Cannot tell with {of} questions. {counts}, which may be chance ({chance}). {likely}."


def _lower(text: str) -> str:
    return text[0].lower() + text[1:]


def _cache_file(model_id: str) -> Path:
    """One file for each model, device and set of questions; a folder's weights count by their sizes and times."""
    weights = (
        sorted(Path(model_source(model_id)).glob("*.safetensors")) if Path(model_source(model_id)).is_dir() else []
    )
    stamps = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in weights]
    questions = [question.model_dump() for question in general_questions()]
    key = json.dumps([model_id, stamps, compute_device().partition(":")[0], MAX_NEW_TOKENS, questions])
    return get_settings().home / "forgetting" / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.json"


def _kept(model_id: str) -> Tested | None:
    try:
        return Tested(**json.loads(_cache_file(model_id).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def _keep(model_id: str, tested: Tested) -> None:
    path = _cache_file(model_id)
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(asdict(tested)), encoding="utf-8")
