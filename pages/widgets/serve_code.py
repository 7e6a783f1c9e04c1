"""Code that asks the chosen model: complete programs, which the tests run against a real server."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence

import streamlit as st

from core.models.prompt import Message

QUESTION = "Hello! What can you do?"
# The environment variable that the programs read their key from, so that none is pasted into code.
KEY_VARIABLE = "LOWEST_RUNG_KEY"


def python(url: str, model: str, messages: Sequence[Message], key: bool) -> str:
    """With the package `openai`; the answer is printed as it is written."""
    listed = "".join(f"        {_quoted(turn)},\n" for turn in messages)
    secret = f'os.environ["{KEY_VARIABLE}"]' if key else '"none-needed"'
    imports = "import os\n\n" if key else ""
    return f"""{imports}from openai import OpenAI  # pip install openai

client = OpenAI(base_url={_quoted(url)}, api_key={secret})
stream = client.chat.completions.create(
    model={_quoted(model)},
    messages=[
{listed}    ],
    temperature=0,
    max_tokens=128,
    stream=True,
)
for chunk in stream:
    if chunk.choices:
        print(chunk.choices[0].delta.content or "", end="", flush=True)
print()
"""


def curl(url: str, model: str, messages: Sequence[Message], key: bool) -> str:
    """For a POSIX shell; the answer is in the JSON it prints."""
    body = json.dumps(
        {"model": model, "messages": list(messages), "temperature": 0, "max_tokens": 128},
        ensure_ascii=False,
        indent=2,
    )
    header = f'  -H "Authorization: Bearer ${KEY_VARIABLE}" \\\n' if key else ""
    return f"""curl {url}/chat/completions \\
  -H "Content-Type: application/json" \\
{header}  -d {shlex.quote(body)}
"""


def javascript(url: str, model: str, messages: Sequence[Message], key: bool) -> str:
    """With the npm package `openai`, as an ES module."""
    listed = "".join(f"    {_quoted(turn)},\n" for turn in messages)
    secret = f"process.env.{KEY_VARIABLE}" if key else '"none-needed"'
    return f"""import OpenAI from "openai"; // npm install openai

const client = new OpenAI({{ baseURL: {_quoted(url)}, apiKey: {secret} }});
const stream = await client.chat.completions.create({{
  model: {_quoted(model)},
  messages: [
{listed}  ],
  temperature: 0,
  max_tokens: 128,
  stream: true,
}});
for await (const chunk of stream) {{
  process.stdout.write(chunk.choices[0]?.delta?.content ?? "");
}}
console.log();
"""


def _quoted(value: str | Message) -> str:
    """Texts, and turns of texts, are written alike in JSON, Python and JavaScript."""
    return json.dumps(value, ensure_ascii=False)


def draw(url: str, model: str, opening: Sequence[Message], key: bool) -> None:
    """The three programs, each with a button to copy it. `opening`: the instruction the model was trained with."""
    messages = [*opening, {"role": "user", "content": QUESTION}]
    named, shell, script = st.tabs(["Python", "curl", "JavaScript"], key="serve_code_tabs")
    named.code(python(url, model, messages, key), language="python", wrap_lines=True)
    shell.code(curl(url, model, messages, key), language="bash", wrap_lines=True)
    script.code(javascript(url, model, messages, key), language="javascript", wrap_lines=True)
    said = "Anything that speaks OpenAI's API works: only the base URL and the model's name are different."
    if key:
        said += f" Put your key into the environment variable {KEY_VARIABLE}."
    st.caption(said)
