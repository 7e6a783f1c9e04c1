"""One file for llama.cpp and Ollama: its own converter makes it, as a child that may neither run nor write for ever."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.errors import UserError
from core.models.loading import LoadedModel
from core.settings import get_settings

CONVERTER, QUANTISER = "convert_hf_to_gguf.py", "llama-quantize"
# How numbers are kept, in bits per weight: what the converter writes by itself, and what needs llama-quantize.
PLAIN = {"f32": 32.0, "f16": 16.0, "bf16": 16.0, "q8_0": 8.5}
QUANTISED = {"q6_k": 6.6, "q5_k_m": 5.7, "q4_k_m": 4.9}
# Hours for the largest models; a program that hangs ends some time.
LIMIT_S = 4 * 3600.0
# The converter draws progress bars; the end of what it says is enough to see why it failed.
LAST_LINES, LINE_CHARACTERS = 40, 400
POLL_S = 0.2
# All that the programs need of the environment: keys and tokens go by too many names to be left out one by one.
PASSED_ON = {
    *("PATH", "HOME", "LANG", "TMPDIR", "OMP_NUM_THREADS"),
    *("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV"),
    *("SYSTEMROOT", "TEMP", "TMP", "USERPROFILE"),
}


@dataclass(frozen=True)
class Tools:
    """Commands that begin with these words; `quantiser` is None where there is only the converter."""

    converter: list[str]
    quantiser: list[str] | None

    @property
    def types(self) -> dict[str, float]:
        """The ways to keep numbers that they can write, with bits per weight."""
        return PLAIN | (QUANTISED if self.quantiser else {})


def tools() -> Tools | None:
    """llama.cpp's converter and quantiser, from the folder of the settings or the PATH; None without the former."""
    folder = get_settings().llama_cpp
    if folder is not None and (folder / CONVERTER).is_file():
        # From its sources it runs here, where torch, transformers, gguf and sentencepiece are.
        converter = [sys.executable, str(folder / CONVERTER)]
    elif installed := shutil.which(CONVERTER):
        # A package manager gave it a Python of its own.
        converter = [installed]
    else:
        return None
    places = [] if folder is None else [folder, folder / "build" / "bin", folder / "bin"]
    quantiser = next((found for place in places if (found := shutil.which(QUANTISER, path=str(place)))), None)
    quantiser = quantiser or shutil.which(QUANTISER)
    return Tools(converter, [quantiser] if quantiser else None)


def how_to_install() -> str:
    """What a person does to get them."""
    return (
        "git clone --depth 1 https://github.com/ggml-org/llama.cpp\n"
        "# in .env or the environment of Lowest Rung:\n"
        'LOWEST_RUNG_LLAMA_CPP="$PWD/llama.cpp"\n'
        "# for four to six bits its quantiser as well:\n"
        "cmake -S llama.cpp -B llama.cpp/build && cmake --build llama.cpp/build --target llama-quantize"
    )


def by_hand(kind: str = "q8_0") -> str:
    """The commands that make the file of the merged model elsewhere, run beside the folder `merged`."""
    if kind in PLAIN:
        return f"python llama.cpp/{CONVERTER} merged --outfile model-{kind}.gguf --outtype {kind}"
    return (
        f"python llama.cpp/{CONVERTER} merged --outfile model-f16.gguf --outtype f16\n"
        f"llama.cpp/build/bin/{QUANTISER} model-f16.gguf model-{kind}.gguf {kind.upper()}"
    )


def convert(
    found: Tools,
    model: Path,
    into: Path,
    kind: str,
    name: str,
    log: Callable[[str], None],
    check_stop: Callable[[], None],
) -> None:
    """Write the model in the folder `model` as the file `into`. Raises UserError with the converter's last words.

    `check_stop` is asked all the time; it may raise, and the child is ended then.
    """
    direct = kind if kind in PLAIN else "f16"
    first = into if direct == kind else into.with_suffix(".f16.gguf")
    options = [str(model), "--outfile", str(first), "--outtype", direct, f"--model-name={name}"]
    _run([*found.converter, *options], CONVERTER, log, check_stop)
    if first != into:
        if found.quantiser is None:
            raise UserError(f"{kind} needs {QUANTISER}, which is not installed.", "Choose q8_0, or build it.")
        _run([*found.quantiser, str(first), str(into), kind.upper()], QUANTISER, log, check_stop)
        first.unlink()
    if not into.is_file() or not _begins_as_gguf(into):
        raise UserError("The converter ended without writing a GGUF file.", "The log of this job has what it said.")


def _begins_as_gguf(file: Path) -> bool:
    with file.open("rb") as opened:
        return opened.read(4) == b"GGUF"


def open_gguf(file: Path, device: str) -> LoadedModel:
    """The model as transformers reads it from the file, unpacked to fp32.

    Raises UserError for an architecture or a way of packing that transformers cannot read.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    where: dict[str, Any] = {"gguf_file": file.name}
    try:
        tokenizer = AutoTokenizer.from_pretrained(file.parent, **where)
        model = AutoModelForCausalLM.from_pretrained(file.parent, dtype=torch.float32, **where).to(device).eval()
    except (ValueError, KeyError, OSError, NotImplementedError) as error:
        raise UserError(
            f"transformers cannot read this file back: {str(error).splitlines()[0]}", "Try it in llama.cpp or Ollama."
        ) from error
    tokenizer.padding_side = "left"
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    context = getattr(model.config, "max_position_embeddings", None) or 2048
    return LoadedModel(file.name, model, tokenizer, torch.device(device), context)


def _run(command: Sequence[str], what: str, log: Callable[[str], None], check_stop: Callable[[], None]) -> None:
    """One child, without secrets in its environment; its last lines go to the log."""
    environment = {name: value for name, value in os.environ.items() if name in PASSED_ON or name.startswith("LC_")}
    child = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=environment | {"HF_HUB_OFFLINE": "1", "PYTHONUNBUFFERED": "1"},
    )
    said: deque[str] = deque(maxlen=LAST_LINES)
    reader = threading.Thread(target=_listen, args=(child, said), daemon=True)
    reader.start()
    waited = 0.0
    try:
        while child.poll() is None:
            check_stop()
            if waited > LIMIT_S:
                raise UserError(f"{what} did not end within {LIMIT_S / 3600:.0f} hours.", "Run it by hand.")
            with suppress(subprocess.TimeoutExpired):
                child.wait(POLL_S)
            waited += POLL_S
    finally:
        if child.poll() is None:
            child.kill()
            child.wait()
        reader.join(timeout=5)
        log(f"{what} said at its end:\n" + "\n".join(said))
    if child.returncode != 0:
        last = next((line for line in reversed(said) if line.strip()), "nothing")
        raise UserError(
            f"{what} ended with code {child.returncode}. The last it said: {last}",
            "The log of this job has more. Where it names a missing module, install that beside Lowest Rung; where it "
            "names the model's architecture, a newer llama.cpp may know it.",
        )


def _listen(child: subprocess.Popen[bytes], said: deque[str]) -> None:
    """Read all the child says, in bounded pieces: a pipe that is full would stop it, a line may be endless."""
    assert child.stdout is not None
    rest = b""
    while piece := child.stdout.read1(65_536):  # type: ignore[attr-defined]
        *lines, rest = (rest + piece).replace(b"\r", b"\n").split(b"\n")
        said.extend(line.decode("utf-8", "replace")[:LINE_CHARACTERS] for line in lines)
        rest = rest[-LINE_CHARACTERS:]
    said.append(rest.decode("utf-8", "replace"))
