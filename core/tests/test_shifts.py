"""Shifts of requantizations, and what a target says of modes."""

from dataclasses import replace

import numpy as np
import pytest
from fewbits.builtin.cpu import CpuTarget
from fewbits.builtin.uniform import UniformOptions, UniformQuantizer
from fewbits.errors import TargetError
from fewbits.interfaces import Context, Finding
from fewbits.model import Encoding, Precision
from fewbits.shifts import excess, shifts, within_left_shift, within_spread
from fewbits.targets import ShiftLimits, need_fit
from fewbits.testing.toys import TOYS, calibration
from hypothesis import given
from hypothesis import strategies as st

LIMITS = ShiftLimits(left={8: 8, 16: 16}, spread=2)
SCALES = st.floats(2.0**-60, 2.0**20, width=32)


def encoding(scale, bits=8):
    scale = np.asarray(scale, np.float32)
    zeros = np.zeros(scale.shape, np.int64)
    return Encoding(bits, False, scale, zeros, 0 if scale.ndim else None)


@given(SCALES, SCALES, SCALES)
def test_a_multiplier_is_a_mantissa_and_a_shift(weight, source, target):
    (shift,) = shifts(encoding(weight), encoding(source), encoding(target))
    mantissa = float(np.float32(weight)) * float(np.float32(source)) / float(np.float32(target))
    assert 0.5 <= mantissa * 2.0 ** int(shift) < 1


@given(st.lists(SCALES, min_size=1, max_size=6), SCALES, SCALES)
def test_raised_scales_share_a_shift_and_none_is_lowered(scales, source, target):
    given_ = encoding(scales)
    found = within_spread(given_, LIMITS)
    assert (found.scale >= given_.scale).all()
    assert found.scale.max() == given_.scale.max()
    assert excess(found, encoding(source), encoding(target), LIMITS).spread == 0


@given(SCALES, SCALES, SCALES, st.sampled_from([8, 15]))
def test_a_widened_range_needs_no_shift_beyond_the_limit(weight, source, target, bits):
    step = float(np.float32(weight)) * float(np.float32(source))
    found = within_left_shift(encoding(target, bits), step, LIMITS)
    assert found.scale >= np.float32(target)
    over = excess(encoding(weight), encoding(source), found, LIMITS)
    assert over.left <= 1  # a scale right at the limit


def test_without_limits_grids_stay_as_they_are():
    e = encoding([1.0, 1e-6])
    assert within_spread(e, None) is e
    assert within_left_shift(e, 1.0, None) is e


class Bound(CpuTarget):
    """A device on which all layers have the widest mode of any."""

    def spread(self, model, modes):
        widest = max(modes.values(), key=lambda mode: mode.activation_bits)
        return dict.fromkeys(modes, widest)


def test_the_quantizer_asks_the_target_how_modes_spread():
    model = TOYS["conv_chain"]()
    first = str(model.graph[0].name)
    options = UniformOptions(layers={first: "a16_w8"})
    done = UniformQuantizer(options).apply(model, Context(Bound(), calibration(model)))
    assert set(done.model.precisions.values()) == {Precision(16, 8)}
    asked = {note.layer: note.values.get("asked") for note in done.report.layers}
    assert asked.pop(first) is None
    assert set(asked.values()) == {"a8_w8"}


class Narrow(CpuTarget):
    """A device with limits of shifts and 15 bits in wide data, which may refuse Relu."""

    spec = replace(CpuTarget.spec, shifts=LIMITS, wide_bits=15)
    refuses = False

    def check(self, model):
        return [Finding("relu", "no Relu", "leave it out")] if self.refuses else []


def test_the_quantizer_uses_the_bits_that_wide_data_have_and_the_emulator_saturates_there():
    model = TOYS["residual"]()
    data = calibration(model)
    options = UniformOptions(precision="a16_w8")
    found = UniformQuantizer(options).apply(model, Context(Narrow(), data)).model
    assert {e.bits for n, e in found.encodings.items() if n in found.output_names} == {15}
    far = {name: x * 100 for name, x in data.inputs.items()}
    (name,) = found.output_names
    output = Narrow().emulator(found).run(far)[name]
    e = found.encodings[name]
    assert output.max() <= float(e.high) * 1.0001
    assert output.min() >= float(e.low) * 1.0001


def test_what_a_target_refuses_is_refused_before_any_work(monkeypatch):
    monkeypatch.setattr(Narrow, "refuses", True)
    model = TOYS["conv_chain"]()
    with pytest.raises(TargetError, match="cpu cannot run 'relu': no Relu") as caught:
        UniformQuantizer().apply(model, Context(Narrow(), calibration(model)))
    assert caught.value.hint == "leave it out"
    with pytest.raises(TargetError):
        need_fit(model, Narrow())
