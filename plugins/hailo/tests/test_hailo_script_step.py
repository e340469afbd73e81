"""The step that keeps a script with the model, and scripts run from end to end."""

import fewbits
import pytest
from fewbits.api import replay
from fewbits.interfaces import Script
from fewbits.levels import level
from fewbits.planning import create
from fewbits.plugins import from_environment
from fewbits.recipe import Recipe, Step
from fewbits.testing import AlgorithmContract, toys
from fewbits.testing.component import ComponentContract
from fewbits_hailo.script.parsing import parse
from fewbits_hailo.script.reader import AllsReader, read_text
from fewbits_hailo.script.step import HailoScript, HailoScriptOptions, handover_lines, source_of

TEXT = """\
performance_param(fps=100)
quantization_param(conv1, precision_mode=a8_w4, bias_mode=single_scale_decomposition)
quantization_param(output_layer1, precision_mode=a16_w8, force_range_out=[-8, 8])
model_optimization_config(calibration, calibset_size=8)
post_quantization_optimization(bias_correction, policy=disabled)
c1, c2 = defuse(conv2, 2)
"""
LINES = (
    "performance_param(fps=100)",
    "quantization_param(conv1, bias_mode=single_scale_decomposition)",
    "quantization_param(output_layer1, precision_mode=a16_w8)",
    "c1, c2 = defuse(conv2, 2)",
)


class TestStep(AlgorithmContract):
    toys = ("conv_chain", "two_outputs")

    @pytest.fixture
    def algorithm(self):
        return HailoScript(HailoScriptOptions(lines=("performance_param(fps=1)",)))


class TestReader(ComponentContract):
    @pytest.fixture
    def component(self):
        return AllsReader()


def run(tmp_path, text=TEXT):
    model = toys.residual()
    script = read_text(text, model)
    recipe = script.adapt(level(0).recipe)
    return fewbits.optimize(model, recipe=recipe, calibration=toys.calibration(model, 16))


def test_a_script_runs_and_its_lines_stay_with_the_model(tmp_path):
    made = run(tmp_path)
    assert handover_lines(made) == LINES
    assert source_of(made) == TEXT
    assert [record.use for record in made.history][-2:] == ["equalization", "uniform"]
    assert str(made.precisions["conv_0"]) == "a8_w4"
    output = made.encodings[made.output_names[0]]
    assert output.bits == 16
    assert (float(output.low), float(output.high)) == pytest.approx((-8.0, 8.0), abs=1e-3)


def test_the_archive_holds_the_script_and_a_replay_needs_no_file(tmp_path):
    made = run(tmp_path)
    fewbits.save(made, tmp_path / "net.fewbits")
    held = fewbits.load(tmp_path / "net.fewbits")
    assert handover_lines(held) == LINES
    again = replay(held, calibration=toys.calibration(made, 16))
    assert all(each.same for each in again), again


def test_a_model_without_a_script_hands_nothing_over():
    model = toys.residual()
    assert (handover_lines(model), source_of(model)) == ((), "")


def test_every_option_that_a_script_can_lead_to_is_one_of_the_step_s():
    """The steps are of other distributions, so their options are held against the real ones."""
    text = """\
n = normalization([1, 2, 3], [4, 5, 6])
input_conversion(bgr_to_rgb)
input_conversion(input_layer1, tf_rgbx_to_hailo_rgb, emulator_support=True)
resize(input_layer1, resize_shapes=[9, 9], resize_method=bilinear, pixels_mode=half_pixels)
change_output_activation(swish)
logits_layer(output_layer1, argmax, -1)
pre_quantization_optimization(se_optimization, method=tse, count=2, tile_height=4)
pre_quantization_optimization(zero_static_channels, eps=0.001)
pre_quantization_optimization(dead_layers_removal)
pre_quantization_optimization(global_avgpool_reduction, division_factors=[2, 2])
pre_quantization_optimization(activation_clipping, layers={*}, mode=percentile_force)
pre_quantization_optimization(weights_clipping, layers=conv1, mode=manual, clipping_values=[-1, 1])
model_optimization_config(calibration, calibset_size=8)
model_optimization_config(compression_params, auto_4bit_weights_ratio=0.2, \
auto_16bit_weights_ratio=0.1)
quantization_param(conv1, precision_mode=a16_w8, force_range_out=[0, 1])
post_quantization_optimization(mix_precision_search, dataset_size=8, optimizer=pareto)
post_quantization_optimization(bias_correction, policy=enabled, layers=[conv1])
post_quantization_optimization(train_encoding, epochs=2)
post_quantization_optimization(finetune, policy=enabled, dataset_size=8, epochs=1, batch_size=2, \
learning_rate=0.0001, def_loss_type=l2, loss_layer_names=[conv1], loss_factors=[2.0], \
warmup_epochs=0, val_images=4, layers_to_freeze=[conv2], train_scales=False)
post_quantization_optimization(adaround, policy=enabled, dataset_size=8, epochs=1, batch_size=2, \
learning_rate=0.001, warmup=0.1, weight=0.1, train_bias=False, b_range=[9, 1], layers=[conv1])
"""
    script = read_text(text, toys.residual())
    assert isinstance(script, Script)
    recipe = script.adapt(level(2).recipe)
    registry = from_environment()
    uses = [create(step.use, step.options, registry).step.use for step in recipe.steps]
    assert len(uses) == 19
    assert Recipe.from_toml(recipe.to_toml()) == recipe


def test_steps_of_an_earlier_script_give_way_to_those_of_the_next():
    first = read_text("performance_param(fps=1)", toys.residual()).adapt(level(0).recipe)
    second = read_text("performance_param(fps=2)", toys.residual()).adapt(first)
    assert [s.options["lines"] for s in second.steps if s.use == "hailo_script"] == [
        ["performance_param(fps=2)"]
    ]
    assert Step("equalization") in second.steps


def test_a_conversion_that_is_left_to_the_device_is_a_line_for_the_compiler():
    model = toys.conv_chain()
    steps = ["input_conversion:kind=nv12_to_rgb", "quantize"]
    done = fewbits.optimize(model, calibration=toys.calibration(model, 4), recipe=steps)
    line = "input_conversion1 = input_conversion(input_layer1, nv12_to_rgb)"
    assert handover_lines(done) == (line,)
    assert len(parse(line)) == 1
    inside = ["input_conversion:kind=bgr_to_rgb,emulator_support=true", "quantize"]
    other = fewbits.optimize(model, calibration=toys.calibration(model, 4), recipe=inside)
    assert handover_lines(other) == ()
