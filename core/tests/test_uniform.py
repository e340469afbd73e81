from dataclasses import replace

import numpy as np
import pytest
from fewbits.builtin.cpu import CpuTarget
from fewbits.builtin.uniform import UniformOptions, UniformQuantizer
from fewbits.data import ArrayDataset
from fewbits.errors import DataError, RecipeError, TargetError
from fewbits.graph import constant, layers, set_constant
from fewbits.interfaces import Context
from fewbits.model import Precision, Stage
from fewbits.numerics import fake_quantize
from fewbits.runtime import Session
from fewbits.testing import toys
from fewbits.testing.inspection import snr_db
from fewbits.testing.net import Net


class _Untouched(ArrayDataset):
    def batches(self, size):
        raise AssertionError("nothing should be read")


class _Narrow(CpuTarget):
    spec = replace(
        CpuTarget.spec,
        precisions=frozenset({Precision(8, 8)}),
        granularities=frozenset({"per_tensor"}),
        weights="per_tensor",
        weighted_ops=frozenset({"Conv"}),
    )


def _context(model, target=None, dataset=None):
    data = toys.calibration(model) if dataset is None else dataset
    return Context(target or CpuTarget(), data, threads=1)


def _quantize(model, target=None, dataset=None, **options):
    quantizer = UniformQuantizer(UniformOptions(**options))
    return quantizer.apply(model, _context(model, target, dataset))


def _snr(model, quantized):
    """The worst output's signal-to-noise ratio in dB on the calibration data."""
    inputs = toys.calibration(model).inputs
    wanted = Session(model.network, threads=1).run(inputs)
    found = CpuTarget().emulator(quantized, threads=1).run(inputs)
    return min(snr_db(wanted[name], found[name]) for name in wanted)


@pytest.mark.parametrize("toy", sorted(toys.TOYS))
def test_weights_and_biases_lie_on_their_grids(toy):
    new = _quantize(toys.TOYS[toy]()).model
    assert new.stage is Stage.QUANTIZED
    for layer in layers(new.graph):
        for value in filter(None, (layer.weight, layer.bias)):
            array = constant(value)
            again = fake_quantize(array, new.encodings[str(value.name)])
            assert np.array_equal(again, array), value.name


@pytest.mark.parametrize("toy", sorted(toys.TOYS))
def test_more_bits_are_less_noise(toy):
    model = toys.TOYS[toy]()
    modes = ("a8_w4", "a8_w8", "a16_w8", "a16_w16")
    found = [_snr(model, _quantize(model, precision=mode).model) for mode in modes]
    assert found == sorted(found), dict(zip(modes, found, strict=True))
    assert found[-1] > found[1] + 20.0


def test_single_layers_get_their_own_mode_and_the_last_match_holds():
    model = toys.conv_chain()
    wanted = {"conv_*": "a8_w4", "conv_4": "a16_w8", "[!r]onv_0": "a16_w16"}
    new = _quantize(model, layers=wanted).model
    assert {name: str(mode) for name, mode in new.precisions.items()} == {
        "conv_0": "a16_w16",
        "conv_2": "a8_w4",
        "conv_4": "a16_w8",
    }
    weights = {one.name: new.encodings[str(one.weight.name)].bits for one in layers(new.graph)}
    outputs = {one.name: new.encodings[str(one.output.name)].bits for one in layers(new.graph)}
    assert weights == {"conv_0": 16, "conv_2": 4, "conv_4": 8}
    assert outputs == {"conv_0": 16, "conv_2": 8, "conv_4": 16}


def test_a_mode_of_an_add_is_the_bits_of_its_output():
    new = _quantize(toys.residual(), layers={"add_5": "a16_w8"}).model
    assert new.encodings["relu_6_out"].bits == 16
    assert new.encodings["relu_1_out"].bits == 8
    assert "add_5" not in new.precisions


def test_a_name_with_brackets_is_taken_as_it_stands():
    net = Net("brackets")
    x = net.op("Conv", net.input("x", 3, 4, 4), net.normal((2, 3, 1, 1), 3), name="conv[1]")
    net.output(x, 2, 4, 4)
    new = _quantize(net.build(), layers={"conv[1]": "a8_w4"}).model
    assert str(new.precisions["conv[1]"]) == "a8_w4"


