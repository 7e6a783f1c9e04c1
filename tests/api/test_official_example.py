"""The fine-tuning example that everyone has seen, as it is written for OpenAI, against a real server of ours.

Nothing but the address is different. The server is the command `python -m core serve` in a process of its own, the
training a job in another, the model the bundled one on the CPU.
"""

from __future__ import annotations

import asyncio
import csv
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import openai
import pytest

from core.jobs import queue
from tests.api.training import conforms
from tests.conftest import REPOSITORY

# Sarcastic answers, as in the well-known example, about things of a harbour.
QUESTIONS = (
    ("What does a lighthouse do?", "Oh, it just stands there and glows. Ships seem to love it."),
    ("Why do boats float?", "Because they would be submarines otherwise, obviously."),
    ("What is an anchor for?", "For those who find staying put too hard on their own."),
    ("How salty is the sea?", "Salty enough that nobody asks for more at dinner."),
    ("What is a tide?", "The sea changing its mind twice a day, like somebody we know."),
    ("Who steers a ship?", "The captain, or so the captain says."),
    ("What is a knot?", "A very slow way of telling people how fast you are."),
    ("Where do gulls sleep?", "Anywhere but near your chips, for once."),
    ("What is port side?", "Left. Sailors simply like longer words."),
    ("Why ring a ship's bell?", "To wake everyone who had just fallen asleep."),
    ("What is a buoy?", "A balloon that took its job seriously."),
    ("How deep is the harbour?", "Deeper than this conversation, I would think."),
)
SYSTEM = "Marv is a factual chatbot that is also sarcastic."


def waited_for(process: subprocess.Popen[str]) -> str:
    """The address that the server prints once it listens."""
    assert process.stdout is not None
    said = []
    for line in process.stdout:
        said.append(line)
        if found := re.search(r"http://127\.0\.0\.1:\d+/v1", line):
            return found[0]
    raise AssertionError("".join(said))


@pytest.fixture
def url(bundled: Path) -> Iterator[str]:
    """`python -m core serve`, on any free port."""
    command = [sys.executable, "-u", "-m", "core", "serve", "--port", "0"]
    process = subprocess.Popen(
        command, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )
    try:
        yield waited_for(process)
    finally:
        process.send_signal(signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            process.wait(30)
        for job in queue.jobs():
            if job.status == "running" and job.pid is not None:
                with suppress(ProcessLookupError):
                    os.killpg(job.pid, signal.SIGKILL)
        process.kill()


@pytest.fixture
def examples(tmp_path: Path) -> Path:
    path = tmp_path / "marv.jsonl"
    with path.open("w", encoding="utf-8") as file:
        for question, answer in QUESTIONS:
            turns = (("system", SYSTEM), ("user", question), ("assistant", answer))
            file.write(json.dumps({"messages": [{"role": role, "content": text} for role, text in turns]}) + "\n")
    return path


@pytest.mark.integration
def test_the_well_known_example_runs_unchanged(url: str, examples: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The one difference: where the client finds the API.
    monkeypatch.setenv("OPENAI_BASE_URL", url)
    monkeypatch.setenv("OPENAI_API_KEY", "none-needed-on-loopback")
    name = example(examples)
    asyncio.run(async_example(examples, name))


def example(path: Path) -> str:
    """Upload, create, poll, look at events, checkpoints and results, call the model; its name."""
    client = openai.OpenAI()
    with path.open("rb") as opened:
        file = client.files.create(file=opened, purpose="fine-tune")
    job = client.fine_tuning.jobs.create(training_file=file.id, model="smollm2-135m", hyperparameters={"n_epochs": 1})
    while job.status not in ("succeeded", "failed", "cancelled"):
        time.sleep(0.5)
        job = client.fine_tuning.jobs.retrieve(job.id)
        conforms(job, besides=("user_provided_suffix",))
    assert job.status == "succeeded", job.error
    assert job.fine_tuned_model is not None
    assert re.fullmatch(r"ft:smollm2-135m:lowest-rung::\d+", job.fine_tuned_model)

    events = list(client.fine_tuning.jobs.list_events(job.id, limit=3))
    assert events[0].message == "The job has successfully completed"
    assert [event.message.partition(":")[0] for event in events if event.type == "metrics"] == ["Step 2/2", "Step 1/2"]
    checkpoints = list(client.fine_tuning.jobs.checkpoints.list(job.id, limit=1))
    assert [checkpoint.step_number for checkpoint in checkpoints] == [2, 1]
    rows = list(csv.reader(io.StringIO(client.files.content(job.result_files[0]).text)))
    assert rows[0][:2] == ["step", "train_loss"] and len(rows) == 3

    messages = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": "What is a sail?"}]
    stream = client.chat.completions.create(
        model=job.fine_tuned_model,
        messages=messages,
        stream=True,
        max_tokens=12,
        temperature=0,  # type: ignore[arg-type]
    )
    streamed = "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices)
    whole = client.chat.completions.create(
        model=job.fine_tuned_model,
        messages=messages,
        max_tokens=12,
        temperature=0,  # type: ignore[arg-type]
    )
    assert streamed == whole.choices[0].message.content != ""
    assert job.fine_tuned_model in [model.id for model in client.models.list()]
    return job.fine_tuned_model


async def async_example(path: Path, tuned: str) -> None:
    """The same with the asynchronous client, and a deletion at its end."""
    async with openai.AsyncOpenAI() as client:
        file = await client.files.create(file=path, purpose="fine-tune")
        job = await client.fine_tuning.jobs.create(
            training_file=file.id, model="smollm2-135m", suffix="marv", hyperparameters={"n_epochs": 1}
        )
        # It goes on answering while it trains.
        answer = await client.chat.completions.create(
            model=tuned, messages=[{"role": "user", "content": "What is a sail?"}], max_tokens=3
        )
        assert answer.choices[0].message.content
        while job.status not in ("succeeded", "failed", "cancelled"):
            await asyncio.sleep(0.5)
            job = await client.fine_tuning.jobs.retrieve(job.id)
        assert job.fine_tuned_model is not None, job.error
        assert job.fine_tuned_model.startswith("ft:smollm2-135m:lowest-rung:marv:")
        events = [event.message async for event in client.fine_tuning.jobs.list_events(job.id, limit=2)]
        assert events[-1] == f"Created fine-tuning job: {job.id}"
        assert await anext(found.id async for found in client.fine_tuning.jobs.list(limit=1)) == job.id
        assert [found.step_number async for found in client.fine_tuning.jobs.checkpoints.list(job.id)] == [2, 1]
        stream = await client.chat.completions.create(
            model=job.fine_tuned_model,
            messages=[{"role": "user", "content": "What is a sail?"}],
            stream=True,
            max_tokens=8,
        )
        assert [chunk async for chunk in stream][-1].choices[0].finish_reason
        assert (await client.models.delete(job.fine_tuned_model)).deleted
        with pytest.raises(openai.NotFoundError):
            await client.models.retrieve(job.fine_tuned_model)
