"""A base model made ready to learn as the recipe says, and the trainer that will teach it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.errors import UserError
from core.models.loading import LoadedModel, load_model
from core.settings import get_settings
from core.train.recipe import Recipe
from core.train.tokens import EncodedExample
from core.train.trackers import arguments

if TYPE_CHECKING:
    from core.train.answer_loss import AnswerLossTrainer


def prepare(recipe: Recipe) -> LoadedModel:
    """Load the base model and add what is trained. Raises UserError, as for layers that the model does not have."""
    from transformers import set_seed

    if recipe.engine == "unsloth":
        from core.train.unsloth import load

        return load(recipe)
    loaded = load_model(recipe.model, four_bit=recipe.method == "qlora")
    # The adapter's first weights follow from the seed alone, however the base model was loaded.
    set_seed(recipe.seed)
    if recipe.method == "full":
        # The optimiser's steps are far smaller than what 16 bits can tell apart; the trainer computes in bf16 anyway.
        loaded.model.float()
    else:
        loaded.model = _with_adapter(loaded.model, recipe)
    return loaded


def _with_adapter(model: Any, recipe: Recipe) -> Any:
    """The frozen model with LoRA matrices.

    PEFT's own preparation for four-bit models would also hold embeddings and head in 32 bits: 2 GB more for a model
    of 8 billion parameters, which the matrices' gradients do not need.
    """
    from peft import LoraConfig, get_peft_model

    _check_targets(model, recipe.targets)
    config = LoraConfig(
        r=recipe.rank,
        lora_alpha=recipe.alpha,
        lora_dropout=recipe.dropout,
        target_modules=recipe.targets,
        use_rslora=recipe.method == "rslora",
        use_dora=recipe.method == "dora",
        task_type="CAUSAL_LM",
    )
    return get_peft_model(model, config)


def _check_targets(model: Any, targets: str | list[str]) -> None:
    """Raises UserError when a name is no linear layer's: PEFT takes no notice as long as another one is."""
    import torch
    from transformers.pytorch_utils import Conv1D

    if targets == "all-linear":
        return
    head = model.get_output_embeddings()
    layers = [
        f".{name}"
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear | Conv1D) and module is not head
    ]
    missing = [target for target in targets if not any(name.endswith(f".{target}") for name in layers)]
    if missing:
        known = ", ".join(sorted({name.rpartition(".")[2] for name in layers}))
        raise UserError(
            f"The model has no linear layers named {', '.join(missing)}.",
            f"It has: {known}. Name some of them, or choose all-linear.",
        )


def make_trainer(
    recipe: Recipe,
    loaded: LoadedModel,
    learned: Sequence[EncodedExample],
    held_out: Sequence[EncodedExample],
    folder: Path,
) -> AnswerLossTrainer:
    """TRL's trainer for a prepared model, with checkpoints in `folder`. Raises UserError where packing cannot be."""
    from transformers import PrinterCallback
    from trl import SFTConfig

    from core.train.answer_loss import AnswerLossTrainer
    from core.train.batches import Collator, keeps_examples_apart, rows

    if recipe.packing and not keeps_examples_apart(loaded.model, loaded.tokenizer):
        raise UserError(f"In {recipe.model}, examples packed into one row would see each other.", "Switch packing off.")
    train_rows = rows(learned, recipe.max_length if recipe.packing else None)
    total = recipe.steps(len(train_rows))
    every = math.ceil(total / recipe.evaluations)
    config = SFTConfig(
        output_dir=str(folder),
        seed=recipe.seed,
        data_seed=recipe.seed,
        max_steps=total,
        per_device_train_batch_size=recipe.batch_size,
        per_device_eval_batch_size=recipe.batch_size,
        gradient_accumulation_steps=recipe.accumulation,
        learning_rate=recipe.learning_rate,
        lr_scheduler_type=recipe.schedule,
        warmup_steps=max(1, round(recipe.warmup * total)) if recipe.warmup else 0,
        weight_decay=recipe.weight_decay,
        max_grad_norm=recipe.max_grad_norm,
        max_length=None,
        dataset_kwargs={"skip_prepare_dataset": True},
        remove_unused_columns=False,
        logging_steps=1,
        logging_nan_inf_filter=False,
        eval_strategy="steps" if held_out else "no",
        eval_steps=every,
        save_strategy="steps",
        save_steps=every,
        save_total_limit=2,  # the best and the newest
        metric_for_best_model="eval_loss" if held_out else None,
        greater_is_better=False if held_out else None,
        restore_callback_states_from_checkpoint=bool(recipe.patience),
        disable_tqdm=True,
        **_device_arguments(recipe, loaded),
        **arguments(recipe.report_to, folder.name, get_settings().home),
    )
    # One run uses one GPU; transformers would spread it over all it sees, which TRL refuses.
    config._n_gpu = min(config.n_gpu, 1)
    trainer = AnswerLossTrainer(
        model=loaded.model,
        args=config,
        train_dataset=train_rows,
        eval_dataset=rows(held_out) if held_out else None,
        data_collator=Collator(loaded.tokenizer.pad_token_id),
        processing_class=loaded.tokenizer,
    )
    if loaded.device.type == "cpu":
        _full_precision(trainer.model)
    trainer.remove_callback(PrinterCallback)  # our own recorder has it all
    return trainer


def _device_arguments(recipe: Recipe, loaded: LoadedModel) -> dict[str, Any]:
    """What makes a run fast on a CPU, or small on a GPU.

    There, every block keeps one hidden state and computes the rest again (Chen et al. 2016), and with QLoRA, where
    memory is what is short, these states wait in the machine's own memory.
    """
    if loaded.device.type == "cpu":
        return {"use_cpu": True, "bf16": False, "gradient_checkpointing": False, "dataloader_pin_memory": False}
    # Unsloth's own checkpointing does the same.
    offload = recipe.method == "qlora" and recipe.engine == "trl"
    return {"bf16": True, "gradient_checkpointing": True, "activation_offloading": offload}


def _full_precision(model: Any) -> None:
    """TRL holds four-bit models' adapters in bf16, which a CPU only emulates: several times slower, and less exact."""
    import torch

    for parameter in model.parameters():
        if parameter.requires_grad and parameter.dtype == torch.bfloat16:
            parameter.data = parameter.data.float()
