"""Hailo's targets: their table, their numerics to the bit, what they refuse and why."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fewbits.builtin.onnx_frontend import OnnxFrontend
from fewbits.builtin.uniform import UniformOptions, UniformQuantizer
from fewbits.data import ArrayDataset
from fewbits.errors import TargetError
from fewbits.executor import Executor
from fewbits.graph import layers
from fewbits.integer.units import units
from fewbits.interfaces import Context
from fewbits.model import Precision, Stage
from fewbits.shifts import shifts
from fewbits.testing.net import Net
from fewbits.testing.target import TargetContract
from fewbits.testing.toys import TOYS, calibration
from fewbits_hailo import target as targets
from fewbits_hailo.devices import DEVICES
from fewbits_hailo.target import Hailo8, Hailo15H, HailoTarget

SHARED = Path(__file__).resolve().parents[3].parent / "shared"
PAGE = Path(__file__).resolve().parents[3] / "docs" / "hailo.md"
ALL = [getattr(targets, device.title.replace("-", "")) for device in DEVICES]


class TestHailo8(TargetContract):
    """The contract, with the stand-in for Hailo's compiler."""

    toys = ("residual", "concat", "se_block", "pooling", "silu", "gemm", "two_inputs")

    @pytest.fixture(autouse=True)
    def _compiler(self, compiler):
        """Put the stand-in where the compiler would be."""

    @pytest.fixture
    def target(self):
        return Hailo8()

    def test_emulator_computes_what_the_compiled_file_computes(self, target, quantized):
        """A HEF runs on the device alone: the emulator is held against the executor instead."""
        inputs = calibration(quantized, 8, seed=2).inputs
        emulated = target.emulator(quantized, threads=1).run(inputs)
        stated = Executor(quantized, target.spec.arithmetic).run(inputs)
        assert set(emulated) == set(stated)
        for name, array in emulated.items():
            np.testing.assert_array_equal(array, stated[name])


def quantized(model, target=None, data=None, **options):
    context = Context(target or Hailo8(), data or calibration(model), threads=1)
    return UniformQuantizer(UniformOptions(**options)).apply(model, context)


@pytest.mark.parametrize("device", ALL)
def test_every_device_runs_a_network_to_the_bit(device):
    target = device()
    model = quantized(TOYS["se_block"](), target).model
    assert target.check(model) == []
    inputs = dict(calibration(model, 4, seed=1).inputs)
    (emulated,) = target.emulator(model, threads=1).run(inputs).values()
    (stated,) = Executor(model, target.spec.arithmetic).run(inputs).values()
    np.testing.assert_array_equal(emulated, stated)


def test_targets_follow_the_table():
    for device, target in zip(DEVICES, ALL, strict=True):
        assert issubclass(target, HailoTarget)
        assert target.name == device.name
        assert target.spec.wide_bits == device.activation_bits.value
        assert {str(mode) for mode in target.spec.precisions} == set(device.precisions.value)
        assert not target.spec.float_ops


@pytest.mark.parametrize("device", DEVICES, ids=lambda device: device.name)
def test_the_page_shows_the_table(device):
    page = PAGE.read_text()
    assert f"`{device.name}`" in page
    for name, fact in device.facts.items():
        (line,) = [x for x in page.splitlines() if x.startswith(f"| `{name}`")]
        for said in (fact.certainty, fact.source):
            assert said in line, (name, said)


def test_16_bit_activations_use_15():
    model = quantized(TOYS["residual"](), precision="a16_w16").model
    computed = {str(v.name) for node in model.graph for v in node.outputs}
    assert {model.encodings[n].bits for n in computed & set(model.encodings)} == {15}


