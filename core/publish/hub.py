"""To the Hugging Face hub, with a token that is never stored.

A job's spec is stored and shown, so the token cannot be in it. The push runs as a job all the same, in a process of its
own that is handed the token through a pipe; nobody can start it a second time, so it is not resumed but pushed again.
The hub keeps what arrived.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
import threading
import time
import zipfile
from pathlib import Path
from typing import Any

from core.errors import UserError
from core.jobs import queue
from core.jobs.context import JobContext
from core.jobs.run import execute
from core.models.package import adapter_zip
from core.publish.exports import export
from core.settings import REPOSITORY, get_settings
from core.store import lists
from core.store.tables import Adapter
from core.train.card import model_card

# A queue of its own: uploads wait for each other, and for nothing else.
DEVICE = "hub"
POLL_S = 0.2
# The process needs a second or two to tell its job's number.
START_S = 60.0
_tokens: dict[int, str] = {}


def push(adapter: Adapter, repo: str, token: str, *, private: bool = True, export_id: int | None = None) -> int:
    """Start pushing the adapter, or an export of it, to the repository `repo` ("name" or "owner/name"); the job's id.

    Raises UserError for a name that the hub does not take.
    """
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils._validators import validate_repo_id

    try:
        validate_repo_id(repo)
    except HFValidationError as error:
        raise UserError(
            f'"{repo[:100]}" is no name for a repository.', 'Names look like "my-model" or "my-team/my-model".'
        ) from error
    if not token.strip():
        raise UserError(
            "The hub asks for a token.", "Make one that may write at https://huggingface.co/settings/tokens."
        )
    spec = {"adapter_id": adapter.id, "what": "hub", "repo": repo, "private": private, "export_id": export_id}
    order = {"spec": spec, "title": f"Push: {adapter.name} to {repo}", "token": token.strip()}
    settings = get_settings()
    child = subprocess.Popen(
        [sys.executable, "-m", "core.publish.hub"],
        cwd=REPOSITORY,
        env=os.environ | {"LOWEST_RUNG_HOME": str(settings.home), "LOWEST_RUNG_DATABASE_URL": settings.database_url},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    assert child.stdin is not None and child.stdout is not None
    timer = threading.Timer(START_S, child.kill)
    timer.start()
    child.stdin.write(json.dumps(order).encode())
    child.stdin.close()
    said = child.stdout.readline()
    timer.cancel()
    threading.Thread(target=child.wait, daemon=True).start()
    if not said.strip().isdigit():
        raise UserError("The push could not be started.", "The terminal that runs the app says why.")
    return int(said)


def run(context: JobContext) -> dict[str, Any]:
    """Spec: `adapter_id`, `repo`, `private`, `export_id` (None: the adapter as it is)."""
    token = _tokens.pop(context.job_id, None)
    if token is None:
        raise UserError("The token of this push was not kept.", "Push again on the Serve page; what arrived stays.")
    folder = _staged(context)
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    context.progress(0, 1, f"Uploading {size / 1e6:,.0f} MB")
    ended: list[str | BaseException] = []

    def upload() -> None:
        try:
            ended.append(_upload(folder, context.spec["repo"], token, context.spec["private"]))
        except BaseException as error:
            ended.append(error)

    # The upload knows no stop. In a thread that ends with the process, it need not.
    threading.Thread(target=upload, daemon=True).start()
    while not ended:
        context.check_stop()
        time.sleep(POLL_S)
    shutil.rmtree(context.folder / "adapter", ignore_errors=True)
    if isinstance(ended[0], BaseException):
        raise ended[0]
    context.progress(1, 1, "Uploaded")
    return {"url": ended[0], "text": f"Pushed {size / 1e6:,.0f} MB."}


def _staged(context: JobContext) -> Path:
    """The folder to upload: an export's own, or the adapter's weights with a configuration and card for others."""
    if context.spec["export_id"] is not None:
        return export(context.spec["export_id"]).folder
    adapter = lists.adapter(context.spec["adapter_id"])
    with zipfile.ZipFile(io.BytesIO(adapter_zip(adapter, model_card(adapter)))) as archive:
        archive.extractall(context.folder / "adapter")
        (top,) = {Path(name).parts[0] for name in archive.namelist()}
    return context.folder / "adapter" / top


def _upload(folder: Path, repo: str, token: str, private: bool) -> str:
    """Raises UserError; returns the repository's address."""
    from httpx2 import HTTPError
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    api = HfApi(token=token)
    try:
        made = api.create_repo(repo, private=private, exist_ok=True)
        if private and not api.repo_info(made.repo_id).private:
            # One that was there before keeps who may see it.
            raise UserError(
                f"{made.repo_id} is there already, and everybody can see it.",
                "Choose another name, make it private on the hub, or push for everybody.",
            )
        api.upload_folder(repo_id=made.repo_id, folder_path=folder, commit_message="Push from Lowest Rung")
    except HfHubHTTPError as error:
        code = error.response.status_code
        refused = {
            401: ("The hub does not know this token.", "Make a new one at https://huggingface.co/settings/tokens."),
            403: (f"This token may not write to {repo}.", "Give it write permission, or choose another owner."),
            404: (f"The hub has no place for {repo}.", "Check the owner's name, and that the token may write there."),
            429: ("The hub asks to wait: too many requests.", "Push again in some minutes; what arrived stays."),
        }
        what = f"The hub answered with {code}: {error.server_message or 'no reason given'}"
        raise UserError(*refused.get(code, (what, "Push again later; what arrived stays."))) from error
    except (OSError, HTTPError) as error:
        raise UserError(
            f"The hub could not be reached: {type(error).__name__}.",
            "Check the network and HF_HUB_OFFLINE, then push again; what arrived stays.",
        ) from error
    return str(made)


def main() -> None:
    """The process of a push: its order comes through the standard input, the job's number goes out."""
    order = json.loads(sys.stdin.read())
    job_id = queue.submit("export", order["spec"], title=order["title"], device=DEVICE, start=False, reserve=True)
    # As every job's process: what it prints from here on belongs into its log.
    log = queue.log_path(job_id).open("ab")
    sys.stdout.write(f"{job_id}\n")
    sys.stdout.flush()
    for stream in (sys.stdout, sys.stderr):
        os.dup2(log.fileno(), stream.fileno())
    # Run as a script, this module is not the one that the job's handler imports.
    from core.publish import hub

    hub._tokens[job_id] = order["token"]
    while not queue.claim(job_id):
        if queue.get(job_id).status != "queued":
            return
        time.sleep(POLL_S)
    execute(job_id)


if __name__ == "__main__":
    main()
