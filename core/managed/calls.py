"""One call to a provider: what it answers, or in plain words why not, and whether it is worth another try.

The SDK's own retries are off. A call that only reads is tried again here for as long as patience lasts; one that
uploads or creates is left to its caller, who looks first whether the work was done in spite of the error.
"""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from core.errors import UserError
from core.managed.calendar import TRAINING_NOT_AVAILABLE, training_not_available
from core.managed.providers import CALL_TIMEOUT_S, client_of, kind_of
from core.models import services
from core.models.services import Service

T = TypeVar("T")

# A provider that has been silent for so long is given up on; the job can be resumed once it is back.
PATIENCE_S = 3600.0
# Pauses before another try: doubled from the first to the longest, unless the provider says when to come back.
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 60.0
# How often it is asked, while waiting, whether to stop.
LOOK_S = 0.25
# What a provider says about a refusal is kept up to here: some send a whole page.
SAID_CHARACTERS = 500
# With these codes a 429 is no matter of patience.
OUT_OF_MONEY = ("insufficient_quota", "billing_hard_limit_reached", "billing_not_active")
MOST_PAGES = 1_000


class Refused(UserError):
    """The provider said no, and will say so again."""

    def __init__(self, what: str, remedy: str, status: int = 0, code: str = "") -> None:
        super().__init__(what, remedy)
        self.status = status
        self.code = code


class Passing(Exception):
    """The call failed in a way that may pass. `done`: whether the provider may have done the work all the same.

    `wait_s`: seconds after which the provider wants to be asked again, where it says so.
    """

    def __init__(self, what: str, *, done: bool, wait_s: float | None = None) -> None:
        super().__init__(what)
        self.what = what
        self.done = done
        self.wait_s = wait_s