def test_a_glob_that_matches_nothing_names_the_nearest_layer():
    model = toys.conv_chain()
    with pytest.raises(RecipeError, match="'konv_2'") as caught:
        _quantize(
            model,
            dataset=_Untouched({"image": np.zeros((1, 3, 12, 12))}),
            layers={"konv_2": "a8_w4"},
        )
    assert "conv_2" in caught.value.hint


@pytest.mark.parametrize("options", [{"precision": "a8_w4"}, {"layers": {"conv_0": "a8_w4"}}])
def test_a_mode_that_the_target_does_not_run_is_an_error_before_data_is_read(options):
    dataset = _Untouched({"image": np.zeros((1, 3, 12, 12), np.float32)})
    with pytest.raises(TargetError, match="a8_w4") as caught:
        _quantize(toys.conv_chain(), _Narrow(), dataset, **options)
    assert "a8_w8" in caught.value.hint


def test_a_granularity_that_the_target_lacks_is_an_error_before_data_is_read():
    dataset = _Untouched({"image": np.zeros((1, 3, 12, 12), np.float32)})
    with pytest.raises(TargetError, match="per_channel") as caught:
        _quantize(toys.conv_chain(), _Narrow(), dataset, weights="per_channel")
    assert "per_tensor" in caught.value.hint


def test_without_data_there_is_an_error():
    model = toys.gemm()
    with pytest.raises(DataError):
        UniformQuantizer().apply(model, Context(CpuTarget(), None))


@pytest.mark.parametrize(
    ("target", "weights", "channels"),
    [
        (CpuTarget, "target", True),
        (CpuTarget, "per_tensor", False),
        (CpuTarget, "per_channel", True),
        (_Narrow, "target", False),
    ],
)
def test_weights_have_a_scale_per_channel_or_one(target, weights, channels):
    new = _quantize(toys.conv_chain(), target(), weights=weights).model
    for layer in layers(new.graph):
        shape = new.encodings[str(layer.weight.name)].scale.shape
        assert shape == ((layer.out_channels,) if channels else ())


def test_a_layer_that_the_target_runs_in_float_is_left_alone():
    model = toys.two_outputs()
    result = _quantize(model, _Narrow())
    gemm = next(layer for layer in layers(result.model.graph) if layer.op_type == "Gemm")
    before = model.graph.initializers[str(gemm.weight.name)].const_value.numpy()
    assert np.array_equal(constant(gemm.weight), before)
    assert gemm.name not in result.model.precisions
    assert str(gemm.weight.name) not in result.model.encodings
    assert [n.layer for n in result.report.layers if n.action == "float"] == [gemm.name]


@pytest.mark.parametrize("shape", [(), (1,), (1, 5), (5,)])
def test_gemms_whose_bias_broadcasts_run_as_others_do(shape):
    net = Net("gemm")
    x = net.op("Flatten", net.input("x", 2, 3, 3))
    bias = net.constant(np.full(shape, 0.3, np.float32), "bias")
    net.output(net.op("Gemm", x, net.normal((18, 5), 18), bias), 5)
    model = net.build()
    assert _snr(model, _quantize(model).model) > 25.0


@pytest.mark.parametrize("corrected", [True, False])
def test_a_matmul_behind_a_reshape_is_quantized(corrected):
    net = Net("tokens")
    x = net.op("Relu", net.conv(net.input("x", 3, 6, 6), 3, 8))
    x = net.op("Reshape", x, net.constant(np.array([0, 8, 36])))
    net.output(net.op("MatMul", x, net.normal((36, 4), 36)), 8, 4)
    model = net.build()
    new = _quantize(model, bias_correction=corrected).model
    assert _snr(model, new) > 25.0


def test_a_shared_weight_gets_a_grid_for_each_of_its_layers_and_keeps_its_mask():
    model = toys.shared_weights()
    weight = model.graph.initializers["shared"].const_value.numpy()
    mask = np.random.default_rng(0).random(weight.shape) < 0.5
    model = model.replace(masks={"shared": mask})
    new = _quantize(model).model
    shared = [layer for layer in layers(new.graph) if layer.name in ("conv_2", "conv_4")]
    names = {str(layer.weight.name) for layer in shared}
    assert len(names) == 2
    assert all(np.array_equal(new.masks[name], mask) for name in names)
    assert names <= set(new.encodings)


