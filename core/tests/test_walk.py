"""The walk agrees with the emulator bit for bit, sees changes upstream, and holds little."""

import tempfile
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from fewbits.addend import added_behind
from fewbits.builtin.cpu import CpuTarget
from fewbits.builtin.uniform import UniformOptions, UniformQuantizer
from fewbits.data import ArrayDataset
from fewbits.errors import DataError, ModelError
from fewbits.executor import Executor
from fewbits.graph import values_by_name
from fewbits.model import Model, Stage
from fewbits.noise import layer_snr
from fewbits.numerics import dequantize
from fewbits.runtime import Session
from fewbits.testing import toys
from fewbits.testing.inspection import context
from fewbits.walk import Walk

PRECISIONS = ("a8_w8", "a8_w4", "a16_w8")


def quantized(model: Model, precision: str = "a8_w8", **options) -> Model:
    step = UniformQuantizer(UniformOptions(precision=precision, **options))
    return step.apply(model, context(CpuTarget(), toys.calibration(model))).model


def emulated(model: Model, data: ArrayDataset) -> dict[str, np.ndarray]:
    return CpuTarget().emulator(model, threads=1).run(data.inputs)


def joined(parts) -> dict[str, np.ndarray]:
    held = list(parts)
    return {name: np.concatenate([part[name] for part in held]) for name in held[0]}


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("toy", toys.TOYS)
def test_walking_without_changes_gives_the_emulators_outputs(toy, precision):
    model = quantized(toys.TOYS[toy](), precision)
    data = toys.calibration(model, 10, seed=1)
    with Walk(model, data, outputs=True, threads=1) as walk:
        assert [visit.name for visit in walk] == list(model.precisions)
        outputs = joined(walk.outputs())
        assert walk.model is model
    expected = emulated(model, data)
    for name, array in expected.items():
        np.testing.assert_array_equal(outputs[name], array)


@pytest.mark.parametrize("toy", toys.TOYS)
def test_layers_see_what_the_float_model_and_the_noise_measurement_see(toy):
    model = quantized(toys.TOYS[toy]())
    data = toys.calibration(model, 10, seed=1)
    found = {}
    with Walk(model, data, threads=1) as walk:
        for visit in walk:
            pairs = zip(visit.float_source.batches(), visit.source.batches(), strict=True)
            signal = noise = 0.0
            for x, q in pairs:
                y = visit.float_forward(x)
                signal += np.square(y, dtype=np.float64).sum()
                noise += np.square(y - visit.forward(q), dtype=np.float64).sum()
            found[visit.name] = 10 * np.log10(signal / noise)
    expected = {each.layer: each.snr_db for each in layer_snr(model, data, threads=1)}
    assert found == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("toy", ["residual", "concat", "depthwise", "conv_transpose", "gemm"])
def test_the_result_is_the_changed_model_and_later_layers_see_it(toy):
    model = quantized(toys.TOYS[toy]())
    data = toys.calibration(model, 10, seed=1)
    rng = np.random.default_rng(0)
    with Walk(model, data, outputs=True, reference=False, threads=1) as walk:
        for visit in walk:
            encoding = replace(visit.weight_encoding, scale=visit.weight_encoding.scale * 1.5)
            weight = visit.weight + 0.02 * rng.normal(size=visit.weight.shape)
            visit.replace(weight=weight, bias=visit.bias + 0.1, encoding=encoding)
            last = np.concatenate([visit.forward(q) for q in visit.source.batches()])
        outputs = joined(walk.outputs())
        changed = walk.model
    expected = emulated(changed, data)
    for name, array in expected.items():
        np.testing.assert_array_equal(outputs[name], array)
    np.testing.assert_array_equal(last.ravel(), next(iter(expected.values())).ravel())
    before = emulated(model, data)
    assert any(not np.array_equal(before[name], expected[name]) for name in before)
    assert changed.stage is Stage.QUANTIZED


