"""Function calls in what a model writes: the <tool_call> blocks that core.models.prompt asks for, and trains on."""

from __future__ import annotations

import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field

from core.api import strict
from core.api.chat_types import Tool

OPENING, CLOSING = "<tool_call>", "</tool_call>"


@dataclass(frozen=True)
class ToolCall:
    """A function to call; `arguments` is the JSON text of an object."""

    name: str
    arguments: str
    id: str = field(default_factory=lambda: f"call_{secrets.token_hex(12)}")


class Reader:
    """Takes an answer apart as it comes: into words, handed on at once, and calls, handed on when they are whole.

    What is no call of an offered function (broken JSON, another name, arguments that a strict function does not
    allow) stays text, so that nothing the model said is lost.
    """

    def __init__(self, tools: Sequence[Tool]) -> None:
        self._functions = {tool.function.name: tool.function for tool in tools}
        self._held = ""
        self.calls = 0

    def feed(self, text: str) -> list[str | ToolCall]:
        """What is certain after `text`, in order."""
        self._held += text
        found: list[str | ToolCall] = []
        while True:
            start = self._held.find(OPENING) if self._functions else -1
            if start < 0:
                found.append(self._let_go(len(self._held) - self._begun()))
                break
            found.append(self._let_go(start))
            end = self._held.find(CLOSING)
            if end < 0:
                break
            found.append(self._call(self._let_go(end + len(CLOSING))))
        return self._kept(found)

    def rest(self) -> list[str | ToolCall]:
        """What is left when the answer has ended; models that stop at the closing tag do not write it."""
        held = self._let_go(len(self._held))
        return self._kept([self._call(held) if held.startswith(OPENING) else held])

    def _let_go(self, length: int) -> str:
        text, self._held = self._held[:length], self._held[length:]
        return text

    def _begun(self) -> int:
        """How many characters at the end may be the beginning of a call."""
        if not self._functions:
            return 0
        return next((n for n in range(len(OPENING) - 1, 0, -1) if self._held.endswith(OPENING[:n])), 0)

    def _call(self, block: str) -> str | ToolCall:
        try:
            value = json.loads(block.removeprefix(OPENING).removesuffix(CLOSING))
        except (ValueError, RecursionError):
            return block
        if not isinstance(value, dict) or not isinstance(value.get("arguments", {}), dict):
            return block
        function = self._functions.get(str(value.get("name")))
        arguments = value.get("arguments", {})
        if function is None or (function.strict and not strict.allows(function, arguments)):
            return block
        return ToolCall(function.name, json.dumps(arguments, ensure_ascii=False))

    def _kept(self, found: Sequence[str | ToolCall]) -> list[str | ToolCall]:
        """Without empty texts, and without the blank space that stands between calls."""
        kept: list[str | ToolCall] = []
        for part in found:
            if isinstance(part, ToolCall):
                self.calls += 1
            elif not part or (self.calls and part.isspace()):
                continue
            kept.append(part)
        return kept
