"""oneDNN's products against PyTorch's own: values, gradients, and which layers are changed."""

import copy

import pytest
import torch
from torch.testing import assert_close

from core.models.products import Linear, with_fast_products

BOTH_BIASES = pytest.mark.parametrize("bias", [False, True])
SHAPES = pytest.mark.parametrize("shape", [(1, 24), (7, 24), (2, 5, 24), (3, 1, 24)])


def pair(bias: bool) -> tuple[torch.nn.Linear, torch.nn.Linear]:
    plain = torch.nn.Linear(24, 40, bias=bias)
    return plain, with_fast_products(torch.nn.Sequential(copy.deepcopy(plain)))[0]


@BOTH_BIASES
@SHAPES
def test_values_are_the_same(shape: tuple[int, ...], bias: bool) -> None:
    plain, fast = pair(bias)
    rows = torch.randn(shape)
    assert isinstance(fast, Linear)
    with torch.inference_mode():
        assert_close(fast(rows), plain(rows), atol=1e-5, rtol=1e-5)


@BOTH_BIASES
@SHAPES
def test_gradients_are_the_same(shape: tuple[int, ...], bias: bool) -> None:
    found = []
    start, steer = torch.randn(shape), torch.randn((*shape[:-1], 40))
    for layer in pair(bias):
        rows = start.clone().requires_grad_()
        (layer(rows) * steer).sum().backward()
        assert rows.grad is not None
        assert layer.weight.grad is not None
        found.append([rows.grad, layer.weight.grad, *([layer.bias.grad] if bias else [])])
    for one, other in zip(*found, strict=True):
        assert_close(one, other, atol=1e-4, rtol=1e-4)


def test_a_frozen_weight_gets_no_gradient_and_keeps_no_rows() -> None:
    _, fast = pair(bias=False)
    fast.requires_grad_(False)
    rows = torch.randn(5, 24, requires_grad=True)
    product = fast(rows)
    assert product.grad_fn.saved_tensors[0] is None
    product.sum().backward()
    assert fast.weight.grad is None
    assert rows.grad is not None


@pytest.mark.parametrize("rows", [torch.randn(4, 24).t().contiguous().t(), torch.randn(8, 24)[::2], torch.empty(0, 24)])
def test_rows_that_lie_in_memory_in_other_ways(rows: torch.Tensor) -> None:
    plain, fast = pair(bias=True)
    assert_close(fast(rows), plain(rows), atol=1e-5, rtol=1e-5)


def test_gradients_that_are_spread_over_memory() -> None:
    """As that of a sum, which is one number seen many times."""
    for shape in ((3, 5, 24), (6, 24)):
        rows = torch.randn(shape, requires_grad=True)
        plain, fast = pair(bias=False)
        (expected,) = torch.autograd.grad(plain(rows).sum(), rows)
        (found,) = torch.autograd.grad(fast(rows).sum(), rows)
        assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_other_numbers_multiply_as_before() -> None:
    plain, fast = pair(bias=True)
    half = torch.randn(3, 24, dtype=torch.bfloat16)
    assert torch.equal(fast.to(torch.bfloat16)(half), plain.to(torch.bfloat16)(half))


def test_under_autocast_the_result_is_what_was_asked_for() -> None:
    _, fast = pair(bias=True)
    with torch.autocast("cpu", torch.bfloat16):
        assert fast(torch.randn(3, 24)).dtype == torch.bfloat16


def test_only_plain_layers_in_full_precision_are_changed() -> None:
    class Own(torch.nn.Linear):
        pass

    network = with_fast_products(torch.nn.Sequential(torch.nn.Linear(4, 4), Own(4, 4), torch.nn.Linear(4, 4).half()))
    assert [type(layer) for layer in network] == [Linear, Own, torch.nn.Linear]


def test_adapters_go_on_and_into_changed_layers() -> None:
    from peft import LoraConfig, get_peft_model
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    base = with_fast_products(LlamaForCausalLM(LlamaConfig(vocab_size=64, num_key_value_heads=2, **sizes)))
    tuned = get_peft_model(base, LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False)).eval()
    ids = torch.randint(0, 64, (2, 9))
    with torch.inference_mode():
        with_adapter = tuned(input_ids=ids).logits
        merged = tuned.merge_and_unload()
        assert any(type(layer) is Linear for layer in merged.modules())
        assert_close(merged(input_ids=ids).logits, with_adapter, atol=1e-4, rtol=1e-4)
