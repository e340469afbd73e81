"""Fake quantization in torch against the core's rounding, and its gradients against the paper's."""

import numpy as np
import pytest
from fewbits.model import Encoding
from fewbits.numerics import encoding_from_range
from fewbits.numerics import fake_quantize as by_numpy
from hypothesis import given
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

from fewbits.trainable.fakequant import fake_quantize, fake_quantize_weight  # noqa: E402


def grid(encoding):
    zero_point = int(encoding.zero_point)
    return encoding.qmin - zero_point, encoding.qmax - zero_point


def rounded(x, encoding, clip=(-np.inf, np.inf)):
    scale = torch.tensor(encoding.scale, requires_grad=True)
    given_ = torch.tensor(x, requires_grad=True)
    return given_, scale, fake_quantize(given_, scale, grid(encoding), clip)


@given(
    st.lists(st.floats(-20, 20, width=32), min_size=1, max_size=40),
    st.floats(-8, 0),
    st.floats(0.125, 8),
    st.sampled_from([4, 8, 16]),
)
def test_values_are_the_cores_own(values, low, high, bits):
    x, encoding = np.array(values, np.float32), encoding_from_range(low, high, bits)
    _, _, y = rounded(x, encoding)
    np.testing.assert_allclose(y.detach().numpy(), by_numpy(x, encoding), rtol=1e-6, atol=1e-30)


def test_a_clip_is_computed_before_the_rounding():
    x, encoding = np.linspace(-3, 9, 101, dtype=np.float32), encoding_from_range(-1, 7, 4)
    _, _, y = rounded(x, encoding, (0.0, 6.0))
    wanted = by_numpy(np.clip(x, 0.0, 6.0), encoding)
    np.testing.assert_allclose(y.detach().numpy(), wanted, rtol=1e-6)


def test_gradients_are_those_of_learned_step_size():
    """Esser et al. 2020, equations 2 and 3, written out."""
    encoding = encoding_from_range(-2.0, 5.0, 4)
    x = np.random.default_rng(0).normal(1.0, 4.0, (7, 5, 3)).astype(np.float32)
    incoming = np.random.default_rng(1).normal(size=x.shape).astype(np.float32)
    given_, scale, y = rounded(x, encoding)
    y.backward(torch.tensor(incoming))
    (low, high), ratio = grid(encoding), x / encoding.scale
    inside = (ratio >= low - 0.5) & (ratio <= high + 0.5)
    np.testing.assert_array_equal(given_.grad.numpy(), incoming * inside)
    towards = np.where(inside, np.rint(ratio) - ratio, np.clip(np.rint(ratio), low, high))
    assert float(scale.grad) == pytest.approx(float((incoming * towards).sum()), rel=1e-4)


def test_no_gradient_passes_a_clip_that_is_met():
    encoding = encoding_from_range(0.0, 10.0, 8)
    x = np.array([-1.0, 0.5, 5.9, 6.1, 20.0], np.float32)
    given_, _, y = rounded(x, encoding, (0.0, 6.0))
    y.sum().backward()
    assert given_.grad.tolist() == [0.0, 1.0, 1.0, 0.0, 0.0]


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_layout_in_memory_makes_no_difference(layout):
    """Values and gradients are the same for strided tensors of more than one block."""
    encoding = encoding_from_range(-1.0, 1.0, 8)
    plain = torch.randn(2, 96, 64, 48, generator=torch.Generator().manual_seed(0))
    results = []
    for x in (plain, plain.contiguous(memory_format=layout), plain.transpose(1, 2).transpose(1, 2)):
        x = x.clone(memory_format=torch.preserve_format).requires_grad_()
        scale = torch.tensor(encoding.scale, requires_grad=True)
        y = fake_quantize(x, scale, grid(encoding))
        (y * plain).sum().backward()
        results.append((y.detach(), x.grad, scale.grad))
    for other in results[1:]:
        assert torch.equal(results[0][0], other[0])
        assert torch.equal(results[0][1], other[1])
        torch.testing.assert_close(results[0][2], other[2], rtol=1e-4, atol=1e-2)


def test_weights_are_rounded_by_channel_with_gradients_to_both():
    weight = torch.tensor([[0.26, -9.0], [0.9, 0.1]], requires_grad=True)
    scale = torch.tensor([[0.5], [0.25]], requires_grad=True)
    y = fake_quantize_weight(weight, scale, 7)
    expected = by_numpy(
        weight.detach().numpy(),
        Encoding(4, True, np.array([0.5, 0.25]), np.zeros(2), axis=0, narrow=True),
    )
    np.testing.assert_array_equal(y.detach().numpy(), expected)
    y.sum().backward()
    assert weight.grad.tolist() == [[1.0, 0.0], [1.0, 1.0]]
    assert scale.grad.ravel().tolist() == pytest.approx([(1 - 0.52) - 7.0, (4 - 3.6) + (0 - 0.4)])