def test_16_bits_spread_through_a_block_and_the_report_says_so():
    model = TOYS["concat"]()
    convs = [layer.name for layer in layers(model.graph)]
    done = quantized(model, layers={convs[1]: "a16_w8"})
    modes = {name: str(mode) for name, mode in done.model.precisions.items()}
    assert modes[convs[1]] == modes[convs[2]] == "a16_w8"
    assert modes[convs[0]] == modes[convs[3]] == "a8_w8"
    notes = {note.layer: note.values for note in done.report.layers}
    assert notes[convs[2]] == {"precision": "a16_w8", "asked": "a8_w8"}
    assert "drawn along" in done.report.summary
    assert Hailo8().check(done.model) == []


def test_both_sides_of_a_sum_are_equally_wide():
    model = TOYS["residual"]()
    names = [layer.name for layer in layers(model.graph)]
    modes = dict.fromkeys((str(n.name) for n in model.graph), Precision(8, 4))
    found = Hailo8().spread(model, {**modes, names[2]: Precision(16, 16)})
    assert found[names[0]] == Precision(16, 8)
    assert found[names[1]] == Precision(8, 4)


def attention():
    net = Net("attention")
    x = net.op("MatMul", net.input("tokens", 6, 8), net.normal((8, 8), 8))
    net.output(net.op("MatMul", x, net.op("Transpose", x, perm=[0, 2, 1])), 6, 6)
    return net.build()


def test_hailo8_multiplies_matrices_of_8_bits_only():
    model = attention()
    first = str(model.graph[0].name)
    with pytest.raises(
        TargetError, match=f"8 bits only: .* reads 16 bits from '{first}'"
    ) as caught:
        quantized(model, layers={first: "a16_w16"})
    assert "a8_w8" in caught.value.hint
    wide = quantized(model, Hailo15H(), layers={first: "a16_w16"}).model
    assert Hailo15H().check(wide) == []
    (finding,) = Hailo8().check(wide)
    assert "8 bits only" in finding.limit


def single(op, *inputs, **attributes):
    net = Net("single")
    x = net.op("Relu", net.conv(net.input("image", 3, 6, 6), 3, 4))
    net.output(
        net.op(op, x, *[net.constant(c) if c else "" for c in inputs], **attributes), 4, "h", "w"
    )
    return net.build()


UNFIT = {
    "no InstanceNormalization": lambda: single("InstanceNormalization", [1.0] * 4, [0.0] * 4),
    "nearest element": lambda: single("Resize", None, [1.0, 1.0, 1.5, 1.5], mode="linear"),
    "no LRN": lambda: single("LRN", size=3),
}


@pytest.mark.parametrize("limit", UNFIT)
def test_what_does_not_fit_is_found_before_any_work(limit):
    model = UNFIT[limit]()
    (finding,) = Hailo8().check(model)
    assert limit in finding.limit
    assert finding.layer == str(list(model.graph)[-1].name)
    assert "--end-node-names" in finding.remedy
    assert finding.fatal
    with pytest.raises(TargetError, match="hailo8 cannot run") as caught:
        quantized(model)
    assert caught.value.hint == finding.remedy


def test_inputs_must_be_fixed_and_float():
    net = Net("free")
    net.output(net.conv(net.input("image", 3, "h", "w"), 3, 4), 4, "h", "w")
    (finding,) = Hailo8().check(net.build())
    assert (finding.layer, "fixed" in finding.limit) == ("image", True)
    assert "--input-shape" in finding.remedy


def test_constants_may_differ_along_one_axis():
    grid = [[[[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]], [[2.0] * 6], [[3.0] * 6], [[4.0] * 6]]]
    (finding,) = Hailo8().check(single("Mul", grid))
    assert "several axes" in finding.limit


def test_a_network_quantized_for_another_device_is_refused():
    from fewbits.builtin.cpu import CpuTarget

    model = quantized(TOYS["softmax"](), CpuTarget()).model
    limits = [finding.limit for finding in Hailo8().check(model)]
    assert any("left in float" in limit for limit in limits)
    with pytest.raises(TargetError):
        Hailo8().emulator(model)


