"""Edits in front of a quantizer: samples, reference, archive, replay, training follow them."""

import json
from pathlib import Path

import fewbits
import numpy as np
import onnx_ir as ir
import pytest
from fewbits.cli.app import app
from fewbits.edits import before_samples, float_counterpart
from fewbits.errors import DataError, RecipeError, UsageError
from fewbits.evaluation import evaluate
from fewbits.model import Stage
from fewbits.opening import as_recipe, open_data
from fewbits.plugins import from_environment
from fewbits.testing import toys
from fewbits.testing.inspection import float_outputs, relative_difference
from fewbits.testing.net import Net
from PIL import Image
from typer.testing import CliRunner

SHARED = Path(__file__).parents[4] / "shared"
LITE0 = SHARED / "models/efficientnet_lite0.onnx"
PICTURES = SHARED / "data/imagenet1k_sample"
NORMALIZED = "crop=12,mean=[120,110,100],std=[60,50,70]"
NV12 = "input_conversion:kind=nv12_to_rgb,emulator_support=true"
CHAINS = {
    "normalization": ["normalization"],
    "resize": ["normalization", "resize:height=24,width=16"],
    "nv12": ["normalization", NV12],
    "yuy2": ["normalization", "input_conversion:kind=yuy2_to_rgb,emulator_support=true"],
    "bgr": ["input_conversion:kind=bgr_to_rgb,emulator_support=true", "normalization"],
    "rgbx": ["input_conversion:kind=rgbx_to_rgb,emulator_support=true"],
    "layout": ["input_layout", "normalization", "resize:height=20,width=20"],
    "all": [
        "normalization",
        "resize:height=16,width=16",
        NV12,
        "output_activation:activation=tanh",
    ],
    "softmax": ["logits"],
    "device": ["input_conversion:kind=nv12_to_rgb"],
}


