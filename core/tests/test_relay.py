"""A changed layer gives what the whole changed network gives, wherever the cut lies."""

import numpy as np
import pytest
from fewbits.graph import constant, layers, set_constant, show
from fewbits.relay import Relay
from fewbits.runtime import Session
from fewbits.testing import toys


def doubled(name):
    def change(network):
        value = network.graph.initializers[name]
        set_constant(value, np.asarray(constant(value)) * np.float32(2.0))
        return network

    return change


@pytest.mark.parametrize("toy", sorted(toys.TOYS))
@pytest.mark.parametrize("limit", [0, 20_000, 256 << 20])
def test_every_layer_changed_alone(toy, limit):
    model = toys.TOYS[toy]()
    data = toys.calibration(model, 6)
    session = Session(model.network, threads=1)
    reference = [session.run(batch.inputs) for batch in data.batches(4)]
    relay = Relay(model.network, data, reference, 4, threads=1, limit=limit)
    for layer in layers(model.graph):
        change = doubled(str(layer.weight.name))
        whole = Session(change(model.copy().network), threads=1)
        if toy == "shared_weights" and layer.weight.name == "shared":
            continue  # a later reader alone would be changed: layers have weights of their own
        for batch, found in zip(data.batches(4), relay.changed(layer.name, change), strict=True):
            for name, value in whole.run(batch.inputs).items():
                np.testing.assert_allclose(found[name], value, rtol=1e-4, atol=1e-5)


def test_what_is_kept_lets_the_nodes_before_the_layer_out():
    model = toys.conv_chain()
    data = toys.calibration(model, 4)
    session = Session(model.network, threads=1)
    reference = [session.run(batch.inputs) for batch in data.batches(4)]
    seen = []

    def look(network):
        seen.append(len(list(network.graph)))
        return network

    relay = Relay(model.network, data, reference, 4, threads=1)
    for layer in layers(model.graph):
        relay.changed(layer.name, look)
    assert seen == [5, 3, 1]


@pytest.mark.parametrize("toy", ["residual", "concat", "gemm"])
@pytest.mark.parametrize("limit", [0, 256 << 20])
def test_values_of_the_network_as_it_is_and_of_the_changed_one(toy, limit):
    model = toys.TOYS[toy]()
    data = toys.calibration(model, 6)
    names = [str(layer.output.name) for layer in layers(model.graph)]
    whole = model.copy().network
    show(whole.graph, names)
    session = Session(whole, threads=1)
    truth = [session.run(batch.inputs) for batch in data.batches(4)]
    relay = Relay(model.network, data, truth, 4, threads=1, limit=limit)
    for layer, name in zip(layers(model.graph), names, strict=True):
        for found, wanted in zip(relay.values(layer.name, name), truth, strict=True):
            np.testing.assert_allclose(found, wanted[name], rtol=1e-4, atol=1e-5)
        change = doubled(str(layer.weight.name))
        for found, wanted in zip(relay.stream(layer.name, change, [name]), truth, strict=True):
            assert not np.array_equal(found[name], wanted[name])
