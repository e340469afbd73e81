import dataclasses
import json
import zipfile

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest
from fewbits import archive
from fewbits.errors import FewbitsError, ModelError
from fewbits.model import Encoding, Model, Precision, Stage
from fewbits.preprocess import Preprocess
from fewbits.provenance import LayerNote, Report, StepRecord
from fewbits.testing.toys import TOYS, calibration, conv_chain

TOY_NAMES = sorted(TOYS)


def record(use="tse", **changes):
    report = Report(
        True, "did it", (LayerNote("a", "skipped", "no need", {"gain": 0.5}),), {"n": 1}
    )
    fields = {
        "use": use,
        "distribution": "fewbits-x",
        "version": "1.0",
        "options": {"layers": ["a"], "share": 0.25, "mode": None},
        "seed": 3,
        "data": {"path": "images", "count": 4, "digest": "d"},
        "target": "cpu",
        "input_digest": "i",
        "output_digest": "o",
        "seconds": 12.5,
        "report": report,
    }
    return StepRecord(**{**fields, **changes})


def scaled(model: Model, factor: float) -> ir.Model:
    """Return the network with its first weight multiplied."""
    network = model.network.clone()
    name, value = next((n, v) for n, v in network.graph.initializers.items() if v.shape.rank() > 1)
    value.const_value = ir.Tensor(value.const_value.numpy() * np.float32(factor), name=name)
    return network


def full_model() -> Model:
    """Return a model with three stages and something in every field."""
    parsed = conv_chain().replace(preprocess=Preprocess(resize=8, mean=(1.0, 2.0, 3.0)))
    optimized = parsed.advance(
        Stage.OPTIMIZED, network=scaled(parsed, 2.0), history=(record("tse"),)
    )
    weights = {n: v for n, v in parsed.graph.initializers.items() if v.shape.rank() == 4}
    name, weight = next(iter(weights.items()))
    mask = np.arange(weight.const_value.size).reshape(tuple(weight.shape)) % 3 > 0
    encodings = {
        name: Encoding(4, True, np.float32([0.5] * 8), np.zeros(8, np.int64), 0, True),
        "image": Encoding(8, False, np.float32(0.1), np.asarray(128, np.int64)),
    }
    return optimized.advance(
        Stage.QUANTIZED,
        network=scaled(parsed, 3.0),
        encodings=encodings,
        precisions={"conv": Precision(8, 4)},
        masks={name: mask},
        history=(record("tse"), record("uniform")),
    )


def outputs(network: ir.Model, model: Model):
    session = ort.InferenceSession(ir.to_proto(network).SerializeToString())
    return session.run(None, dict(calibration(model, 4).inputs))


def same_model(a: Model, b: Model) -> None:
    assert (a.name, a.stage, a.preprocess) == (b.name, b.stage, b.preprocess)
    assert a.precisions == b.precisions
    assert a.encodings.keys() == b.encodings.keys()
    assert all(a.encodings[k].equals(b.encodings[k]) for k in a.encodings)
    assert a.masks.keys() == b.masks.keys()
    assert all(np.array_equal(a.masks[k], b.masks[k]) for k in a.masks)
    assert [dataclasses.replace(r, seconds=0.0) for r in a.history] == list(b.history)
    for x, y in zip(outputs(a.network, a), outputs(b.network, a), strict=True):
        np.testing.assert_array_equal(x, y)


def test_everything_comes_back(tmp_path):
    model = full_model()
    archive.write(model, tmp_path / "m.fewbits")
    back = archive.read(tmp_path / "m.fewbits")
    same_model(model, back)
    assert [m.stage for m in back.ancestors] == [Stage.PARSED, Stage.OPTIMIZED]
    for old, new in zip(model.ancestors, back.ancestors, strict=True):
        same_model(old, new)
    assert [len(m.ancestors) for m in back.ancestors] == [0, 1]


