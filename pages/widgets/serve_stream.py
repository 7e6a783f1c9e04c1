"""One question asked of several models of the running server at once, and their answers as they are written.

Everything happens in a thread of its own, which the page only looks at: the page stays at hand meanwhile, and an
answer goes on when the page is drawn anew.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from core.errors import UserError
from core.models.generation import Sampling
from core.models.prompt import Message, Passage, build_messages

if TYPE_CHECKING:
    from openai import AsyncOpenAI, OpenAIError

log = logging.getLogger("lowest_rung")
Found = list[dict[str, Any]]
# A long prompt is read for minutes on a small machine before the first word comes.
LONGEST_SILENCE_S = 600.0


@dataclass(frozen=True)
class Access:
    """Where the running server is asked, and the key that the page asks it with."""

    url: str
    key: str = field(repr=False)


@dataclass(frozen=True)
class Side:
    """One of those that answer: a model under its public name, as a person calls it, with the passages or without."""

    name: str
    model: str
    colour: str
    looks_up: bool = True

    @property
    def id(self) -> str:
        return f"{self.model} {'with' if self.looks_up else 'without'}"


@dataclass
class Spoken:
    """An answer as far as it is there. Times are seconds since it was asked; `seconds` is None while it is written."""

    text: str = ""
    first_s: float | None = None
    seconds: float | None = None
    input_tokens: int = 0
    output_tokens: int = 0
    finish_reason: str = ""
    """"stop" or "length"; empty when it was stopped or failed."""
    error: UserError | None = None

    @property
    def tokens_per_s(self) -> float | None:
        """How fast it was written once it had begun; None when that cannot be told."""
        if self.first_s is None or self.seconds is None or self.output_tokens < 2:
            return None
        return (self.output_tokens - 1) / max(self.seconds - self.first_s, 1e-3)


class Exchange:
    """A question and the answers to it, by the side that gives them.

    `fresh`: it begins a new conversation, and nothing said before is sent along. `expected` is the data's own answer,
    where the question comes from there. `passages` were looked up with it.
    """

    def __init__(self, asked: list[Message], *, fresh: bool = False, expected: str = "") -> None:
        self.asked = asked
        self.fresh = fresh
        self.expected = expected
        self.passages: Found = []
        self.answers: dict[str, Spoken] = {}
        self.error: UserError | None = None
        self.over = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._work: asyncio.Task[None] | None = None

    def begin(
        self,
        access: Access,
        prompts: Mapping[Side, Sequence[Message]],
        sampling: Sampling,
        look_up: Callable[[], Found],
    ) -> None:
        """Ask every side its prompt, all at the same time; what `look_up` finds goes to those that look things up."""
        self.answers = {side.id: Spoken() for side in prompts}
        threading.Thread(target=self._run, args=(access, prompts, sampling, look_up), daemon=True).start()

    def stop(self) -> None:
        """End what is still being written; the server hears of it at once."""
        self.over = True
        if self._loop is not None and self._work is not None:
            # It may have ended by itself in this very moment.
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._work.cancel)

    def _run(
        self,
        access: Access,
        prompts: Mapping[Side, Sequence[Message]],
        sampling: Sampling,
        look_up: Callable[[], Found],
    ) -> None:
        try:
            if any(side.looks_up for side in prompts):
                self.passages = look_up()
            with suppress(asyncio.CancelledError):
                asyncio.run(self._ask_all(access, prompts, sampling))
        except UserError as error:
            self.error = error
        except Exception:
            log.exception("A question could not be asked")
            self.error = UserError(
                "The question could not be asked.", "The terminal that runs the app has the details."
            )
        finally:
            self.over = True

    async def _ask_all(self, access: Access, prompts: Mapping[Side, Sequence[Message]], sampling: Sampling) -> None:
        from openai import AsyncOpenAI, DefaultAsyncHttpxClient, Timeout

        self._loop, self._work = asyncio.get_running_loop(), asyncio.current_task()
        if self.over:
            return
        passages = [Passage(found["title"], found["text"]) for found in self.passages]
        # The server is on this machine, so no proxy that the environment names has a part in it.
        async with (
            DefaultAsyncHttpxClient(trust_env=False) as http,
            AsyncOpenAI(
                base_url=access.url,
                api_key=access.key,
                max_retries=0,
                timeout=Timeout(LONGEST_SILENCE_S, connect=5.0),
                http_client=http,
            ) as client,
        ):
            await asyncio.gather(
                *(
                    _speak(
                        client,
                        side.model,
                        build_messages(prompt, (), passages if side.looks_up else ()),
                        sampling,
                        self.answers[side.id],
                    )
                    for side, prompt in prompts.items()
                )
            )


async def _speak(
    client: AsyncOpenAI, model: str, messages: Sequence[Message], sampling: Sampling, spoken: Spoken
) -> None:
    """Write the answer of one model into `spoken` as it comes; what goes wrong is its `error`."""
    from openai import OpenAIError

    asked_at = time.monotonic()
    turns: Any = list(messages)
    try:
        stream = await client.chat.completions.create(
            model=model,
            messages=turns,
            max_completion_tokens=sampling.max_new_tokens,
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            stream=True,
            stream_options={"include_usage": True},
        )
        async with stream:
            async for chunk in stream:
                for choice in chunk.choices:
                    if choice.delta.content:
                        spoken.first_s = spoken.first_s or time.monotonic() - asked_at
                        spoken.text += choice.delta.content
                    spoken.finish_reason = choice.finish_reason or spoken.finish_reason
                if chunk.usage is not None:
                    spoken.input_tokens = chunk.usage.prompt_tokens
                    spoken.output_tokens = chunk.usage.completion_tokens
    except OpenAIError as error:
        spoken.error = in_words(error)
    finally:
        spoken.seconds = time.monotonic() - asked_at


def in_words(error: OpenAIError) -> UserError:
    """What a person can do about a refusal or a broken connection."""
    from openai import APIConnectionError, APIError, APIStatusError

    if isinstance(error, APIConnectionError):
        return UserError("The server cannot be reached.", "If it has ended, start it again at the top of Serve.")
    if isinstance(error, APIStatusError):
        said = error.body.get("message") if isinstance(error.body, dict) else None
        remedy = {401: "Start the server again.", 404: "Choose another model.", 429: "Ask again in a moment."}
        if error.status_code >= 500:
            remedy[error.status_code] = "Ask again in a moment. On Jobs, the server's job has its log."
        return UserError(
            str(said or f"The server answered with status {error.status_code}."),
            remedy.get(error.status_code, "Change the question or the settings, and ask again."),
        )
    return UserError(error.message if isinstance(error, APIError) else str(error), "Ask again.")


def prompts_of(
    exchanges: Sequence[Exchange], sides: Sequence[Side], opening: Sequence[Message]
) -> dict[Side, list[Message]]:
    """What each side is asked by the last exchange: the conversation from its latest beginning, with its own answers.

    An exchange to which any side gave no answer is left out for all, so that all are asked the same.
    """
    start = max((i for i, exchange in enumerate(exchanges) if exchange.fresh), default=0)
    said: dict[Side, list[Message]] = {side: list(opening) for side in sides}
    for exchange in exchanges[start:-1]:
        answers = {side: exchange.answers.get(side.id, Spoken()) for side in sides}
        if all(spoken.text and spoken.error is None for spoken in answers.values()):
            for side, spoken in answers.items():
                said[side] += [*exchange.asked, {"role": "assistant", "content": spoken.text}]
    return {side: [*turns, *exchanges[-1].asked] for side, turns in said.items()}