class Provider:
    """A provider and the patience with it. `stopped` raises when the work is to end; `say` is told what is waited for.

    Raises UserError at once when there is no such service.
    """

    def __init__(
        self, service: Service, stopped: Callable[[], None] = lambda: None, say: Callable[[str], None] = lambda _: None
    ) -> None:
        self.service = service
        self.client = client_of(service)
        self._stopped = stopped
        self._say = say

    def once(self, work: Callable[[Any], T], sound: Callable[[T], bool] = lambda _: True) -> T:
        """What `work(client)` gives, from one try. `sound` says whether a reply can be what it should be.

        Raises Refused or Passing.
        """
        from openai import APIConnectionError, APIStatusError, APITimeoutError, OpenAIError

        try:
            reply = work(self.client)
            if sound(reply):
                return reply
        except APITimeoutError as error:
            text = f"{self.name} did not answer within {min(self.service.timeout_s, CALL_TIMEOUT_S):.0f} s."
            raise Passing(text, done=True) from error
        except APIConnectionError as error:
            reached = type(error.__cause__).__name__ not in ("ConnectError", "ConnectTimeout")
            text = f"The connection to {self.name} was lost." if reached else f"{self.name} could not be reached."
            raise Passing(text, done=reached) from error
        except APIStatusError as refusal:
            # Not as its cause: providers repeat a wrong key, and a traceback would keep it.
            raise self._refusal(refusal) from None
        except (OpenAIError, ValueError, TypeError, AttributeError, KeyError) as error:
            raise Passing(f"The reply of {self.name} could not be read.", done=True) from error
        raise Passing(f"The reply of {self.name} could not be read.", done=True)

    def ask(
        self, work: Callable[[Any], T], sound: Callable[[T], bool] = lambda _: True, *, patience_s: float | None = None
    ) -> T:
        """As `once`, tried again while patience lasts: for calls that may be made twice. Raises Refused, UserError."""
        tries = self.tries(patience_s)
        while True:
            try:
                return self.once(work, sound)
            except Passing as trouble:
                tries(trouble)

    def all(self, fetch: Callable[[Any, str | None], Any], *, patience_s: float | None = None) -> Iterator[Any]:
        """Every entry of a list that comes in pages; `fetch(client, after)` gets the page behind an id.

        Some providers know no pages and send the same one for ever: an entry that was there before ends the list.
        """
        seen = set[str]()
        after: str | None = None
        for _ in range(MOST_PAGES):

            def behind_it(client: Any, after: str | None = after) -> Any:
                return fetch(client, after)

            page = self.ask(behind_it, _is_page, patience_s=patience_s)
            entries = [entry for entry in page.data if isinstance(getattr(entry, "id", None), str)]
            fresh = [entry for entry in entries if entry.id not in seen]
            yield from fresh
            if not fresh or getattr(page, "has_more", None) is False:
                return
            seen.update(entry.id for entry in fresh)
            after = entries[-1].id

    def tries(self, patience_s: float | None = None) -> Callable[[Passing], None]:
        """A function that waits before the next try, longer each time, and raises UserError when patience is out."""
        began, pause = time.monotonic(), FIRST_PAUSE_S
        patience = PATIENCE_S if patience_s is None else patience_s

        def wait(trouble: Passing) -> None:
            nonlocal pause
            seconds = pause if trouble.wait_s is None else trouble.wait_s
            pause = min(2 * pause, LONGEST_PAUSE_S)
            if time.monotonic() - began + seconds > patience:
                when = f" It wants to be asked again in {span(seconds)}." if trouble.wait_s else ""
                raise UserError(
                    f"{trouble.what}{when} It was tried for {span(time.monotonic() - began)}.",
                    "Nothing is lost, and nothing will be done or paid for twice: resume this job when it is back.",
                )
            self._say(f"{trouble.what} Trying again in {seconds:.0f} s")
            self.rest(seconds)

        return wait

    def rest(self, seconds: float) -> None:
        """Wait, and leave as soon as the work is to end."""
        end = time.monotonic() + seconds
        while True:
            self._stopped()
            left = end - time.monotonic()
            if left <= 0:
                return
            time.sleep(min(left, LOOK_S))

    @property
    def name(self) -> str:
        return self.service.name

    def _refusal(self, refusal: Any) -> Exception:
        """In our words, by status and code; the provider's own words go along."""
        status, code, said = refusal.status_code, str(refusal.code or ""), self._said(refusal)
        if status == 429 and code not in OUT_OF_MONEY:
            return Passing(f"{self.name} asks for patience (429).", done=False, wait_s=_retry_after(refusal.response))
        if status in (408, 409) or status >= 500:
            return Passing(f"{self.name} had an error ({status}).", done=True, wait_s=_retry_after(refusal.response))
        if code == TRAINING_NOT_AVAILABLE:
            return Refused(*_not_available(self.service, said), status, code)
        what, remedy = {
            401: (f"{self.name} refused the key (401).", "Enter a valid key for this service, then resume this job."),
            403: (f"{self.name} does not allow this (403).", "Check what the key and your organisation may do there."),
            404: (f"{self.name} does not know what was asked for (404).", "Check the model's name and the address."),
            413: (f"{self.name} finds the file too large (413).", "Tune on a part of the data."),
            429: (f"{self.name} says that your money or quota is used up.", "Settle that there, then resume this job."),
        }.get(status, (f"{self.name} refused the request ({status}).", "Change what it complains about."))
        return Refused(f"{what} It says: {said}" if said else what, remedy, status, code)

    def _said(self, refusal: Any) -> str:
        """What the provider says, without our key, which some repeat."""
        body = refusal.body
        text = str(body.get("message") or "") if isinstance(body, dict) else ""
        param = body.get("param") if isinstance(body, dict) else None
        text = text or str(refusal.message)
        if isinstance(param, str) and param and param not in text:
            text = f"{text} ({param})"
        key = services.key_of(self.service)
        text = " ".join((text.replace(key, "[key]") if key else text).split())
        return text if len(text) <= SAID_CHARACTERS else f"{text[:SAID_CHARACTERS]} ..."


def span(seconds: float) -> str:
    """ "40 s" or "12 minutes"."""
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} minutes"


def is_thing(*names: str) -> Callable[[Any], bool]:
    """Whether a reply has an id and these texts: what a proxy or a broken provider sends has not."""
    return lambda reply: all(isinstance(getattr(reply, name, None), str) for name in ("id", *names))


def behind(after: str | None) -> dict[str, Any]:
    """What asks for the page of a list behind an id."""
    return {"limit": 100} | ({"after": after} if after else {})


def no_list(refused: Refused) -> bool:
    """Whether the provider keeps no such list at all."""
    return refused.status in (404, 405, 501)


def _is_page(page: Any) -> bool:
    return isinstance(getattr(page, "data", None), list)


def _not_available(service: Service, said: str) -> tuple[str, str]:
    if kind_of(service) == "openai":
        return training_not_available(dt.date.today())
    return (
        f"{service.name} offers you no training (training_not_available). It says: {said}",
        "Choose another provider.",
    )


def _retry_after(response: Any) -> float | None:
    """Seconds, from a header that holds seconds or a date."""
    from email.utils import parsedate_to_datetime

    text = response.headers.get("retry-after")
    if text is None:
        return None
    try:
        return max(0.0, float(text))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except (TypeError, ValueError):
        return None