def test_masked_weights_stay_zero():
    model = quantized(toys.conv_chain())
    name = next(iter(toys_layers(model)))
    mask = np.zeros(model.graph.initializers[name].const_value.numpy().shape, np.bool_)
    model = model.replace(masks={name: mask})
    with Walk(model, toys.calibration(model, 4)) as walk:
        for visit in walk:
            assert (visit.mask is not None) == (visit.layer.weight.name == name)
            visit.replace(weight=np.ones_like(visit.weight))
        held = walk.model.graph.initializers[name].const_value.numpy()
        assert not held.any()
        assert walk.model.masks.keys() == {name}


def toys_layers(model: Model) -> list[str]:
    return [n for n in model.encodings if n in model.graph.initializers and "weight" in n]


def test_samples_can_be_taken_in_any_order():
    model = quantized(toys.channel_shuffle())
    data = toys.calibration(model, 10, seed=1)
    order = [9, 0, 4, 4, 3]
    with Walk(model, data) as walk:
        for visit in walk:
            whole = np.concatenate(list(visit.source.batches()))
            np.testing.assert_array_equal(visit.source.rows(order), whole[order])
            real = np.concatenate(list(visit.float_source.batches()))
            np.testing.assert_array_equal(visit.float_source.rows(order), real[order])
            assert len(visit.source) == 10


def test_the_memory_bound_is_kept_and_its_files_are_removed(tmp_path):
    model = quantized(toys.residual())
    data = toys.calibration(model, 16, seed=1)
    peaks = []
    for memory in (1 << 30, 100_000, 0):
        with Walk(model, data, outputs=True, memory=memory, folder=tmp_path) as walk:
            for _ in walk:
                assert walk.store.held <= memory
            outputs = joined(walk.outputs())
            peaks.append(walk.store.peak)
            assert (walk.store.spilled > 0) == (memory < 1 << 30)
        assert walk.store.held == 0
        assert list(tmp_path.iterdir()) == []
        for name, array in emulated(model, data).items():
            np.testing.assert_array_equal(outputs[name], array)
    assert peaks[0] > 100_000 >= peaks[1] > peaks[2] == 0


