"""Matrix products in float32 on a processor, by oneDNN.

PyTorch brings two libraries along and asks MKL for these, which on processors that Intel did not make keeps to older,
slower instructions. On an AMD EPYC with AVX-512 oneDNN takes half to four fifths of its time, the less the more rows
there are (`python -m bench.products`).
"""

from __future__ import annotations

import os
from typing import Any

import torch
from torch.autograd.function import once_differentiable

# oneDNN writes a program for each kind of product and each number of rows, and two caches keep a thousand of them: half
# a gigabyte, though one takes a millisecond to write. A pass needs some five, and a few threads may be at work at once.
# Both caches ask for their size at the first product.
KEPT_PROGRAMS = "16"
for cache in ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY"):
    os.environ.setdefault(cache, KEPT_PROGRAMS)


def with_fast_products(network: Any) -> Any:
    """The same network, whose plain linear layers in float32 on a processor multiply by oneDNN from now on."""
    onednn: Any = torch.backends.mkldnn
    if onednn.is_available():
        for module in network.modules():
            # Not what is derived from it: quantised layers, for example, multiply in a way of their own.
            if type(module) is torch.nn.Linear and _fits(module.weight):
                module.__class__ = Linear
    return network


class Linear(torch.nn.Linear):
    """A linear layer that multiplies by oneDNN where it can, and everything else as its parent does."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        if not (_fits(input) and _fits(self.weight)) or torch.is_autocast_enabled("cpu"):
            return super().forward(input)
        if torch.is_grad_enabled():
            apply: Any = _Product.apply
            learned: torch.Tensor = apply(input, self.weight, self.bias)
            return learned
        return _product(input, self.weight, self.bias)


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        # Only a weight that learns needs its rows again, and they are most of a step's memory.
        ctx.save_for_backward(rows if ctx.needs_input_grad[1] else None, weight)
        return _product(rows, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        rows, weight = ctx.saved_tensors
        flat = gradient.reshape(-1, gradient.shape[-1])
        return (
            _product(gradient, weight.t()) if ctx.needs_input_grad[0] else None,
            _product(flat.t(), rows.reshape(-1, rows.shape[-1]).t()) if ctx.needs_input_grad[1] else None,
            flat.sum(0) if ctx.needs_input_grad[2] else None,
        )


def _fits(tensor: torch.Tensor) -> bool:
    return tensor.device.type == "cpu" and tensor.dtype == torch.float32


def _product(rows: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    """(..., inputs) and (outputs, inputs) to (..., outputs)."""
    product: torch.Tensor = torch.ops.mkldnn._linear_pointwise(rows, weight, bias, "none", [], "")
    return product
