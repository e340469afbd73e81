import pkgutil
import subprocess
import sys

import fewbits
import numpy as np
import onnx_ir as ir
import onnxruntime as ort
import pytest
from fewbits import api, archive
from fewbits.component import Component
from fewbits.data import ArrayDataset
from fewbits.errors import FewbitsError, ModelError, RecipeError, TargetError, UsageError
from fewbits.hookspecs import hookimpl
from fewbits.interfaces import Finding, Frontend, Target, TargetSpec
from fewbits.model import Precision, Stage
from fewbits.plugins import discover
from fewbits.preprocess import parse_preprocess
from fewbits.recipe import Recipe, Step
from fewbits.testing.toys import calibration, conv_chain


class Tiny(Target):
    """A device that can run nothing."""

    name = "tiny"
    spec = TargetSpec(frozenset({Precision(8, 8)}))
    suffix = ".tiny"

    def check(self, model):
        return [
            Finding("conv1", "is slow", "none", fatal=False),
            Finding("conv2", "no more than 4 channels", "Prune it."),
            Finding("conv3", "no more than 4 channels", "Prune it."),
        ]

    def emulator(self, model, threads=None):
        raise NotImplementedError

    def compile(self, model, calibration=None):
        raise NotImplementedError


class ToyFrontend(Frontend):
    name = "toy"
    suffixes = (".toy",)

    def parse(self, path):
        return conv_chain()


class Broken:
    """No frontend at all."""


class Plugin:
    @hookimpl
    def targets(self):
        return [Component("target", "tiny", "tiny", f"{__name__}:Tiny")]

    @hookimpl
    def frontends(self):
        return [Component("frontend", "toy", "toy", f"{__name__}:ToyFrontend")]


class BrokenPlugin:
    @hookimpl
    def frontends(self):
        return [Component("frontend", "broken", "broken", f"{__name__}:Broken")]


@pytest.fixture
def registry():
    found = discover()
    found.register(Plugin(), "ours")
    return found


@pytest.fixture
def network(tmp_path):
    path = tmp_path / "chain.onnx"
    ir.save(conv_chain().network, path)
    return path


@pytest.fixture
def quantized(registry):
    data = calibration(conv_chain())
    return fewbits.optimize(conv_chain(), calibration=data, recipe="quantize", registry=registry)


def test_every_public_name_is_there_and_listed():
    for name in fewbits.__all__:
        assert getattr(fewbits, name) is not None
    assert set(fewbits.__all__) <= set(dir(fewbits))
    with pytest.raises(AttributeError, match="no attribute 'quantise'"):
        _ = fewbits.quantise


def test_no_module_hides_a_public_name():
    modules = {module.name for module in pkgutil.iter_modules(fewbits.__path__)}
    assert not modules & set(fewbits.__all__)


