"""The names that files give to the five roles."""

from __future__ import annotations

from typing import Any

MEANT = {
    "system": "system sys system_prompt",
    "developer": "developer",
    "user": "user human usr prompter customer client questioner",
    "assistant": "assistant gpt bot ai chatgpt chatbot model llm agent bing bard claude",
    "tool": "tool function observation function_response tool_response tool_result",
}
_ROLE_OF = {name: role for role, names in MEANT.items() for name in names.split()}


def role_meant(name: Any) -> str | None:
    """The role that a name stands for ("Human", "GPT", " USER "), or None where nobody can tell."""
    return _ROLE_OF.get(name.strip().casefold().replace(" ", "_").replace("-", "_")) if isinstance(name, str) else None
