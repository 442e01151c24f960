import pytest
import torch

from gem_core.method.precision import computing, product_dtype

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("precision", "device", "expected"),
    [
        ("float32", "cuda", None),
        ("float32", "cpu", None),
        ("bfloat16", "cpu", torch.bfloat16),
        ("auto", "cuda", torch.bfloat16),
        ("auto", "cpu", torch.bfloat16 if torch.cpu.get_capabilities().get("amx_bf16") else None),
    ],
)
def test_precision_of_products(precision, device, expected):
    assert product_dtype(precision, torch.device(device)) == expected


@pytest.mark.parametrize(("dtype", "expected"), [(None, torch.float32), (torch.bfloat16, torch.bfloat16)])
def test_products_are_made_in_it(dtype, expected):
    one = torch.randn(4, 4)
    with computing(CPU, dtype):
        assert (one @ one).dtype == expected
    assert (one @ one).dtype == torch.float32


def test_attention_is_the_same_whichever_way_it_is_composed():
    query = torch.randn(2, 2, 9, 8)
    expected = torch.nn.functional.scaled_dot_product_attention(query, query, query, is_causal=True)
    with computing(CPU, torch.bfloat16):
        result = torch.nn.functional.scaled_dot_product_attention(query, query, query, is_causal=True)
    assert torch.allclose(result.float(), expected, atol=0.05)
