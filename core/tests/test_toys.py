import numpy as np
import onnx_ir as ir
import pytest
from fewbits.errors import DataError
from fewbits.model import Stage
from fewbits.runtime import Session
from fewbits.testing import toys
from fewbits.testing.net import Net


@pytest.fixture(params=sorted(toys.TOYS))
def model(request):
    return toys.TOYS[request.param]()


def test_a_toy_looks_like_a_parsed_model(model):
    names = [node.name for node in model.graph]
    assert model.stage is Stage.PARSED
    assert model.network.opset_imports[""] == 21
    assert all(names)
    assert len(set(names)) == len(names)
    assert all(value.shape[0] == ir.SymbolicDim("N") for value in model.graph.inputs)
    for node in model.graph:
        assert all(value.shape is not None and value.dtype is not None for value in node.outputs)
    for value in model.graph.initializers.values():
        assert not value.const_value.numpy().flags.writeable


def test_a_toys_activations_stay_near_unit_variance_and_differ_between_samples(model):
    data = toys.calibration(model, 16)
    outputs = Session(model.network, threads=1).run(data.inputs)
    for value in outputs.values():
        assert np.isfinite(value).all()
        assert 0.05 < value.std() < 5
        assert np.std(value, axis=0).max() > 0.02


def test_a_toy_is_the_same_every_time(model):
    again = toys.TOYS[model.name]()
    for name, value in model.graph.initializers.items():
        held = again.graph.initializers[name].const_value.numpy()
        assert np.array_equal(value.const_value.numpy(), held)


def test_calibration_follows_the_seed_and_the_count():
    model = toys.two_inputs()
    data, same, other = (toys.calibration(model, 5, seed) for seed in (0, 0, 1))
    assert set(data.inputs) == {"left", "right"}
    assert len(data) == 5
    assert data.describe() == same.describe() != other.describe()


def test_calibration_names_the_input_whose_size_is_unknown():
    net = Net("free")
    net.output(net.op("Relu", net.input("image", 3, "H", "W")), 3, "H", "W")
    with pytest.raises(DataError, match="image"):
        toys.calibration(net.build())
