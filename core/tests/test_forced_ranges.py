"""Modes of inputs and outputs, ranges that are given, and statistics of part of the samples."""

import numpy as np
import pytest
from fewbits.builtin.cpu import CpuTarget
from fewbits.builtin.uniform import UniformOptions, UniformQuantizer
from fewbits.data import ArrayDataset
from fewbits.errors import DataError, RecipeError
from fewbits.interfaces import Context
from fewbits.numerics import encoding_from_range
from fewbits.testing import toys
from fewbits.testing.net import Net


def quantize(model, dataset=None, **options):
    context = Context(CpuTarget(), dataset or toys.calibration(model), threads=1)
    return UniformQuantizer(UniformOptions(**options)).apply(model, context).model


def bounds(encoding):
    return float(encoding.low), float(encoding.high)


def test_a_given_range_takes_the_place_of_the_statistics_and_of_them_alone():
    model = toys.conv_chain()
    free = quantize(model)
    forced = quantize(model, ranges={"conv_0": [-1.0, 3.0], "image": [0.0, 9.0]})
    relu = model.graph.node("conv_0").outputs[0].consumers()[0].outputs[0].name
    assert forced.encodings["image"].equals(encoding_from_range(0.0, 9.0, 8))
    assert forced.encodings[relu].equals(encoding_from_range(-1.0, 3.0, 8)), "its ReLU included"
    changed = {
        name
        for name, encoding in forced.encodings.items()
        if not encoding.equals(free.encodings[name])
    }
    assert {relu, "image"} <= changed
    assert model.output_names[0] not in changed


def test_a_given_range_has_the_bits_of_the_layer():
    forced = quantize(
        toys.conv_chain(), ranges={"conv_*": [-2.0, 2.0]}, layers={"conv_2": "a16_w8"}
    )
    found = [e for e in forced.encodings.values() if e.axis is None and not e.signed]
    wide = [e for e in found if e.bits == 16]
    assert [bounds(e) for e in wide] == [pytest.approx((-2.0, 2.0), abs=1e-3)]


def test_the_last_match_holds():
    model = toys.conv_chain()
    forced = quantize(model, ranges={"*": [-1.0, 1.0], "conv_4": [-4.0, 4.0]})
    last = forced.encodings[str(model.graph.node("conv_4").outputs[0].name)]
    assert bounds(last) == pytest.approx((-4.0, 4.0), abs=0.02)


def test_a_layer_s_range_is_that_behind_the_function_that_is_computed_by_table():
    net = Net("sigmoid")
    a = net.op("Sigmoid", net.conv(net.input("x", 2, 6, 6), 2, 2), name="gate")
    net.output(net.conv(a, 2, 2), 2, 6, 6)
    model = net.build()
    forced = quantize(model, ranges={"conv_0": [0.0, 1.0]})
    assert bounds(forced.encodings["gate_out"]) == pytest.approx((0.0, 1.0))
    assert bounds(forced.encodings["conv_0_out"]) != pytest.approx((0.0, 1.0))
    again = quantize(model, ranges={"gate": [0.0, 1.0]})
    assert again.encodings["gate_out"].equals(forced.encodings["gate_out"])


def test_an_output_is_named_itself_and_means_the_tensor_whose_encoding_it_has():
    net = Net("flat")
    a = net.op("Relu", net.conv(net.input("x", 2, 4, 4), 2, 2), name="relu")
    net.output(net.op("Flatten", a, name="flat"), 32)
    forced = quantize(net.build(), ranges={"flat_out": [0.0, 5.0]}, layers={"flat_out": "a16_w8"})
    assert forced.encodings["relu_out"].equals(encoding_from_range(0.0, 5.0, 16))
    assert forced.encodings["flat_out"].bits == 16
    assert forced.encodings["x"].bits == 8


def test_an_input_can_have_bits_of_its_own():
    model = toys.conv_chain()
    wide = quantize(model, layers={"image": "a16_w16"})
    assert wide.encodings["image"].bits == 16
    assert {str(mode) for mode in wide.precisions.values()} == {"a8_w8"}


@pytest.mark.parametrize(
    ("ranges", "said"),
    [
        ({"cnv_0": [0.0, 1.0]}, "no layer matches 'cnv_0'"),
        ({"conv_0": [1.0, 1.0]}, "must rise"),
        ({"soft": [0.0, 1.0]}, "'soft' has no range of its own"),
    ],
)
def test_a_range_for_what_has_none_is_refused(ranges, said):
    net = Net("soft")
    a = net.conv(net.input("x", 2, 4, 4), 2, 2)
    net.output(net.op("Softmax", a, name="soft"), 2, 4, 4)
    with pytest.raises(RecipeError if "rise" not in said else ValueError, match=said):
        quantize(net.build(), ranges=ranges)


def test_a_range_of_what_passes_values_on_is_that_of_who_wrote_them():
    net = Net("flat")
    a = net.op("Relu", net.conv(net.input("x", 2, 4, 4), 2, 2), name="relu")
    net.output(net.op("Flatten", a, name="flat"), 32)
    forced = quantize(net.build(), ranges={"flat": [0.0, 5.0]})
    assert forced.encodings["relu_out"].equals(encoding_from_range(0.0, 5.0, 8))


def test_statistics_are_taken_of_as_many_samples_as_are_asked_for():
    model = toys.conv_chain()
    held = toys.calibration(model).inputs["image"]
    loud = np.concatenate([held, 50.0 * held])
    some = quantize(model, ArrayDataset({"image": loud}), samples=len(held))
    every = quantize(model, ArrayDataset({"image": loud}))
    alone = quantize(model, ArrayDataset({"image": held}))
    assert some.encodings["image"].equals(alone.encodings["image"])
    assert not every.encodings["image"].equals(alone.encodings["image"])
    with pytest.raises(DataError, match="samples"):
        quantize(model, ArrayDataset({"image": held}), samples=len(held) + 1)