@pytest.fixture(scope="module")
def registry():
    return from_environment()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A network file and a folder of 24 smooth pictures."""
    folder = tmp_path_factory.mktemp("edited")
    ir.save(toys.conv_chain().network, folder / "net.onnx")
    (folder / "pictures").mkdir()
    rng = np.random.default_rng(0)
    for number in range(24):
        small = Image.fromarray(rng.integers(0, 256, (4, 4, 3), np.uint8))
        small.resize((20, 16), Image.Resampling.BICUBIC).save(folder / f"pictures/{number:02}.png")
    return folder


@pytest.fixture
def parsed(folder, registry):
    return fewbits.parse(folder / "net.onnx", preprocess=NORMALIZED, registry=registry)


@pytest.fixture(scope="module")
def made(folder, registry):
    """Return chain → the model that it and a quantizer make; each is made once."""
    held = {}

    def make(chain):
        if chain not in held:
            model = fewbits.parse(folder / "net.onnx", preprocess=NORMALIZED, registry=registry)
            held[chain] = fewbits.optimize(
                model,
                calibration=folder / "pictures",
                recipe=[*CHAINS[chain], "quantize"],
                registry=registry,
            )
        return held[chain]

    return make


@pytest.mark.parametrize("chain", CHAINS)
def test_an_edited_network_is_quantized_as_well_as_the_plain_one(chain, made, folder, registry):
    model = made(chain)
    measured = fewbits.evaluate(model, folder / "pictures", registry=registry)
    assert measured.metrics["fidelity"]["snr_db"] > 25
    same = fewbits.evaluate(model, folder / "pictures", target="full_precision", registry=registry)
    assert same.metrics["fidelity"]["snr_db"] > 80, "the reference has the same edits"
    native = fewbits.evaluate(
        model, folder / "pictures", target="native", evaluators=["fidelity"], registry=registry
    )
    assert native.metrics["fidelity"]["snr_db"] > 80


@pytest.mark.parametrize("chain", ["resize", "all", "layout", "device"])
def test_an_archive_keeps_the_edits_and_its_history_runs_again(chain, made, tmp_path, registry):
    model = made(chain)
    fewbits.save(model, tmp_path / "net.fewbits")
    loaded = fewbits.load(tmp_path / "net.fewbits")
    assert loaded.preprocess == model.preprocess
    assert [r.edits for r in loaded.history] == [r.edits for r in model.history]
    steps = fewbits.replay(loaded, registry=registry)
    assert [step.same for step in steps] == [True] * len(CHAINS[chain] + ["quantize"]), steps


def test_data_given_to_a_replay_is_opened_for_the_edited_network(made, folder, registry):
    steps = fewbits.replay(made("all"), calibration=folder / "pictures", registry=registry)
    assert all(step.same for step in steps)


def test_the_history_says_what_was_edited_and_how_samples_were_opened(made):
    history = made("nv12").history
    assert [record.edits for record in history] == ["", "inputs", "inputs", ""]
    assert history[-1].data["preprocess"] == "crop=12,channels=NV12"


def test_pictures_give_what_they_gave_before(parsed, folder, registry):
    edited = before_samples(parsed, as_recipe(CHAINS["bgr"]), registry)
    for model in (parsed, edited):
        assert model.output_names == parsed.output_names
    outputs = [
        float_outputs(
            model,
            next(iter(open_data(folder / "pictures", model, registry).batches(8))).inputs,
        )
        for model in (parsed, edited)
    ]
    (name,) = parsed.output_names
    assert relative_difference(outputs[0][name], outputs[1][name]) < 1e-5


def test_numbers_are_for_the_edited_network(folder, registry):
    model = fewbits.parse(folder / "net.onnx", registry=registry)
    rng = np.random.default_rng(1)
    raw = rng.integers(0, 256, (16, 3, 24, 16)).astype(np.float32)
    recipe = ["normalization:mean=120,std=60", "resize:height=24,width=16", "quantize"]
    made = fewbits.optimize(model, calibration=raw, recipe=recipe, registry=registry)
    assert fewbits.evaluate(made, raw, registry=registry).metrics["fidelity"]["snr_db"] > 25
    assert all(step.same for step in fewbits.replay(made, calibration=raw, registry=registry))
    with pytest.raises(DataError, match=r"\(3, 12, 12\)"):
        fewbits.optimize(model, calibration=raw[:, :, :12, :12], recipe=recipe, registry=registry)


def test_an_edit_of_inputs_behind_a_step_that_may_use_samples_is_refused(parsed, registry):
    with pytest.raises(RecipeError, match="may have used samples") as caught:
        fewbits.optimize(
            parsed,
            calibration=np.zeros((4, 12, 12, 3), np.uint8),
            recipe=["equalization", "normalization", "quantize"],
            registry=registry,
        )
    assert caught.value.hint == "Put 'normalization' first."


def test_outputs_may_be_edited_behind_other_steps(parsed, folder, registry):
    recipe = ["equalization", "output_activation:activation=relu", "quantize"]
    made = fewbits.optimize(
        parsed, calibration=folder / "pictures", recipe=recipe, registry=registry
    )
    measured = fewbits.evaluate(made, folder / "pictures", registry=registry)
    assert measured.metrics["fidelity"]["snr_db"] > 25


def test_steps_of_a_later_run_take_up_where_the_edits_left(parsed, folder, registry):
    recipe = CHAINS["all"]
    edited = fewbits.optimize(parsed, recipe=recipe, registry=registry)
    assert edited.stage is Stage.OPTIMIZED
    later = fewbits.optimize(
        edited, calibration=folder / "pictures", recipe="quantize", registry=registry
    )
    assert all(step.same for step in fewbits.replay(later, registry=registry))


def test_edits_behind_an_earlier_run_are_run_again_too(parsed, folder, registry):
    first = fewbits.optimize(
        parsed, calibration=folder / "pictures", recipe="equalization", registry=registry
    )
    made = fewbits.optimize(
        first,
        calibration=folder / "pictures",
        recipe=["normalization", NV12, "quantize"],
        registry=registry,
    )
    steps = fewbits.replay(made, registry=registry)
    assert [step.same for step in steps] == [True] * 4


def test_a_parsed_network_is_no_reference_for_an_edited_one(made, folder, registry):
    model = made("nv12")
    data = open_data(folder / "pictures", model, registry)
    fidelity = registry.create("evaluator", "fidelity", {})
    with pytest.raises(UsageError, match="other inputs or outputs") as caught:
        evaluate(model, data, [fidelity], runnable=object())
    assert "float_counterpart" in caught.value.hint


def test_the_counterpart_of_a_plain_model_is_the_parsed_one(made, registry):
    model = made("device")
    plain = model.replace(history=())
    assert float_counterpart(plain, registry).graph is plain.at(Stage.PARSED).graph


def test_argmax_comes_out_of_a_quantized_network(parsed, folder, registry):
    recipe = ["normalization", "logits:kind=argmax", "quantize"]
    made = fewbits.optimize(
        parsed, calibration=folder / "pictures", recipe=recipe, registry=registry
    )
    target = registry.create("target", "cpu", {})
    data = open_data(folder / "pictures", made, registry)
    inputs = next(iter(data.batches(24))).inputs
    (name,) = made.output_names
    found = target.emulator(made, 1).run(inputs)[name]
    before = float_outputs(float_counterpart(made, registry), inputs)[name]
    assert found.dtype == np.int64
    assert (found == before).mean() > 0.9


@pytest.mark.parametrize("chain", ["nv12", "yuy2", "all", "layout", "bgr"])
def test_an_edited_network_can_be_trained(chain, made, folder, registry):
    torch = pytest.importorskip("torch")
    from fewbits.trainable.graphrun import FloatNetwork
    from fewbits.trainable.network import QuantizedNetwork

    model = made(chain)
    data = open_data(folder / "pictures", model, registry)
    inputs = next(iter(data.batches(8))).inputs
    tensors = {name: torch.from_numpy(np.ascontiguousarray(x)) for name, x in inputs.items()}
    (name,) = model.output_names
    optimized = model.at(Stage.OPTIMIZED)
    with torch.no_grad():
        plain = FloatNetwork(optimized.graph)(tensors, [name])[name].numpy()
        rounded = QuantizedNetwork(model)(tensors)[name].numpy()
    expected = float_outputs(optimized, inputs)[name]
    assert relative_difference(expected, plain) < 1e-4
    emulated = registry.create("target", "cpu", {}).emulator(model, 1).run(inputs)[name]
    assert relative_difference(emulated, rounded) < 0.02


def test_a_first_layer_without_padding_reads_pixels_exactly(registry):
    net = Net("pixels")
    x = net.conv(net.input("image", 3, 12, 12), 3, 4, pads=[0] * 4)
    net.output(x, 4, 10, 10)
    raw = np.random.default_rng(0).integers(0, 256, (32, 3, 12, 12)).astype(np.float32)
    raw[0, 0, 0, :2] = 0, 255
    recipe = [
        "normalization:mean=[123.675,116.28,103.53],std=58",
        "quantize:activation_range=minmax",
    ]
    made = fewbits.optimize(net.build(), calibration=raw, recipe=recipe, registry=registry)
    encoding = made.encodings["image"]
    assert (float(encoding.scale), int(encoding.zero_point)) == (1.0, 0)


def run(*arguments):
    return CliRunner().invoke(app, [str(each) for each in arguments], prog_name="fewbits")


def test_the_command_line_takes_a_network_from_normalized_to_raw_pictures(folder, tmp_path):
    made = tmp_path / "net.fewbits"
    said = ["--calib-path", folder / "pictures", "--preprocess", NORMALIZED, "-o", made]
    steps = ["-p", "normalization:mean=[120,110,100],std=[60,50,70]", "-p", "quantize"]
    done = run("optimize", folder / "net.onnx", *said, *steps)
    assert done.exit_code == 0, done.output
    assert "folded into conv_0; image.mean added in front" in done.stdout.replace("\n", " ")
    assert fewbits.load(made).preprocess.to_text() == "crop=12"
    data = ["--data-path", folder / "pictures", "--target", "emulator", "--json"]
    measured = json.loads(run("eval", made, *data).stdout)
    assert measured["metrics"]["fidelity"]["snr_db"] > 25
    other = run("eval", made, *data, "--preprocess", NORMALIZED)
    assert other.exit_code == 2
    assert "takes other inputs since step 'normalization'" in other.output
    assert run("eval", made, *data, "--preprocess", "crop=12").exit_code == 0
    again = run("replay", made)
    assert again.exit_code == 0, again.output


@pytest.mark.slow
@pytest.mark.skipif(not LITE0.exists(), reason="the shared models are not here")
@pytest.mark.parametrize("chain", ["normalization", "nv12", "resize"])
def test_a_real_network_is_as_right_as_before(chain, registry):
    said = "resize=256,crop=224,mean=127,std=128"
    parsed = fewbits.parse(LITE0, preprocess=said, registry=registry)
    steps = {
        "normalization": ["normalization"],
        "nv12": ["normalization", NV12],
        "resize": ["normalization", "resize:height=448,width=448"],
    }[chain]
    edited = fewbits.optimize(parsed, recipe=steps, registry=registry)
    options = {"count": 64, "registry": registry, "evaluators": ["classification"]}
    before = fewbits.evaluate(parsed, PICTURES, target="native", **options)
    after = fewbits.evaluate(edited, PICTURES, target="full_precision", **options)
    top1 = [each.metrics["classification"]["top1"] for each in (before, after)]
    assert (
        abs(top1[0] - top1[1])
        <= {"normalization": 0, "nv12": 100 / 64, "resize": 3 * 100 / 64}[chain]
    )