@pytest.mark.parametrize("name", TOY_NAMES)
def test_a_toy_comes_back_with_its_digest_and_writes_the_same_bytes(name, tmp_path):
    model = TOYS[name]()
    archive.write(model, tmp_path / "a")
    back = archive.read(tmp_path / "a")
    archive.write(back, tmp_path / "b")
    assert archive.digest(back) == archive.digest(model)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    same_model(model, back)


def test_the_same_model_gives_the_same_bytes_however_long_it_took(tmp_path):
    archive.write(full_model(), tmp_path / "a")
    other = full_model()
    slower = tuple(dataclasses.replace(r, seconds=99.0) for r in other.history)
    archive.write(other.replace(history=slower), tmp_path / "b")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_stage_unpacked_is_an_onnx_model_for_any_tool(tmp_path):
    model = full_model()
    archive.write(model, tmp_path / "m.fewbits")
    with zipfile.ZipFile(tmp_path / "m.fewbits") as held:
        held.extractall(tmp_path / "out")
    path = tmp_path / "out" / "stages" / "quantized" / "model.onnx"
    onnx.checker.check_model(str(path))
    found = ort.InferenceSession(str(path)).run(None, dict(calibration(model, 4).inputs))
    np.testing.assert_array_equal(found[0], outputs(model.network, model)[0])


def test_weights_are_plain_arrays_outside_the_graph_and_read_only(tmp_path):
    archive.write(conv_chain(), tmp_path / "m.fewbits")
    with zipfile.ZipFile(tmp_path / "m.fewbits") as held:
        proto = onnx.ModelProto.FromString(held.read("stages/parsed/model.onnx"))
    floats = [t for t in proto.graph.initializer if t.data_type == onnx.TensorProto.FLOAT]
    assert floats
    assert all(t.data_location == onnx.TensorProto.EXTERNAL for t in floats)
    for value in archive.read(tmp_path / "m.fewbits").graph.initializers.values():
        assert not value.const_value.numpy().flags.writeable


def test_stages_that_do_not_differ_share_their_parts(tmp_path):
    parsed = conv_chain()
    archive.write(parsed, tmp_path / "one")
    archive.write(parsed.advance(Stage.OPTIMIZED), tmp_path / "two")
    grown = (tmp_path / "two").stat().st_size - (tmp_path / "one").stat().st_size
    assert grown < 500
    back = archive.read(tmp_path / "two")
    assert back.stage is Stage.OPTIMIZED
    assert back.at(Stage.PARSED).stage is Stage.PARSED


@pytest.mark.parametrize(
    "change",
    [
        lambda m: m.replace(stage=Stage.COMPILED),
        lambda m: m.replace(network=scaled(m, 1.5)),
        lambda m: m.replace(encodings={}),
        lambda m: m.replace(precisions={"conv": Precision(16, 4)}),
        lambda m: m.replace(masks={k: ~v for k, v in m.masks.items()}),
        lambda m: m.replace(masks={k: v.reshape(-1) for k, v in m.masks.items()}),
        lambda m: m.replace(preprocess=None),
        lambda m: m.replace(preprocess=Preprocess(resize=9)),
        lambda m: m.replace(network=renamed(m)),
    ],
)
def test_the_digest_sees_every_part_of_the_content(change):
    model = full_model()
    assert archive.digest(change(model)) != archive.digest(model)


def renamed(model: Model) -> ir.Model:
    network = model.network.clone()
    network.graph[0].name = "another"
    return network


@pytest.mark.parametrize(
    "change",
    [
        lambda e: {"bits": 8},
        lambda e: {"signed": False},
        lambda e: {"narrow": False},
        lambda e: {"axis": 1},
        lambda e: {"scale": np.nextafter(e.scale, np.float32(1))},
        lambda e: {"zero_point": e.zero_point + 1},
    ],
)
def test_the_digest_sees_each_field_of_an_encoding(change):
    model = full_model()
    name, encoding = next(iter(model.encodings.items()))
    other = {**model.encodings, name: dataclasses.replace(encoding, **change(encoding))}
    assert archive.digest(model.replace(encodings=other)) != archive.digest(model)


