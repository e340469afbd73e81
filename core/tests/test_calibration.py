import subprocess
import sys
import textwrap
from dataclasses import replace

import numpy as np
import onnx_ir as ir
import pytest
from fewbits.builtin.cpu import CpuTarget
from fewbits.calibration import collect
from fewbits.data import ArrayDataset
from fewbits.errors import DataError, ModelError
from fewbits.histogram import Histogram
from fewbits.interfaces import Context
from fewbits.runtime import Session
from fewbits.testing import toys
from fewbits.testing.net import Net

COUNT = 21


def _context(dataset, batch_size=4):
    return Context(CpuTarget(), dataset, threads=1, batch_size=batch_size)


def _tensors(model):
    return [
        *model.input_names,
        *(str(v.name) for n in model.graph for v in n.outputs if v.dtype == ir.DataType.FLOAT),
    ]


def _activations(model, dataset):
    """Every float tensor of the network, by plain ONNX Runtime."""
    network = model.network.clone()
    known = {v.name for v in network.graph.outputs}
    values = [v for n in network.graph for v in n.outputs if v.dtype == ir.DataType.FLOAT]
    network.graph.outputs.extend(v for v in values if v.name not in known)
    return {**dataset.inputs, **Session(network, threads=1).run(dataset.inputs)}


def _fixed(model, batch):
    """The same network with a batch that cannot vary."""
    new = model.copy()
    for value in new.graph.inputs:
        value.shape = ir.Shape([batch, *list(value.shape)[1:]])
    return new


