"""An adapter made elsewhere: from a zip archive or the files of a folder to one that can be asked, measured and served.

Nothing of what comes in is run. Weights are safetensors, the configuration is written anew from the few values that
matter, and both must fit the base model to the last matrix before anything is stored.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from core.documents.reading.archives import files_of, open_archive, printable, refusal, unpack
from core.errors import UserError
from core.models.access import PICKLES, inspect
from core.models.loading import model_source
from core.models.package import FILES, public_config, public_name
from core.settings import get_settings
from core.store.database import session
from core.store.tables import Adapter
from core.train.card import write_card

WEIGHTS, CONFIG = FILES
# Names of layers as they are; PEFT takes some texts for regular expressions, which can take for ever.
_NAME = re.compile(r"[\w.]{1,200}")
MOST_CONFIG = 1_000_000
# Each is held against each layer; the largest models have fewer than a thousand that are tuned.
MOST_NAMES = 2_000
Name = Annotated[str, StringConstraints(pattern=f"^{_NAME.pattern}$")]


class Configuration(BaseModel):
    """What decides on the answers. All else in PEFT's file is about the training, or would run code of its own."""

    model_config = ConfigDict(extra="ignore", allow_inf_nan=False, frozen=True)

    peft_type: Literal["LORA"]
    base_model_name_or_path: str | None = None
    r: int = Field(ge=1, le=4096)
    lora_alpha: int | float
    use_rslora: bool = False
    use_dora: bool = False
    bias: Literal["none", "all", "lora_only"] = "none"
    lora_bias: bool = False
    fan_in_fan_out: bool = False
    rank_pattern: dict[Name, int] = Field({}, max_length=MOST_NAMES)
    alpha_pattern: dict[Name, int | float] = Field({}, max_length=MOST_NAMES)
    modules_to_save: list[Name] | None = Field(None, max_length=MOST_NAMES)

    @property
    def method(self) -> str:
        return "dora" if self.use_dora else "rslora" if self.use_rslora else "lora"


def files_in_zip(data: bytes, name: str) -> dict[str, bytes]:
    """The adapter's two files in an archive, whatever lies beside them, and the names of pickles. Raises UserError."""
    try:
        archive = open_archive(data)
        found = {}
        for entry in files_of(archive):
            if why := refusal(entry):
                raise UserError(f"{printable(entry.filename)}: {why}", "Pack the adapter's own files alone.")
            if PurePosixPath(entry.filename).name in FILES or entry.filename.endswith(PICKLES):
                found[entry.filename] = b"" if entry.filename.endswith(PICKLES) else unpack(archive, entry)
    except UserError as error:
        raise UserError(f"{printable(name)}: {error.what}", error.remedy) from error
    return found


def import_adapter(name: str, files: Mapping[str, bytes], base_model: str) -> Adapter:
    """Store the adapter in `files` (path: content) as one of `base_model`. Raises UserError where it does not fit.

    Other files are left out; pickled weights in place of safetensors are refused, since opening them can run code.
    """
    weights, written = _two(files)
    config = _config(written)
    _same_base(config, base_model)
    scratch = Path(tempfile.mkdtemp(dir=_adapters(), prefix="importing-"))
    try:
        (scratch / WEIGHTS).write_bytes(weights)
        shapes = _shapes(scratch / WEIGHTS)
        _fit(scratch, config, shapes, base_model)
        (scratch / CONFIG).write_text(public_config(scratch / CONFIG, base_model), encoding="utf-8")
        return _stored(scratch, name.strip() or "Imported", config, base_model)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def named_base(files: Mapping[str, bytes]) -> str:
    """The base model that the configuration names, as it is called elsewhere; empty where it names none."""
    try:
        return _config(_two(files)[1]).base_model_name_or_path or ""
    except UserError:
        return ""


def _two(files: Mapping[str, bytes]) -> tuple[bytes, bytes]:
    """Weights and configuration, from the one folder that has them."""
    paths = [PurePosixPath(path) for path in files]
    folders = sorted({path.parent for path in paths if path.name in FILES})
    whole = [folder for folder in folders if all(str(folder / name) in files for name in FILES)]
    if len(whole) == 1:
        return files[str(whole[0] / WEIGHTS)], files[str(whole[0] / CONFIG)]
    if whole:
        raise UserError(f"There are {len(whole)} adapters in it.", "Bring one at a time.")
    if any(path.suffix in PICKLES for path in paths) and not any(path.name == WEIGHTS for path in paths):
        raise UserError(
            "Its weights are pickled, which can run code when they are opened.",
            f"Save it as {WEIGHTS} where you trust it: model.save_pretrained(folder) of peft does.",
        )
    missing = [name for name in FILES if not any(path.name == name for path in paths)] or list(FILES)
    raise UserError(
        f"It has no {' and no '.join(missing)}.", f"Bring the folder that peft saved, with {WEIGHTS} and {CONFIG}."
    )