def test_equal_mappings_are_the_same_however_they_were_built(tmp_path):
    model = full_model()
    turned = model.replace(encodings=dict(reversed(model.encodings.items())))
    assert archive.digest(turned) == archive.digest(model)
    archive.write(turned, tmp_path / "m")
    assert list(archive.read(tmp_path / "m").encodings) == list(reversed(model.encodings))


def test_the_digest_does_not_see_name_history_and_ancestors():
    model = full_model()
    other = model.replace(name="x", history=(), ancestors=())
    assert archive.digest(other) == archive.digest(model)


def test_peek_tells_the_outline_without_the_network(tmp_path, monkeypatch):
    model = full_model()
    archive.write(model, tmp_path / "m.fewbits")
    monkeypatch.delattr("fewbits.archive.from_parts")
    outline = archive.peek(tmp_path / "m.fewbits")
    assert outline.name == model.name
    assert [s.stage for s in outline.stages] == ["parsed", "optimized", "quantized"]
    assert [s.steps for s in outline.stages] == [0, 1, 2]
    assert outline.stages[-1].digest == archive.digest(model)
    assert [r.use for r in outline.history] == ["tse", "uniform"]
    assert outline.preprocess["resize"] == 8
    assert all(s.size > 1000 for s in outline.stages)


def test_the_manifest_lists_every_part(tmp_path):
    archive.write(full_model(), tmp_path / "m.fewbits")
    with zipfile.ZipFile(tmp_path / "m.fewbits") as held:
        manifest = json.loads(held.read("manifest.json"))
        assert {"manifest.json", *manifest["parts"]} == set(held.namelist())
        assert all(i.date_time == (1980, 1, 1, 0, 0, 0) for i in held.infolist())
    assert manifest["format"] == 1


def test_the_stages_of_the_code_and_of_the_outline_are_the_same():
    from fewbits.outline import STAGES

    assert tuple(Stage) == STAGES


def test_a_past_that_is_not_the_beginning_of_the_history_is_refused(tmp_path):
    model = full_model()
    with pytest.raises(ModelError, match="another history"):
        archive.write(model.replace(history=(record("other"),)), tmp_path / "m")
    assert list(tmp_path.iterdir()) == []


def test_a_failing_write_keeps_the_earlier_archive(tmp_path, monkeypatch):
    import errno
    import os

    path = tmp_path / "m.fewbits"
    archive.write(conv_chain(), path)
    before = path.read_bytes()

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(FewbitsError, match="No space left"):
        archive.write(full_model(), path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["m.fewbits"]


@pytest.mark.parametrize("dtype", ["float16", "float64", "int8", "uint16", "int32", "bool"])
def test_weights_of_every_type_come_back(dtype, tmp_path):
    array = (np.arange(2048) % 2).astype(dtype).reshape(2, 1024)
    value = ir.Value(name="w", const_value=ir.Tensor(array, name="w"))
    graph = ir.Graph([], [], nodes=[], initializers=[value], opset_imports={"": 21})
    archive.write(Model("m", ir.Model(graph, ir_version=10)), tmp_path / "m")
    back = archive.read(tmp_path / "m").graph.initializers["w"].const_value.numpy()
    np.testing.assert_array_equal(back, array)
    assert back.dtype == array.dtype


def test_biases_wider_than_32_bits_come_back(tmp_path):
    model = full_model()
    name, encoding = next(iter(model.encodings.items()))
    wide = model.replace(
        encodings={**model.encodings, name: dataclasses.replace(encoding, bits=48)}
    )
    archive.write(wide, tmp_path / "m")
    assert archive.read(tmp_path / "m").encodings[name].bits == 48