def uneven():
    """Channels whose weights differ a thousandfold."""
    net = Net("uneven")
    weight = np.asarray(net_weight(), np.float32)
    x = net.op("Relu", net.conv(net.input("image", 3, 6, 6), 3, 4, weight=net.constant(weight)))
    net.output(net.conv(x, 4, 4), 4, 6, 6)
    return net.build()


def net_weight():
    rng = np.random.default_rng(0)
    return rng.normal(size=(4, 3, 3, 3)) * np.array([1.0, 0.1, 0.01, 0.001]).reshape(4, 1, 1, 1)


def layer_shifts(model):
    held = model.encodings
    for unit in units(model):
        if unit.layer is not None:
            yield shifts(
                held[str(unit.layer.weight.name)],
                held[str(unit.layer.input.name)],
                held[str(unit.output.name)],
            )


def test_the_quantizer_keeps_the_channels_of_a_layer_within_the_shift():
    model = quantized(uneven()).model
    assert max(int(s.max() - s.min()) for s in layer_shifts(model)) == 2
    assert Hailo8().check(model) == []


def scaled(model, name, factor):
    held = model.encodings[name]
    scale = np.asarray(held.scale * np.asarray(factor, np.float32), np.float32)
    return model.replace(encodings={**model.encodings, name: replace(held, scale=scale)})


def test_shifts_that_lie_apart_are_named_with_the_remedy():
    model = quantized(TOYS["conv_chain"]()).model
    layer = next(layers(model.graph))
    factors = np.ones(layer.out_channels)
    factors[0] = 2.0**-7
    (finding,) = Hailo8().check(scaled(model, str(layer.weight.name), factors))
    assert finding.layer == layer.name
    assert "bits apart, and hailo8 allows 2" in finding.limit
    assert "-p equalization" in finding.remedy


def test_a_range_too_narrow_for_its_layer_is_named_with_the_remedy():
    model = quantized(TOYS["conv_chain"]()).model
    last = list(layers(model.graph))[-1]
    (finding,) = Hailo8().check(scaled(model, str(last.output.name), 2.0**-20))
    assert finding.layer == last.name
    assert "shifts by 8 at most" in finding.limit
    for remedy in ("-p equalization", f"ranges.{last.name}", f"layers.{last.name}=a16_w16"):
        assert remedy in finding.remedy


def test_the_quantizer_widens_the_range_of_a_layer_that_hardly_moves():
    model = TOYS["conv_chain"]()
    data = ArrayDataset({"image": np.zeros((4, 3, 12, 12), np.float32)})
    found = quantized(model, data=data).model
    assert Hailo8().check(found) == []


REAL = (
    "resnet20_cifar10_bn",
    "mobilenetv1_025_vww96_mlperftiny",
    "ch_ppocr_mobile_v2.0_cls_infer",
    "FastestDet",
    "efficientnet_lite0",
)


@pytest.mark.slow
@pytest.mark.skipif(not SHARED.exists(), reason="the shared networks are not here")
@pytest.mark.parametrize("device", [Hailo8, Hailo15H])
@pytest.mark.parametrize("name", REAL)
def test_real_networks_agree_to_the_bit(name, device):
    shape = (1, 3, 48, 192) if "ppocr" in name else None
    reader = OnnxFrontend(OnnxFrontend.Options(input_shape=shape))
    model = reader.parse(SHARED / "models" / f"{name}.onnx")
    (entry,) = model.graph.inputs
    sizes = [size for size in list(entry.shape or ())[1:] if isinstance(size, int)]
    pictures = np.random.default_rng(0).normal(size=(10, *sizes)).astype(np.float32)
    target, key = device(), str(entry.name)
    found = quantized(model, target, ArrayDataset({key: pictures[:8]})).model
    assert found.stage is Stage.QUANTIZED
    emulated = target.emulator(found).run({key: pictures[8:]})
    for name_, array in Executor(found, target.spec.arithmetic).run({key: pictures[8:]}).items():
        np.testing.assert_array_equal(emulated[name_], array)
