"""The stand-in for the compiler is strict: what nobody documented fails."""

import numpy as np
import pytest
from fewbits.builtin.uniform import UniformQuantizer
from fewbits.interfaces import Context
from fewbits.testing import toys
from fewbits_hailo.floatnet import float_network, to_onnx
from fewbits_hailo.target import Hailo8

CALIBRATION = np.zeros((4, 12, 12, 3), np.float32)
SHAPES = {"image": [1, 3, 12, 12]}


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    model = toys.conv_chain()
    context = Context(Hailo8(), toys.calibration(model), threads=1)
    network = float_network(UniformQuantizer().apply(model, context).model).network
    path = tmp_path_factory.mktemp("net") / "net.onnx"
    path.write_bytes(to_onnx(network))
    return str(path)


@pytest.fixture
def runner(compiler):
    return compiler.ClientRunner(hw_arch="hailo8")


@pytest.fixture
def translated(runner, file):
    runner.translate_onnx_model(file, "net", end_node_names=["conv_4"], net_input_shapes=SHAPES)
    return runner


def test_the_documented_order_makes_a_file(translated):
    translated.load_model_script("model_optimization_flavor(optimization_level=0)\n")
    translated.optimize_full_precision(calib_data=CALIBRATION)
    translated.optimize(CALIBRATION)
    assert translated.compile()


@pytest.mark.parametrize(
    "arguments",
    [
        {"net_name": "two words"},
        {"start_node_names": ["nobody"]},
        {"end_node_names": ["nobody"]},
        {"net_input_shapes": {"image": [1, 12, 12, 3]}},
        {"net_input_shapes": {"other": [1, 3, 12, 12]}},
    ],
)
def test_names_and_shapes_must_be_the_networks(runner, file, arguments):
    with pytest.raises(ValueError, match=r"."):
        runner.translate_onnx_model(file, **arguments)


def test_unknown_arguments_and_devices_fail(compiler, runner, file):
    with pytest.raises(TypeError):
        runner.translate_onnx_model(file, input_shape=[1])
    with pytest.raises(TypeError):
        runner.translate_onnx_model(model=file, name="net")
    with pytest.raises(ValueError, match="hailo9"):
        compiler.ClientRunner(hw_arch="hailo9")


def test_the_order_of_states_matters(compiler, runner, translated):
    late = compiler.InvalidStateException
    fresh = compiler.ClientRunner(hw_arch="hailo8")
    for act in (
        fresh.compile,
        fresh.get_hn_dict,
        translated.compile,
        lambda: fresh.optimize(CALIBRATION),
        lambda: fresh.load_model_script(""),
        lambda: fresh.save_har("x.har"),
    ):
        with pytest.raises(late):
            act()
    translated.optimize(CALIBRATION)
    with pytest.raises(late):
        translated.load_model_script("")


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (CALIBRATION.astype(np.float64), TypeError),
        (CALIBRATION.astype(np.uint8), TypeError),
        (np.moveaxis(CALIBRATION, -1, 1), ValueError),
        (CALIBRATION[0], ValueError),
        ({"image": CALIBRATION}, ValueError),
        ([CALIBRATION], ValueError),
    ],
)
def test_samples_are_float32_channels_last_by_input_layer(translated, data, error):
    with pytest.raises(error):
        translated.optimize(data)
    assert translated.optimize({"net/input_layer1": CALIBRATION}) is None


def test_enough_samples_must_come(translated):
    translated.load_model_script("model_optimization_config(calibration, calibset_size=5)")
    with pytest.raises(ValueError, match="calibset_size is 5, and 4"):
        translated.optimize(CALIBRATION)


@pytest.mark.parametrize(
    "line",
    [
        "quantization_param(conv9, precision_mode=a8_w4)",
        "quantization_param(conv1, precision_mode=a4_w4)",
        "quantization_param(conv1, precision=a8_w4)",
        "quantization_param([conv1, conv9], precision_mode=a8_w4)",
        "quantization_param(conv1, force_range_out=[1.0, 0.0])",
        "quantization_param(conv1, force_range_out=[0.0])",
        "quantization_param(conv1, force_range_out=[0.0, 1.0)",
        "pre_quantization_optimization(equalisation, policy=disabled)",
        "post_quantization_optimization(ibc, policy=disabled)",
        "model_optimization_flavor(level=0)",
        "no_such_command(x)",
        "performance_param compiler_optimization_level=max",
    ],
)
def test_bad_lines_fail(translated, line):
    with pytest.raises(ValueError, match=r"."):
        translated.load_model_script(line)