def test_files_are_removed_after_an_error(tmp_path):
    model = quantized(toys.residual())

    def fail_half_way():
        with Walk(model, toys.calibration(model, 4), memory=0, folder=tmp_path) as walk:
            for visit in walk:
                assert list(tmp_path.iterdir())
                if visit.name != walk.names[0]:
                    raise RuntimeError("half way")

    with pytest.raises(RuntimeError, match="half way"):
        fail_half_way()
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_told(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("fewbits.stored._reserve", full)
    model = quantized(toys.gemm())
    with Walk(model, toys.calibration(model, 4), memory=0, folder=tmp_path) as walk:
        with pytest.raises(DataError, match="No space left") as caught:
            next(iter(walk))
        assert "TMPDIR" in caught.value.hint
    assert list(tmp_path.iterdir()) == []


def test_what_no_later_layer_reads_is_let_go():
    """In a chain no more than a layer's input and the one before it are held."""
    model = quantized(toys.conv_chain())
    data = toys.calibration(model, 8)
    with Walk(model, data, reference=False) as walk:
        sizes = []
        for visit in walk:
            sizes.append(sum(q.nbytes for q in visit.source.batches()))
            assert walk.store.held == sizes[-1]
        assert walk.store.peak <= max(a + b for a, b in pairwise(sizes))


def test_each_node_runs_once_in_either_branch(monkeypatch):
    ran = []

    class Counting(Session):
        def __init__(self, network, **options):
            ran.extend(n.name for n in network.graph if n.op_type != "DequantizeLinear")
            super().__init__(network, **options)

    monkeypatch.setattr("fewbits.branch.Session", Counting)
    model = quantized(toys.concat())
    with Walk(model, toys.calibration(model, 8), outputs=True) as walk:
        list(walk)
        list(walk.outputs())
    for node in model.graph:
        assert 1 <= ran.count(node.name) <= 2, node.name
    assert max(map(ran.count, ran)) == 2


def test_biases_can_be_added():
    model = quantized(toys.shared_weights(), bias_correction=False)
    data = toys.calibration(model, 8)
    with Walk(model, data, outputs=True, biases=True, threads=1) as walk:
        for visit in walk:
            assert visit.bias is not None
            if visit.name == walk.names[1]:
                visit.replace(bias=np.full_like(visit.bias, 0.25))
        outputs = joined(walk.outputs())
        changed = walk.model
    for name, array in emulated(changed, data).items():
        np.testing.assert_array_equal(outputs[name], array)


def test_misfits_are_refused():
    model = quantized(toys.matmul())
    with Walk(model, toys.calibration(model, 4), biases=True) as walk:
        visit = next(iter(walk))
        assert visit.bias is None
        with pytest.raises(ModelError, match="has no bias"):
            visit.replace(bias=np.zeros(12))
        with pytest.raises(ModelError, match="bits or granularity"):
            visit.replace(encoding=replace(visit.weight_encoding, bits=4))
    model = quantized(toys.gemm())
    with Walk(model, toys.calibration(model, 4)) as walk:
        visit = next(iter(walk))
        with pytest.raises(ModelError, match="does not fit") as caught:
            visit.replace(bias=np.full_like(visit.bias, 1e9))
        assert "with_room_for_bias" in caught.value.hint
    with pytest.raises(ModelError, match="not quantized"):
        Walk(toys.gemm(), toys.calibration(model, 4))
    with pytest.raises(DataError, match="empty"):
        Walk(model, ArrayDataset({"image": np.zeros((0, 2, 4, 4), np.float32)}))


def test_a_fixed_batch_is_padded_and_cut_again():
    free = quantized(toys.pooling())
    fixed = free.copy()
    for value in fixed.graph.inputs:
        value.shape = type(value.shape)([4, *list(value.shape)[1:]])
    for node in fixed.graph:
        for value in node.outputs:
            if value.shape is not None:
                value.shape = type(value.shape)([4, *list(value.shape)[1:]])
    data = toys.calibration(free, 10, seed=1)
    with Walk(fixed, data, outputs=True, reference=False, batch_size=8) as walk:
        assert all(len(visit.source) == 10 for visit in walk)
        outputs = joined(walk.outputs())
    for name, array in emulated(free, data).items():
        np.testing.assert_array_equal(outputs[name], array)


def test_without_a_reference_no_float_activation_is_held():
    model = quantized(toys.gemm())
    with Walk(model, toys.calibration(model, 4), reference=False) as walk:
        assert all(visit.float_source is None for visit in walk)


def test_temporary_files_go_to_the_systems_folder_by_default():
    model = quantized(toys.gemm())
    before = set(Path(tempfile.gettempdir()).glob("fewbits-*"))
    with Walk(model, toys.calibration(model, 4), memory=0) as walk:
        list(walk)
    assert set(Path(tempfile.gettempdir()).glob("fewbits-*")) <= before


def test_what_is_added_behind_a_layer_is_known_in_either_branch():
    """The other operand of a residual block's addition, against whole runs of both networks."""
    model = quantized(toys.residual())
    data = toys.calibration(model, 6)
    network = model.at(Stage.OPTIMIZED).network.clone()
    values, integers = values_by_name(network.graph), Executor(model).trace(data.inputs)
    found = 0
    with Walk(model, data, batch_size=2, threads=1) as walk:
        for visit in walk:
            if visit.addend is None:
                continue
            name = str(added_behind(visit.float_layer).name)
            network.graph.outputs.append(values[name])
            (real,) = Session(network, outputs=[name]).run(data.inputs).values()
            held = dequantize(integers[name], model.encodings[name])
            np.testing.assert_allclose(visit.addend.missing(range(6)), real - held, atol=1e-5)
            found += 1
    assert found


@pytest.mark.parametrize("toy", ["conv_chain", "depthwise", "gemm"])
def test_nothing_is_added_behind_layers_of_a_chain(toy):
    model = quantized(toys.TOYS[toy]())
    with Walk(model, toys.calibration(model, 4), threads=1) as walk:
        assert all(visit.addend is None for visit in walk)