def test_masked_weights_stay_zero():
    model = toys.conv_chain().copy()
    masks = {}
    for layer in list(layers(model.graph)):
        weight = constant(layer.weight)
        mask = np.random.default_rng(1).random(weight.shape) < 0.4
        set_constant(layer.weight, weight * mask)
        masks[str(layer.weight.name)] = mask
    new = _quantize(model.replace(masks=masks), precision="a8_w4").model
    for name, mask in new.masks.items():
        assert not constant(new.graph.initializers[name])[~mask].any()
    assert new.masks.keys() == masks.keys()


def test_the_float_model_is_remembered_and_not_changed():
    model = toys.residual()
    before = {n: v.const_value.numpy().tobytes() for n, v in model.graph.initializers.items()}
    new = _quantize(model).model
    assert new.at(Stage.PARSED) is model
    after = {n: v.const_value.numpy().tobytes() for n, v in model.graph.initializers.items()}
    assert before == after


def test_the_report_names_float_ops_with_their_share_of_the_work():
    model = toys.softmax()
    report = _quantize(model).report
    notes = [note for note in report.layers if note.action == "float"]
    assert [note.layer for note in notes] == ["softmax_5"]
    total = 12 * 12 * 8 * 27 + 8 * 12 * 12 + 72 + 72 + 72 * 5 + 5
    assert notes[0].values["share_of_work"] == pytest.approx(5 / total, abs=1e-6)
    assert "Softmax" in notes[0].reason
    assert report.metrics["float_ops"] == 1
    quantized = {note.layer for note in report.layers if note.action == "quantized"}
    assert quantized == {"conv_0", "gemm_4"}


@pytest.mark.parametrize("method", ["minmax", "percentile", "mse", "entropy"])
def test_every_way_to_a_range_gives_a_working_network(method):
    model = toys.residual()
    options = {"activation_range": method}
    if method == "percentile":
        options["percentile"] = 99.99
    assert _snr(model, _quantize(model, **options).model) > 20.0


def test_min_max_covers_exactly_what_was_seen():
    model = toys.conv_chain()
    dataset = toys.calibration(model)
    encoding = _quantize(model, dataset=dataset, activation_range="minmax").model.encodings["image"]
    image = dataset.inputs["image"]
    assert encoding.scale == np.float32((float(image.max()) - float(image.min())) / 255)


def test_a_lower_percentile_is_a_narrower_range():
    model = toys.conv_chain()
    widths = [
        _quantize(model, activation_range="percentile", percentile=p).model.encodings["image"].scale
        for p in (90.0, 99.0, 100.0)
    ]
    assert widths[0] < widths[1] < widths[2]


@pytest.mark.parametrize("toy", ["conv_chain", "gemm", "depthwise"])
def test_bias_correction_centres_the_error_of_the_first_layer(toy):
    model = toys.TOYS[toy]()
    dataset = toys.calibration(model, 64)
    for array in dataset.inputs.values():
        array += 1.0
    shifts = []
    for on in (False, True):
        result = _quantize(model, None, dataset, precision="a8_w4", bias_correction=on)
        shifts.append(_mean_error(model, result, dataset))
    assert shifts[1] < 0.35 * shifts[0]


def _mean_error(model, result, dataset):
    """The mean shift of the first layer's output, before its activation, on the same data."""
    first = next(layers(model.graph)).node.outputs[0].name
    outputs = []
    for network in (model.network.clone(), result.model.network.clone()):
        network.graph.outputs.append(
            next(v for node in network.graph for v in node.outputs if v.name == first)
        )
        outputs.append(Session(network, threads=1).run(dataset.inputs)[first])
    axes = tuple(a for a in range(outputs[0].ndim) if a != 1)
    return np.abs((outputs[1] - outputs[0]).mean(axis=axes)).mean()


def test_unknown_options_and_modes_are_refused():
    with pytest.raises(ValueError, match="a9_w9"):
        UniformOptions(precision="a9_w9")
    with pytest.raises(RecipeError, match="a9_w9"):
        _quantize(toys.gemm(), layers={"gemm_1": "a9_w9"})
