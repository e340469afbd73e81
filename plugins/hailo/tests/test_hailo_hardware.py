"""Running a HEF, against a stand-in for HailoRT whose device computes in ONNX Runtime."""

import sys
import types

import numpy as np
import pytest
from fewbits.builtin.uniform import UniformQuantizer
from fewbits.errors import TargetError
from fewbits.interfaces import Context
from fewbits.runtime import Session
from fewbits.testing import Net, toys
from fewbits_hailo.hardware import need_platform
from fewbits_hailo.target import Hailo8, Hailo15H


def quantized(model, **options):
    context = Context(Hailo8(), toys.calibration(model), threads=1)
    return UniformQuantizer(UniformQuantizer.Options(**options)).apply(model, context).model


def hef_of(model, tmp_path, target=None):
    path = tmp_path / "net.hef"
    path.write_bytes((target or Hailo8()).compile(model, toys.calibration(model, 8, seed=3)))
    return path


@pytest.fixture
def both(compiler, platform):
    """Both of Hailo's packages, as stand-ins."""
    return compiler, platform


@pytest.mark.parametrize(
    "toy", ["conv_chain", "residual", "gemm", "two_inputs", "two_outputs", "pooling"]
)
def test_outputs_come_back_named_and_laid_out_as_the_model_has_them(toy, both, tmp_path):
    model = quantized(toys.TOYS[toy]())
    inputs = toys.calibration(model, 5, seed=2).inputs
    runner = Hailo8().device(model, hef_of(model, tmp_path))
    found = runner.run(inputs)
    # The stand-in's device rounds the inputs alone; the weights stand on their grids already.
    rounded = {n: _rounded(x, model.encodings.get(n)) for n, x in inputs.items()}
    expected = Session(model.network, threads=1).run(rounded)
    assert list(found) == list(model.output_names)
    for name, array in expected.items():
        assert found[name].dtype == np.float32
        np.testing.assert_allclose(found[name], array, rtol=1e-4, atol=1e-4)
    runner.close()


def _rounded(array, encoding):
    if encoding is None:
        return array
    q = np.clip(np.rint(array / encoding.scale) + encoding.zero_point, 0, 255)
    return ((q - encoding.zero_point) * encoding.scale).astype(np.float32)


def test_pictures_with_channels_last_go_in_as_they_are(both, tmp_path):
    net = Net("turned")
    x = net.op("Transpose", net.input("image", 6, 8, 3), perm=[0, 3, 1, 2])
    net.output(net.op("Relu", net.conv(x, 3, 4)), 4, 6, 8)
    model = quantized(net.build())
    runner = Hailo8().device(model, hef_of(model, tmp_path))
    inputs = toys.calibration(model, 3, seed=2).inputs
    (found,) = runner.run(inputs).values()
    (expected,) = Session(model.network, threads=1).run(inputs).values()
    runner.close()
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() < 0.1 * np.abs(expected).max()


def test_whole_numbers_go_in_as_float(both, tmp_path):
    model = quantized(toys.conv_chain())
    runner = Hailo8().device(model, hef_of(model, tmp_path))
    ones = {"image": np.ones((2, 3, 12, 12), np.uint8)}
    (found,) = runner.run(ones).values()
    (again,) = runner.run({"image": ones["image"].astype(np.float32)}).values()
    runner.close()
    assert np.array_equal(found, again)


def test_the_device_is_given_back(both, tmp_path):
    _, platform = both
    model = quantized(toys.conv_chain())
    runner = Hailo8().device(model, hef_of(model, tmp_path))
    assert platform.VDevice.opened == 1
    runner.close()
    assert platform.VDevice.opened == 0
    with pytest.raises(TargetError, match="not activated"):
        runner.run(toys.calibration(model, 1).inputs)


def test_without_the_package_the_error_names_it(no_hailo):
    with pytest.raises(TargetError, match=r"hailo_platform is not installed") as caught:
        Hailo8().device(quantized(toys.conv_chain()))
    assert "--target emulator" in caught.value.hint


def test_without_a_device_the_error_says_so(platform, monkeypatch):
    monkeypatch.setattr(platform, "DEVICES", [])
    with pytest.raises(TargetError, match="finds no device, and hailo8") as caught:
        Hailo8().device(quantized(toys.conv_chain()))
    assert "hailortcli scan" in caught.value.hint


def test_a_package_that_cannot_be_imported_is_named(monkeypatch):
    broken = types.ModuleType("hailo_platform")
    broken.__spec__ = types.SimpleNamespace(loader=None)

    def fail(name):
        raise OSError("libhailort.so.4: no such file")

    monkeypatch.setitem(sys.modules, "hailo_platform", broken)
    monkeypatch.setattr("importlib.import_module", fail)
    with pytest.raises(TargetError, match=r"cannot be imported.*libhailort\.so"):
        need_platform("hailo8")


def test_a_file_is_needed(platform, tmp_path):
    model = quantized(toys.conv_chain())
    with pytest.raises(TargetError, match="No HEF was given") as caught:
        Hailo8().device(model)
    assert "--hef" in caught.value.hint
    with pytest.raises(TargetError, match=r"no file .*absent\.hef"):
        Hailo8().device(model, tmp_path / "absent.hef")


def test_a_file_for_another_device_is_refused(both, tmp_path):
    _, platform = both
    model = quantized(toys.conv_chain())
    path = hef_of(model, tmp_path, Hailo15H())
    with pytest.raises(TargetError, match="another device"):
        Hailo8().device(model, path)
    assert platform.VDevice.opened == 0


def test_a_file_that_is_none_is_refused(platform, tmp_path):
    path = tmp_path / "net.hef"
    path.write_bytes(b"nothing")
    with pytest.raises(TargetError, match="Invalid HEF"):
        Hailo8().device(quantized(toys.conv_chain()), path)


@pytest.mark.parametrize("other", ["two_inputs", "two_outputs", "gemm"])
def test_a_file_of_another_model_is_refused(other, both, tmp_path):
    path = hef_of(quantized(toys.TOYS[other]()), tmp_path)
    model = quantized(toys.conv_chain())
    with pytest.raises(TargetError) as caught:
        Hailo8().device(model, path).run(toys.calibration(model, 1).inputs)
    assert "--hef" in caught.value.hint


def test_streams_are_told_apart_by_their_nodes_not_by_their_order(both, tmp_path, monkeypatch):
    _, platform = both
    model = quantized(toys.two_outputs())
    path = hef_of(model, tmp_path)
    inputs = toys.calibration(model, 2, seed=2).inputs
    straight = Hailo8().device(model, path)
    expected = straight.run(inputs)
    straight.close()
    names = platform.HEF.get_sorted_output_names
    monkeypatch.setattr(platform.HEF, "get_sorted_output_names", lambda hef: names(hef)[::-1])
    turned = Hailo8().device(model, path)
    found = turned.run(inputs)
    turned.close()
    assert all(np.array_equal(found[name], array) for name, array in expected.items())


def test_boxes_of_non_maximum_suppression_are_refused(both, tmp_path, monkeypatch):
    _, platform = both
    path = hef_of(quantized(toys.conv_chain()), tmp_path)
    infos = platform.HEF.get_output_vstream_infos(platform.HEF(str(path)))
    infos[0].format.order = platform.FormatOrder.HAILO_NMS
    monkeypatch.setattr(platform.HEF, "get_output_vstream_infos", lambda hef: infos)
    with pytest.raises(TargetError, match="non-maximum suppression"):
        Hailo8().device(quantized(toys.conv_chain()), path)
