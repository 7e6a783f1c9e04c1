"""`python -m core serve` and `python -m core keys`: the server, and who may use it."""

from __future__ import annotations

import time
from datetime import datetime
from typing import Annotated

import typer
from rich.table import Table

from core.api import keys, serve_job
from core.errors import UserError
from core.jobs.run import run_foreground
from core.terminal import console

DAY_S = 86_400.0

key_commands = typer.Typer(no_args_is_help=True, help="API keys of the server.")


def serve(
    host: Annotated[str, typer.Option(help="Address to listen at; others than loopback need a key.")] = serve_job.HOST,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 for any free one.")] = serve_job.PORT,
    model: Annotated[str, typer.Option(help="A model to open at once: bundled name, hub id or folder.")] = "",
) -> None:
    """Serve the models and adapters of this machine in the form of the OpenAI API, until Ctrl-C."""
    said = ""

    def say(_done: float, _total: float, message: str) -> None:
        nonlocal said
        if message != said:
            said = message
            console.print(message)

    spec = serve_job.spec_of(host, port, model)
    title = serve_job.title_of(host, port)
    job = run_foreground("serve", spec, title=title, device=serve_job.DEVICE, on_progress=say)
    if job.error:
        raise UserError(job.error, job.remedy)


@key_commands.command("create")
def create_key(
    name: Annotated[str, typer.Argument(help="Whose it is.")],
    expires_days: Annotated[float | None, typer.Option(help="Days until it expires; never by default.")] = None,
    requests_per_minute: Annotated[int | None, typer.Option(help="No limit by default.")] = None,
    tokens_per_minute: Annotated[int | None, typer.Option(help="Of prompts and answers together.")] = None,
) -> None:
    """Make a key and print it, once."""
    _, key = keys.create(
        name,
        expires_at=None if expires_days is None else time.time() + expires_days * DAY_S,
        requests_per_minute=requests_per_minute,
        tokens_per_minute=tokens_per_minute,
    )
    console.print(key)


@key_commands.command("list")
def list_keys() -> None:
    """All keys, by their first characters."""
    found = keys.keys()
    if not found:
        console.print("No key has been made: on this computer none is needed.")
        return
    table = Table("Number", "Name", "Begins with", "Made", "Last used", "State")
    for key in found:
        table.add_row(
            str(key.id), key.name, key.beginning, _day(key.created_at), _day(key.last_used_at), keys.state(key)
        )
    console.print(table)


@key_commands.command("revoke")
def revoke_key(number: Annotated[int, typer.Argument(help="As `keys list` shows it.")]) -> None:
    """Take a key back."""
    keys.revoke(number)
    console.print(f"Key {number} is revoked.")


def _day(at: float | None) -> str:
    return "never" if at is None else datetime.fromtimestamp(at).strftime("%Y-%m-%d %H:%M")