@pytest.mark.parametrize(
    "module", ["", ".recipe", ".plugins", ".hookspecs", ".component", ".outline", ".cli.app"]
)
def test_what_must_stay_light_imports_nothing_heavy(module):
    script = (
        f"import sys, fewbits{module}\n"
        "heavy = {'numpy', 'onnx', 'onnx_ir', 'onnxruntime', 'pydantic', 'torch', 'PIL'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_the_whole_flow(network, registry, tmp_path):
    model = fewbits.parse(network, registry=registry)
    data = dict(calibration(model, 32).inputs)
    model = fewbits.optimize(model, calibration=data, recipe="quantize", registry=registry)
    found = fewbits.evaluate(model, data, registry=registry).metrics
    assert found["fidelity"]["snr_db"] > 25
    path = fewbits.compile(model, tmp_path / "c.onnx", registry=registry)
    session = ort.InferenceSession(path)
    emulated = registry.create("target", "cpu", {}).emulator(model).run(data)
    for got, name in zip(session.run(None, data), model.output_names, strict=True):
        np.testing.assert_array_equal(got, emulated[name])
    saved = fewbits.save(model, tmp_path / "m.fewbits")
    assert archive.digest(fewbits.load(saved)) == archive.digest(model)
    assert [r.same for r in fewbits.replay(saved, calibration=data, registry=registry)] == [True]


def test_parsing_is_written_down(network, registry):
    model = fewbits.parse(network, registry=registry, preprocess="resize=8")
    record = model.history[0]
    assert (record.use, record.distribution) == ("onnx", "fewbits-core")
    assert record.data["path"] == str(network)
    assert record.output_digest == archive.digest(model)
    assert model.preprocess.resize == 8
    again = fewbits.parse(network, registry=registry)
    assert again.history[0].input_digest == record.input_digest


def test_the_frontend_is_found_by_the_ending_or_named(network, registry, tmp_path):
    (tmp_path / "a.TOY").write_bytes(b"")
    assert fewbits.parse(tmp_path / "a.TOY", registry=registry).history[0].use == "toy"
    assert fewbits.parse(network, frontend="toy", registry=registry).history[0].use == "toy"


def test_a_broken_frontend_does_not_keep_others_from_reading(network, registry, tmp_path):
    registry.register(BrokenPlugin(), "broken-one")
    assert fewbits.parse(network, registry=registry).history[0].use == "onnx"
    (tmp_path / "a.xyz").write_bytes(b"")
    registry = discover()
    registry.register(BrokenPlugin(), "broken-one")
    with pytest.raises(ModelError) as caught:
        fewbits.parse(tmp_path / "a.xyz", registry=registry)
    assert ".onnx" in caught.value.hint
    assert "'broken'" in caught.value.hint


def test_what_cannot_be_parsed(registry, tmp_path):
    (tmp_path / "m.fewbits").write_bytes(b"")
    (tmp_path / "m.txt").write_bytes(b"")
    for name, kind, words in [
        ("m.fewbits", UsageError, "is an archive"),
        ("m.txt", ModelError, "No frontend reads 'm.txt'"),
        ("absent.onnx", ModelError, "No such file"),
        ("", ModelError, "Is a directory"),
    ]:
        with pytest.raises(kind, match=words) as caught:
            fewbits.parse(tmp_path / name, registry=registry)
        assert caught.value.hint


def test_recipes_in_every_form_are_the_same(tmp_path):
    recipe = Recipe((Step("quantize", {"precision": "a8_w4"}),))
    recipe.save(tmp_path / "r.toml")
    text = "quantize:precision=a8_w4"
    for form in (recipe, text, [text], list(recipe.steps), tmp_path / "r.toml"):
        assert api.as_recipe(form) == recipe
    assert api.as_recipe(str(tmp_path / "r.toml")) == recipe


def test_only_as_many_samples_as_asked_for_are_used(registry):
    model = conv_chain()
    data = calibration(model, 32)
    out = fewbits.optimize(model, calibration=data, count=8, recipe="quantize", registry=registry)
    assert out.history[0].data["count"] == 8
    assert fewbits.evaluate(out, data, count=5, registry=registry).images == 5


def test_an_already_quantized_model_begins_again_only_when_asked(quantized, registry):
    data = calibration(quantized)
    options = {"calibration": data, "registry": registry}
    for recipe in (None, "quantize"):
        with pytest.raises(RecipeError, match="already quantized") as caught:
            fewbits.optimize(quantized, recipe=recipe, **options)
        assert "--restart" in caught.value.hint
    again = fewbits.optimize(quantized, recipe="quantize", restart=True, **options)
    assert archive.digest(again) == archive.digest(quantized)
    assert len(again.history) == 1


def test_a_bad_recipe_is_found_before_the_data_is_opened(registry):
    with pytest.raises(RecipeError, match="'quantise'"):
        fewbits.optimize(conv_chain(), calibration="/nowhere", recipe="quantise", registry=registry)


def test_each_target_of_evaluation_runs_its_own_stage(quantized, registry):
    data = calibration(quantized, 8)
    full = fewbits.evaluate(quantized, data, target="full_precision", registry=registry)
    assert full.metrics["fidelity"]["cosine"] == pytest.approx(1.0)
    emulated = fewbits.evaluate(quantized, data, registry=registry)
    assert emulated.metrics["fidelity"]["cosine"] < 1.0
    with pytest.raises(UsageError, match="nothing to measure"):
        fewbits.evaluate(quantized, data, target="native", registry=registry)
    with pytest.raises(UsageError, match="'emulater'") as caught:
        fewbits.evaluate(quantized, data, target="emulater", registry=registry)
    assert "emulator" in caught.value.hint
    with pytest.raises(ModelError, match="not quantized"):
        fewbits.evaluate(conv_chain(), data, registry=registry)


def test_a_quantized_model_without_history_is_emulated_for_the_default_target(quantized, registry):
    bare = quantized.replace(history=())
    data = calibration(quantized, 4)
    expected = fewbits.evaluate(quantized, data, registry=registry).metrics
    assert fewbits.evaluate(bare, data, registry=registry).metrics == expected


def test_labels_bring_the_classification(registry):
    from fewbits.testing.toys import gemm

    model = gemm()
    data = calibration(model, 16)
    labels = np.zeros(16, np.int64)
    for given in (ArrayDataset(data.inputs, labels), {**data.inputs, "labels": labels}):
        found = fewbits.evaluate(model, given, target="native", registry=registry)
        assert list(found.metrics) == ["classification"]
    named = fewbits.evaluate(
        model, data, target="full_precision", evaluators=["fidelity"], registry=registry
    )
    assert list(named.metrics) == ["fidelity"]


def test_what_is_no_data_is_said_before_anything_runs(quantized, registry):
    with pytest.raises(FewbitsError, match="A list is no data") as refused:
        fewbits.evaluate(quantized, [1, 2], registry=registry)
    assert "numpy array" in refused.value.hint


def test_pictures_in_memory_go_through_the_preprocessing(registry):
    toy = conv_chain()
    side = toy.network.graph.inputs[0].shape[-1]
    pixels = np.random.default_rng(3).integers(0, 256, (8, side, side, 3), np.uint8)
    values = (pixels.astype(np.float32) - 100) / 50
    model = toy.replace(preprocess=parse_preprocess("mean=100,std=50"))
    made = [
        fewbits.optimize(model, calibration=each, recipe="quantize", registry=registry)
        for each in (pixels, values.transpose(0, 3, 1, 2))
    ]
    assert archive.digest(made[0]) == archive.digest(made[1])


def test_compiling_adds_a_stage_that_costs_no_space_and_replays(quantized, registry, tmp_path):
    compiled, data = api.compiled(quantized, registry=registry)
    assert compiled.stage is Stage.COMPILED
    assert archive.content(compiled) == archive.content(quantized)
    sizes = []
    for model in (quantized, compiled):
        sizes.append(fewbits.save(model, tmp_path / "m").stat().st_size)
    assert sizes[1] - sizes[0] < 2000
    results = fewbits.replay(tmp_path / "m", calibration=calibration(quantized), registry=registry)
    assert [(r.use, r.same) for r in results] == [("uniform", True), ("cpu", True)]
    again, same = api.compiled(fewbits.load(tmp_path / "m"), registry=registry)
    assert same == data
    assert len(again.history) == 3


def test_compiling_for_a_target_that_cannot_run_it_names_layer_limit_and_remedy(
    quantized, registry, tmp_path
):
    with pytest.raises(TargetError, match=r"tiny cannot run 'conv2'.*1 more") as caught:
        fewbits.compile(quantized, tmp_path / "c", target="tiny", registry=registry)
    assert caught.value.hint == "Prune it."
    assert list(tmp_path.iterdir()) == []


def test_compiling_what_is_not_quantized_or_where_nothing_can_be_written(
    quantized, registry, tmp_path
):
    with pytest.raises(ModelError, match="not quantized"):
        fewbits.compile(conv_chain(), tmp_path / "c", registry=registry)
    with pytest.raises(FewbitsError, match="cannot be written"):
        fewbits.compile(quantized, tmp_path / "absent" / "c", registry=registry)
