"""oneDNN's products against torch's own."""

import pytest
import torch
from torch.nn import functional
from torch.profiler import ProfilerActivity, profile

from gem_core.method.products import LEAST_ROWS, OneDnnProducts, fast_products

pytestmark = pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="torch without oneDNN")


def called(run):
    """The names of the operators that ran."""
    with profile(activities=[ProfilerActivity.CPU]) as profiled:
        run()
    return {event.name for event in profiled.events()}


def tensors(*shapes, dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(shape, generator=generator).to(dtype) for shape in shapes]


@pytest.mark.parametrize("shape", [(LEAST_ROWS, 24), (3, 7, 24), (2, 3, 5, 24)])
@pytest.mark.parametrize("with_bias", [False, True])
def test_products_and_their_gradients_are_those_of_torch(shape, with_bias):
    found = []
    for products in (torch.no_grad, OneDnnProducts):
        given, weight, bias = (part.requires_grad_() for part in tensors(shape, (40, 24), (40,)))
        with OneDnnProducts() if products is OneDnnProducts else torch.enable_grad():
            product = functional.linear(given, weight, bias if with_bias else None)
            product.square().sum().backward()
        found.append([product, given.grad, weight.grad, bias.grad])
    for plain, ours in zip(*found, strict=True):
        assert (plain is None) == (ours is None)
        if plain is not None:
            torch.testing.assert_close(ours, plain, rtol=1e-5, atol=1e-4)


def test_a_linear_layer_is_sent_to_onednn_and_few_rows_are_not():
    layer = torch.nn.Linear(24, 40)
    many, few = tensors((LEAST_ROWS, 24), (LEAST_ROWS - 1, 24))
    with OneDnnProducts():
        assert "mkldnn::_linear_pointwise" in called(lambda: layer(many))
        assert "mkldnn::_linear_pointwise" not in called(lambda: layer(few))
    assert "mkldnn::_linear_pointwise" not in called(lambda: layer(many))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_other_precisions_are_left_alone(dtype):
    given, weight = tensors((32, 24), (40, 24), dtype=dtype)
    with OneDnnProducts():
        assert torch.equal(functional.linear(given, weight), given @ weight.t())


def test_a_result_may_be_changed_in_place():
    given, weight, rows = (part.requires_grad_() for part in tensors((2, 16, 24), (40, 24), (3, 40)))
    with OneDnnProducts():
        product = functional.linear(given, weight)
    product.view(32, 40).index_add_(0, torch.tensor([1, 5, 9]), rows)
    product.sum().backward()
    assert torch.equal(rows.grad, torch.ones(3, 40))
    torch.testing.assert_close(given.grad, weight.sum(dim=0).expand(2, 16, -1), rtol=1e-5, atol=1e-5)


def test_a_frozen_weight_has_no_gradient_and_its_input_is_not_kept():
    given, weight = tensors((32, 24), (40, 24))
    given.requires_grad_()
    with OneDnnProducts():
        product = functional.linear(given, weight)
    (kept, _), *_ = product.grad_fn.next_functions
    assert kept.saved_tensors[0] is None
    product.sum().backward()
    assert weight.grad is None
    torch.testing.assert_close(given.grad, weight.sum(dim=0).expand(32, -1), rtol=1e-5, atol=1e-5)


def test_other_devices_and_precisions_keep_their_own():
    (given,) = tensors((32, 24))
    layer = torch.nn.Linear(24, 40)
    for device, dtype in ((torch.device("cuda"), torch.float32), (torch.device("cpu"), torch.bfloat16)):
        with fast_products(device, dtype):
            assert "mkldnn::_linear_pointwise" not in called(lambda: layer(given))
