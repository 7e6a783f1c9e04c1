"""The Modelfile that Ollama makes a model of: the GGUF file, how a chat is written, and where an answer ends.

Ollama writes chats by a template in Go's language. The model's own is in Jinja, so the Go one is pieced together from
what the Jinja one writes around each turn, and used only if it then writes whole chats letter by letter alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from core.models.local import render
from core.models.prompt import Message

# Ollama sets the memory for so many tokens aside at once; who has more of it may raise this.
MOST_CONTEXT = 8192
# Texts no template contains; told apart from each other, and left as they are by filters such as trim.
SYSTEM, ASKED, ANSWERED, AGAIN = "QxSYSTEMxQ", "QxASKEDxQ", "QxANSWEREDxQ", "QxAGAINxQ"


@dataclass(frozen=True)
class Turns:
    """What a chat template writes before and after each kind of turn.

    `opening` stands before everything, `without_system` follows it where no instructions are given, and `speak` makes
    the assistant begin.
    """

    opening: str
    system: tuple[str, str]
    without_system: str
    user: tuple[str, str]
    assistant: tuple[str, str]
    speak: str

    def written(self, chat: Sequence[Message]) -> str:
        """A chat as the Go template writes it."""
        around = {"system": self.system, "user": self.user, "assistant": self.assistant}
        parts = [self.opening]
        if chat[0]["role"] != "system":
            parts.append(self.without_system)
        for turn in chat:
            before, after = around[turn["role"]]
            parts.append(f"{before}{turn['content']}{after}")
        return "".join([*parts, self.speak])

    def in_go(self) -> str:
        """The same in Go's language, for Ollama."""
        system = f"{self.system[0]}{{{{ .System }}}}{self.system[1]}"
        user = f"{self.user[0]}{{{{ .Content }}}}{self.user[1]}"
        assistant = f"{self.assistant[0]}{{{{ .Content }}}}{self.assistant[1]}"
        return (
            f"{self.opening}{{{{ if .System }}}}{system}{{{{ else }}}}{self.without_system}{{{{ end }}}}"
            f'{{{{ range .Messages }}}}{{{{ if eq .Role "user" }}}}{user}'
            f'{{{{ else if eq .Role "assistant" }}}}{assistant}{{{{ end }}}}{{{{ end }}}}{self.speak}'
        )


def modelfile(tokenizer: Any, file: str, ends: Sequence[int], context: int) -> str:
    """Text of the Modelfile. `ends` are the token ids that end an answer, `context` the longest sequence in tokens."""
    lines = [f"FROM ./{file}", ""]
    turns = turns_of(tokenizer)
    if turns is None:
        lines += ["# Ollama takes the chat template from the file, where it knows it.", ""]
    else:
        lines += [f'TEMPLATE """{turns.in_go()}"""', ""]
    for end in ends:
        stop = tokenizer.decode([end])
        if stop.strip() and '"' not in stop:
            lines.append(f'PARAMETER stop "{stop}"')
    # As it was measured: the likeliest word each time. Raise it for more variety.
    lines += ["PARAMETER temperature 0", f"PARAMETER num_ctx {min(context, MOST_CONTEXT)}"]
    return "\n".join(lines) + "\n"


def turns_of(tokenizer: Any) -> Turns | None:
    """None for a template that does more than write something around each turn."""
    from jinja2 import TemplateError

    try:
        turns = _taken_apart(tokenizer)
        alike = all(turns.written(chat) == render(tokenizer, chat) for chat in _trials())
    except (TemplateError, ValueError):
        return None
    if not alike or any("{{" in part or '"""' in part for part in _texts(turns)):
        return None
    # Of a model whose texts begin with a token of their own, llama.cpp writes that token itself.
    bos = tokenizer.bos_token
    if bos and turns.opening.startswith(bos) and tokenizer("a")["input_ids"][:1] == [tokenizer.bos_token_id]:
        return replace(turns, opening=turns.opening.removeprefix(bos))
    return turns


def _turn(role: str, text: str) -> Message:
    return {"role": role, "content": text}


def _trials() -> list[list[Message]]:
    """Chats of every shape, on which the result is tried."""
    system, answered = _turn("system", SYSTEM), _turn("assistant", ANSWERED)
    asked, again = _turn("user", "Two lines:\n\n  one & 'two' \"three\""), _turn("user", AGAIN)
    shapes = [[asked], [asked, answered, again], [asked, answered, again, answered, asked]]
    return [*shapes, *([system, *shape] for shape in shapes)]


def _taken_apart(tokenizer: Any) -> Turns:
    """Raises ValueError where a text is missing from what the template wrote, or is written otherwise elsewhere."""
    system, asked = _turn("system", SYSTEM), _turn("user", ASKED)
    answered, again = _turn("assistant", ANSWERED), _turn("user", AGAIN)
    plain, ended = (render(tokenizer, [asked], generation_prompt=speaks) for speaks in (True, False))
    told = render(tokenizer, [system, asked, answered, again])
    _, user_after = _around(ended, ASKED)
    _, assistant_after = _around(render(tokenizer, [asked, answered], generation_prompt=False), ANSWERED)
    head, rest = _around(told, SYSTEM)
    system_to_user, rest = _around(rest, ASKED)
    user_to_assistant, rest = _around(rest, ANSWERED)
    assistant_to_user, _ = _around(rest, AGAIN)
    user_before = _less(assistant_to_user, assistant_after)
    system_after = _less(system_to_user[::-1], user_before[::-1])[::-1]
    plain_head = _less(_around(plain, ASKED)[0][::-1], user_before[::-1])[::-1]
    # Where a model has instructions of its own for chats without any, they begin as others do.
    opening = plain_head if head.startswith(plain_head) else ""
    return Turns(
        opening,
        (_less(head, opening), system_after),
        _less(plain_head, opening),
        (user_before, user_after),
        (_less(user_to_assistant, user_after), assistant_after),
        _less(plain, ended),
    )


def _around(text: str, part: str) -> tuple[str, str]:
    """What stands before and after. Raises ValueError."""
    start = text.index(part)
    return text[:start], text[start + len(part) :]


def _less(text: str, beginning: str) -> str:
    """Raises ValueError for a text that begins otherwise."""
    if not text.startswith(beginning):
        raise ValueError("turns are written differently by their place")
    return text[len(beginning) :]


def _texts(turns: Turns) -> list[str]:
    pairs = (turns.system, turns.user, turns.assistant)
    return [turns.opening, turns.without_system, turns.speak, *(part for pair in pairs for part in pair)]
