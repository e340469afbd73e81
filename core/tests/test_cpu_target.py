import numpy as np
import onnx
import pytest
from fewbits.builtin.cpu import CpuTarget
from fewbits.builtin.uniform import UniformQuantizer
from fewbits.errors import TargetError
from fewbits.interfaces import Context
from fewbits.runtime import Session
from fewbits.testing import toys


def _quantized(toy):
    model = toys.TOYS[toy]()
    context = Context(CpuTarget(), toys.calibration(model), threads=1)
    return UniformQuantizer().apply(model, context).model


@pytest.mark.parametrize("toy", ["residual", "softmax", "matmul"])
def test_the_same_model_compiles_to_the_same_bytes(toy):
    assert CpuTarget().compile(_quantized(toy)) == CpuTarget().compile(_quantized(toy))


@pytest.mark.parametrize("toy", ["residual", "two_inputs", "gemm", "resize"])
def test_plain_onnx_runtime_computes_from_the_file_what_the_emulator_computes(toy):
    model = _quantized(toy)
    inputs = toys.calibration(model, 5, seed=3).inputs
    emulated = CpuTarget().emulator(model, threads=1).run(inputs)
    compiled = Session(CpuTarget().compile(model), threads=1).run(inputs)
    assert emulated.keys() == compiled.keys() == set(model.output_names)
    assert all(np.array_equal(emulated[name], compiled[name]) for name in emulated)


def test_the_file_is_valid_onnx_with_integers_for_weights():
    proto = onnx.load_from_string(CpuTarget().compile(_quantized("conv_chain")))
    onnx.checker.check_model(proto, full_check=True)
    kinds = {t.name: t.data_type for t in proto.graph.initializer if t.name.endswith("quantized")}
    eight = {onnx.TensorProto.INT8, onnx.TensorProto.UINT8}
    assert {kind in eight for name, kind in kinds.items() if "weight" in name} == {True}
    assert {kind for name, kind in kinds.items() if "bias" in name} == {onnx.TensorProto.INT32}


@pytest.mark.parametrize("use", ["compile", "emulator"])
def test_a_model_that_is_not_quantized_is_refused(use):
    with pytest.raises(TargetError, match="conv_chain is parsed") as caught:
        getattr(CpuTarget(), use)(toys.conv_chain())
    assert "optimize" in caught.value.hint


@pytest.mark.parametrize(
    ("toy", "names"), [("softmax", ["softmax_5"]), ("conv_chain", []), ("conv1d", ["reducemean_4"])]
)
def test_check_names_what_runs_in_float_and_nothing_is_fatal(toy, names):
    for model in (toys.TOYS[toy](), _quantized(toy)):
        findings = CpuTarget().check(model)
        assert [finding.layer for finding in findings] == names
        assert not any(finding.fatal for finding in findings)