def _config(written: bytes) -> Configuration:
    if len(written) > MOST_CONFIG:
        raise UserError(f"{CONFIG} has {len(written) / 1e6:.0f} MB.", "Bring the file that peft wrote.")
    try:
        return Configuration.model_validate_json(written)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise UserError(
            f"{CONFIG}{', ' if place else ''}{printable(place)}: {first['msg']}.",
            "Only LoRA adapters (rsLoRA and DoRA among them) with plain names of layers can be brought.",
        ) from error


def _same_base(config: Configuration, base_model: str) -> None:
    """Of a base named by a folder nothing is known; its matrices tell."""
    named, ours = config.base_model_name_or_path or "", public_name(base_model)
    both_published = all("/" in name and not name.startswith(("/", ".", "~")) for name in (named, ours))
    if both_published and named.lower() != ours.lower():
        raise UserError(f"It was trained on {printable(named)}, not on {ours}.", "Choose that base model.")


def _shapes(file: Path) -> dict[str, tuple[int, ...]]:
    """Name and shape of each tensor. Raises UserError for a damaged file, or numbers that are none."""
    import torch
    from safetensors import SafetensorError, safe_open

    shapes = {}
    try:
        with safe_open(file, framework="pt") as opened:
            for name in opened.keys():  # noqa: SIM118 (no mapping)
                tensor = opened.get_tensor(name)
                if not torch.isfinite(tensor.float()).all():
                    raise UserError(
                        f"The weights {printable(name)} hold values that are not numbers.", "Train it again."
                    )
                shapes[name] = tuple(tensor.shape)
    except (SafetensorError, RuntimeError, ValueError) as error:
        raise UserError(f"{WEIGHTS} is damaged or is no safetensors file: {error}.", "Copy it again.") from error
    if not shapes:
        raise UserError(f"{WEIGHTS} is empty.", "Bring the file that peft wrote.")
    return shapes


def _fit(folder: Path, config: Configuration, shapes: Mapping[str, tuple[int, ...]], base_model: str) -> None:
    """Write the configuration, and put it on the base model's empty shape: every matrix must find its place there."""
    import torch
    from peft import LoraConfig, PeftModel, get_peft_model_state_dict
    from transformers import AutoConfig, AutoModelForCausalLM

    targets = sorted({name.split(".lora_")[0].removeprefix("base_model.model.") for name in shapes if ".lora_" in name})
    if not targets or not all(_NAME.fullmatch(target) for target in targets):
        raise UserError(f"{WEIGHTS} holds no LoRA matrices.", "Bring the file that peft wrote.")
    inspect(base_model)
    shape = AutoConfig.from_pretrained(model_source(base_model), trust_remote_code=False)
    kept = config.model_dump(exclude={"peft_type", "base_model_name_or_path"})
    expected: dict[str, tuple[int, ...]] = {}
    # The last parts of the names where they mean the same: vLLM reads those alone.
    for named in (sorted({target.rpartition(".")[2] for target in targets}), targets):
        try:
            with torch.device("meta"):
                empty = AutoModelForCausalLM.from_config(shape, trust_remote_code=False)
                wanted = LoraConfig(**kept, target_modules=named, task_type="CAUSAL_LM", inference_mode=True)
                network = PeftModel(empty, wanted)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise _misfit(base_model, str(error).splitlines()[0]) from error
        expected = {name: tuple(tensor.shape) for name, tensor in get_peft_model_state_dict(network).items()}
        if expected.keys() == shapes.keys():
            break
    for name in sorted(expected.keys() | shapes.keys()):
        if expected.get(name) != shapes.get(name):
            raise _misfit(base_model, _difference(name, shapes.get(name), expected.get(name)))
    wanted.save_pretrained(folder)


def _misfit(base_model: str, why: str) -> UserError:
    return UserError(
        f"The adapter does not fit {public_name(base_model)}: {why}", "Choose the base model it was trained on."
    )


def _difference(name: str, here: tuple[int, ...] | None, there: tuple[int, ...] | None) -> str:
    if there is None:
        return f"the model has no place for {printable(name)}."
    if here is None:
        return f"it has no {printable(name)}."
    return f"{printable(name)} is {' by '.join(map(str, here))}, where {' by '.join(map(str, there))} would fit."


def _stored(folder: Path, name: str, config: Configuration, base_model: str) -> Adapter:
    """The folder becomes the adapter's own; folder and row appear together, or neither."""
    recipe = {"model": base_model, "method": config.method, "rank": config.r, "alpha": config.lora_alpha}
    adapter = Adapter(name=name[:120], base_model=base_model, method=config.method, recipe=recipe, path="")
    adapter.notes = {"imported": True}
    with session() as db:
        db.add(adapter)
        db.flush()
        adapter.path = f"adapters/imported-{adapter.id}"
        folder.rename(get_settings().home / adapter.path)
    write_card(adapter)
    return adapter


def _adapters() -> Path:
    folder = get_settings().home / "adapters"
    folder.mkdir(parents=True, exist_ok=True)
    return folder
