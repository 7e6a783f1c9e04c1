"""One base network, and what goes on it: LoRA matrices that are switched, or mixed in a pass, and whole tuned models.

Which network answers is decided here alone, for the batches of Compare and for the server.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.errors import UserError
from core.models.loading import LoadedModel, load_model

# What PEFT calls the rows of a mixed pass that no adapter is for.
BASE = "__base__"
MIXED = "mixed"
ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")


class Networks:
    """The base in memory, any number of adapters on it, and the whole tuned model that was asked for last."""

    def __init__(self, loaded: LoadedModel) -> None:
        self.loaded = loaded
        self._network: Any = loaded.model
        self._adapters: dict[Path, str] = {}
        self._numbered = 0
        # What the next pass would answer with: (adapter,), (None,) for the base, MIXED, or "" for who knows.
        self._switched: tuple[Path | None] | str = ""
        self._layers: list[Any] = []
        self._whole: tuple[Path, Any] | None = None

    @property
    def adapters(self) -> list[Path]:
        """The folders whose matrices are on the base."""
        return list(self._adapters)

    def switched_to(self, adapter: Path | None) -> Any:
        """The network that answers with `adapter`: LoRA matrices or a whole tuned model; None for the base.

        Raises UserError when it cannot be opened. It stays switched until the next call.
        """
        # In memory it answers on, should its folder be deleted meanwhile.
        if self._whole is not None and self._whole[0] == adapter:
            return self._whole[1]
        if adapter is not None and is_whole_model(adapter):
            return self._tuned(adapter)
        if adapter is not None:
            self.put_on(adapter)
        if self._adapters and self._switched != (adapter,):
            if adapter is None:
                self._network.base_model.disable_adapter_layers()
            else:
                self._network.base_model.enable_adapter_layers()
                self._network.set_adapter(self._adapters[adapter])
            self._switched = (adapter,)
        return self._network

    def mixed(self, adapters: Sequence[Path | None]) -> Any:
        """The network for a pass whose rows have these adapters, all of which are on and mix."""
        if not self._adapters:
            return self._network
        if self._switched != MIXED:
            self._network.base_model.enable_adapter_layers()
            self._switched = MIXED
        return _Mixed(
            self.loaded.model, self._layers, [BASE if each is None else self._adapters[each] for each in adapters]
        )

    def mixes(self, adapter: Path | None) -> bool:
        """Whether rows of `adapter`, which is on, may share a pass with others'.

        PEFT (0.21) adds plain LoRA row by row; DoRA and the other variants rescale a whole layer.
        """
        from peft.tuners.lora import LoraLayer

        if adapter is None:
            return True
        name = self._adapters[adapter]
        config = self._network.peft_config[name]
        whole = config.modules_to_save or config.trainable_token_indices or config.target_parameters
        layers = (module for module in self._network.modules() if isinstance(module, LoraLayer))
        return config.peft_type == "LORA" and not whole and not any(name in layer.lora_variant for layer in layers)

    def put_on(self, folder: Path) -> None:
        """Add the matrices in `folder` to the base. Raises UserError, and leaves the model as it was then."""
        from peft import PeftModel
        from peft.tuners.lora import LoraLayer
        from peft.utils.other import AuxiliaryTrainingWrapper
        from safetensors import SafetensorError

        if folder in self._adapters:
            return
        check_files(folder)
        name = f"adapter{self._numbered}"
        self._numbered += 1
        self._switched = ""
        try:
            if self._adapters:
                self._network.load_adapter(str(folder), adapter_name=name)
            else:
                self._network = PeftModel.from_pretrained(self.loaded.model, str(folder), adapter_name=name)
        except (OSError, ValueError, RuntimeError, KeyError, TypeError, SafetensorError) as error:
            self._strip(name)
            raise UserError(
                f"The adapter in {folder.name} does not go on {self.loaded.id}: {str(error).splitlines()[0]}",
                "Choose an adapter that was trained on this model, or train it again.",
            ) from error
        self._network.eval()
        self._adapters[folder] = name
        self._layers = [
            each for each in self._network.modules() if isinstance(each, LoraLayer | AuxiliaryTrainingWrapper)
        ]

    def take_off(self, folder: Path) -> None:
        """Free the memory of an adapter; the last one stays, since PEFT needs one."""
        if len(self._adapters) > 1:
            self._network.delete_adapter(self._adapters.pop(folder))
            self._switched = ""

    def _tuned(self, folder: Path) -> Any:
        self._whole = None  # frees the other first
        self._whole = (folder, load_model(str(folder)).model)
        return self._whole[1]

    def _strip(self, name: str) -> None:
        """Take off what is left of an adapter that could not be loaded."""
        from peft.tuners.tuners_utils import BaseTunerLayer

        if self._adapters:
            if name in self._network.peft_config:
                self._network.delete_adapter(name)
            return
        for path, module in list(self.loaded.model.named_modules()):
            if isinstance(module, BaseTunerLayer):
                self.loaded.model.set_submodule(path, module.get_base_layer())
        vars(self.loaded.model).pop("peft_config", None)


@dataclass(frozen=True)
class _Mixed:
    """The network as a pass sees it whose rows have the adapters `names`.

    As PEFT's own `adapter_names=` has it, whose search through all modules for every pass took longer than a small
    model's pass (0.21: 80 ms for 135M parameters).
    """

    network: Any
    layers: list[Any]
    names: list[str]

    @property
    def config(self) -> Any:
        return self.network.config

    @property
    def dtype(self) -> Any:
        return self.network.dtype

    def __call__(self, **inputs: Any) -> Any:
        hooks = [layer.register_forward_pre_hook(self._named, with_kwargs=True) for layer in self.layers]
        try:
            return self.network(**inputs)
        finally:
            for hook in hooks:
                hook.remove()

    def _named(self, layer: Any, args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        return args, {**kwargs, "adapter_names": self.names}


def is_whole_model(folder: Path) -> bool:
    """Whether full fine-tuning left a model of its own there, rather than matrices for a base."""
    return (folder / "config.json").is_file()


def check_files(folder: Path) -> None:
    """Raises UserError when a LoRA adapter's folder lacks a file."""
    for file in ADAPTER_FILES:
        if not (folder / file).is_file():
            raise UserError(
                f"The adapter in {folder.name} has no {file}.",
                "Train it again, or bring an adapter saved as safetensors; pickled weights are not opened.",
            )