def _assert_same(a, b):
    assert (a.low, a.high, a.count) == (b.low, b.high, b.count)
    assert (a.histogram is None) == (b.histogram is None)
    if a.histogram is not None and b.histogram is not None:
        assert (a.histogram.exponent, a.histogram.start) == (
            b.histogram.exponent,
            b.histogram.start,
        )
        assert np.array_equal(a.histogram.counts, b.histogram.counts)
    assert (a.mean is None) == (b.mean is None)
    if a.mean is not None:
        assert np.allclose(a.mean, b.mean, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("toy", sorted(toys.TOYS))
def test_extremes_and_means_are_those_of_the_activations(toy):
    model = toys.TOYS[toy]()
    dataset = toys.calibration(model, COUNT)
    names = _tensors(model)
    found = collect(model, names, _context(dataset), means=names)
    for name, array in _activations(model, dataset).items():
        statistics = found[name]
        assert statistics.low == min(float(array.min()), 0.0), name
        assert statistics.high == max(float(array.max()), 0.0), name
        assert statistics.count == COUNT
        axes = tuple(a for a in range(array.ndim) if a != 1)
        assert statistics.mean is not None
        assert np.allclose(statistics.mean, array.mean(axis=axes), atol=1e-5), name


@pytest.mark.parametrize("toy", ["residual", "se_block", "gemm", "matmul", "conv1d", "pooling"])
def test_small_tensors_are_counted_whole(toy):
    model = toys.TOYS[toy]()
    dataset = toys.calibration(model, COUNT)
    found = collect(model, _tensors(model), _context(dataset), histograms=True)
    for name, array in _activations(model, dataset).items():
        whole, seen = Histogram.of(array), found[name].histogram
        assert (seen.exponent, seen.start) == (whole.exponent, whole.start), name
        assert np.array_equal(seen.counts, whole.counts), name


def test_of_large_tensors_evenly_spaced_values_are_counted():
    net = Net("large")
    net.output(net.op("Relu", net.conv(net.input("x", 2, 120, 90), 2, 8)), 8, 120, 90)
    model = net.build()
    dataset = toys.calibration(model, 3)
    found = collect(model, _tensors(model), _context(dataset, 2), histograms=True)
    for name, array in _activations(model, dataset).items():
        # 2·120·90 values are 5 times 4096, 8·120·90 are 21 times: an odd step near the root
        step = 1 if name == "x" else 5
        wanted = Histogram.of(array[:, :, ::step, ::step])
        assert np.array_equal(found[name].histogram.counts, wanted.counts), name
        assert 3 * 2048 < found[name].histogram.total < 3 * 6 * 4096, name


@pytest.mark.parametrize("toy", ["residual", "se_block", "matmul", "two_inputs", "conv_chain"])
@pytest.mark.parametrize("batch_size", [1, 2, 21, 50])
def test_the_batch_size_does_not_matter(toy, batch_size):
    model = toys.TOYS[toy]()
    dataset, names = toys.calibration(model, COUNT), _tensors(model)
    options = {"histograms": True, "means": names}
    one = collect(model, names, _context(dataset, batch_size), **options)
    other = collect(model, names, _context(dataset, 4), **options)
    for name in names:
        _assert_same(one[name], other[name])


@pytest.mark.parametrize("histograms", [False, True])
def test_a_range_that_has_met_its_bounds_is_no_longer_watched_and_stays_right(histograms):
    model = toys.TOYS["conv_chain"]()
    dataset = toys.calibration(model, 40)
    loud = ArrayDataset({name: 30.0 * x for name, x in dataset.inputs.items()})
    names = _tensors(model)
    watched = collect(model, names, _context(loud, batch_size=1), histograms=histograms)
    whole = collect(model, names, _context(loud, batch_size=40), histograms=histograms)
    assert any(seen.high == 6.0 for seen in watched.values())
    for name in names:
        _assert_same(watched[name], whole[name])
        assert watched[name].count == 40


@pytest.mark.parametrize("toy", ["residual", "silu", "gemm"])
def test_statistics_of_two_halves_merge_to_those_of_the_whole(toy):
    model = toys.TOYS[toy]()
    dataset, names = toys.calibration(model, COUNT), _tensors(model)
    parts = [
        collect(model, names, _context(dataset.select(rows)), histograms=True, means=names)
        for rows in (range(8), range(8, COUNT))
    ]
    whole = collect(model, names, _context(dataset), histograms=True, means=names)
    for name in names:
        _assert_same(parts[0][name].merge(parts[1][name]), whole[name])


@pytest.mark.parametrize("batch", [1, 4])
def test_a_fixed_batch_whose_last_part_is_padded_changes_nothing(batch):
    model = toys.residual()
    dataset, names = toys.calibration(model, 6), _tensors(model)
    options = {"histograms": True, "means": names}
    free = collect(model, names, _context(dataset), **options)
    fixed = collect(_fixed(model, batch), names, _context(dataset), **options)
    for name in names:
        _assert_same(free[name], fixed[name])


@pytest.mark.parametrize("batch", [None, 1, 2])
def test_a_network_that_folds_windows_into_the_batch_is_seen_whole(batch):
    net = Net("windows")
    x = net.op("Relu", net.conv(net.input("x", 3, 6, 6), 3, 4))
    shape = net.constant(np.array([-1, 4, 3, 6], np.int64))
    windows = net.op("Reshape", net.op("Transpose", x, perm=[0, 2, 1, 3]), shape, name="windows")
    y = net.conv(windows, 4, 2, 1, bias=True)
    net.output(net.op("Reshape", y, net.constant(np.array([-1, 2, 6, 6], np.int64))), 2, 6, 6)
    model = net.build() if batch is None else _fixed(net.build(), batch)
    dataset = toys.calibration(net.build(), 5)
    name = "windows_out"
    network = net.build().network
    network.graph.outputs.append(next(n for n in network.graph if n.name == "windows").outputs[0])
    array = Session(network, threads=1).run(dataset.inputs)[name]
    assert len(array) == 10
    found = collect(model, [name], _context(dataset), means=[name], histograms=True)[name]
    assert (found.low, found.high) == (0.0, float(array.max()))
    assert np.allclose(found.mean, array.mean(axis=(0, 2, 3)), atol=1e-6)
    assert found.histogram.total == array.size


def test_constants_are_described_without_running_anything():
    model = toys.gemm()
    weight = model.graph.initializers["gemm_1_weight"].const_value.numpy()
    found = collect(model, ["gemm_1_weight"], _context(toys.calibration(model)), histograms=True)
    statistics = found["gemm_1_weight"]
    assert (statistics.low, statistics.high) == (float(weight.min()), float(weight.max()))
    assert statistics.histogram.total == weight.size


def test_the_model_is_not_changed():
    model = toys.residual()
    before = ir.to_proto(model.network).SerializeToString(deterministic=True)
    names = _tensors(model)
    collect(model, names, _context(toys.calibration(model)), histograms=True, means=names)
    assert ir.to_proto(model.network).SerializeToString(deterministic=True) == before


def _with_a_bad_tensor():
    """Log of what may be negative, in the middle, behind a Relu that a bias keeps from zero."""
    net = Net("bad")
    x = net.op("Log", net.conv(net.input("x", 3, 6, 6), 3, 4), name="log")
    net.output(net.op("MaxPool", net.conv(x, 4, 2), kernel_shape=[2, 2]), 2, 5, 5)
    return net.build()


@pytest.mark.parametrize("options", [{}, {"histograms": True}, {"means": ["log_out"]}])
def test_values_that_are_not_finite_are_an_error_that_names_the_tensor(options):
    model = _with_a_bad_tensor()
    names = ["x", "conv_0_out", "log_out", "conv_2_out"]
    with pytest.raises(ModelError, match="'log_out'"):
        collect(model, names, _context(toys.calibration(model)), **options)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("means", [[], ["x"]])
def test_one_bad_input_value_in_one_sample_is_found(value, means):
    model = toys.residual()
    dataset = toys.calibration(model, 9)
    dataset.inputs["image"][6, 1, 3, 4] = value
    names = _tensors(model)
    with pytest.raises(ModelError, match="'image'"):
        collect(model, names, _context(dataset), means=[n for n in means if n in names])


def test_an_unknown_tensor_is_named():
    model = toys.gemm()
    with pytest.raises(ModelError, match="no tensor 'nowhere'"):
        collect(model, ["image", "nowhere"], _context(toys.calibration(model)))


def test_no_data_and_empty_data_are_errors():
    model = toys.gemm()
    with pytest.raises(DataError, match="calibration data"):
        collect(model, ["image"], _context(None))
    empty = ArrayDataset({"image": np.zeros((0, 2, 4, 4), np.float32)})
    with pytest.raises(DataError, match="empty"):
        collect(model, ["image"], _context(empty))


def test_progress_counts_images():
    model, told = toys.gemm(), []
    context = replace(
        _context(toys.calibration(model, 10)), progress=lambda *report: told.append(report)
    )
    collect(model, ["image"], context)
    assert told[0] == ("calibrate", 0, 10, "images")
    assert told[-1] == ("calibrate", 10, 10, "images")


MEMORY = """
    import resource, sys
    import numpy as np
    from fewbits.builtin.cpu import CpuTarget
    from fewbits.calibration import collect
    from fewbits.data import Batch, Dataset
    from fewbits.interfaces import Context
    from fewbits.testing.net import Net

    class Noise(Dataset):
        def __len__(self):
            return int(sys.argv[1])

        def batches(self, size):
            rng = np.random.default_rng(0)
            for start in range(0, len(self), size):
                shape = (min(size, len(self) - start), 3, 96, 96)
                yield Batch({"x": rng.normal(size=shape).astype(np.float32)})

        def describe(self):
            return {}

    net = Net("memory")
    x = net.input("x", 3, 96, 96)
    for channels in (3, 16, 16):
        x = net.op("Relu", net.conv(x, channels, 16))
    net.output(x, 16, 96, 96)
    model = net.build()
    names = [str(v.name) for node in model.graph for v in node.outputs]
    context = Context(CpuTarget(), Noise(), threads=1, batch_size=8)
    collect(model, names, context, histograms=True, means=names)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def _peak(count):
    code = textwrap.dedent(MEMORY)
    done = subprocess.run(
        [sys.executable, "-c", code, str(count)], capture_output=True, text=True, check=True
    )
    return int(done.stdout)


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_images():
    # 192 more images hold 192 · 3 · 96² floats = 21 MB of input and eleven times that inside
    assert _peak(256) - _peak(64) < 8_000
