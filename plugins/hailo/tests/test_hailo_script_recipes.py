"""What lines of a model script make of a level's recipe."""

import pytest
from fewbits.errors import RecipeError
from fewbits.levels import level
from fewbits.preprocess import Preprocess
from fewbits.recipe import Recipe, Step
from fewbits.testing.net import Net
from fewbits_hailo.script.reader import read_text


def network():
    """conv_0 (Relu), dw (SiLU), conv, add, pool, fc: conv1, dw1, conv2, ew_add1, avgpool1, fc1."""
    net = Net("tiny")
    a = net.op("Relu", net.conv(net.input("image", 3, 8, 8), 3, 4), name="relu")
    b = net.conv(a, 4, 4, group=4)
    b = net.op("Mul", b, net.op("Sigmoid", b, name="gate"), name="silu")
    c = net.op("Add", net.conv(b, 4, 4, kernel=1), a, name="sum")
    pooled = net.op("Flatten", net.op("GlobalAveragePool", c, name="pool"), name="flat")
    net.output(net.gemm(pooled, 4, 5), 5)
    return net.build()


CONV1, DW1, CONV2, FC1 = "conv_0", "conv_2", "conv_5", "gemm_9"
OUTPUT = "gemm_9_out"


def read(*lines, model=None, **options):
    return read_text("\n".join(lines), model or network(), source="net.alls", **options)


def adapted(*lines, optimization=1, compression=0, **options):
    """Return step → options of what the script makes of a level, its own step left out."""
    script = read(*lines, **options)
    recipe = script.adapt(level(optimization, compression).recipe)
    return {s.use: s.options for s in recipe.steps if s.use != "hailo_script"}


def order(*lines, optimization=1, compression=0):
    recipe = read(*lines).adapt(level(optimization, compression).recipe)
    return [step.use for step in recipe.steps]


def quantizer(*lines, **options):
    steps = adapted(*lines, **options)
    return steps.get("quantize") or steps["mixed_precision"]


def test_the_network_of_these_tests_has_the_names_that_they_use():
    from fewbits_hailo.layernames import layer_names

    assert layer_names(network()) == {
        CONV1: "conv1",
        DW1: "dw1",
        CONV2: "conv2",
        "sum": "ew_add1",
        "pool": "avgpool1",
        FC1: "fc1",
    }


def test_an_empty_script_changes_nothing_but_that_it_is_kept():
    script = read("# nothing")
    recipe = script.adapt(level(2).recipe)
    assert recipe.steps == (
        Step("hailo_script", {"lines": [], "source": "# nothing"}),
        *level(2).steps,
    )
    assert recipe.level == level(2).recipe.level
    assert (script.optimization_level, script.compression_level, script.seed) == (None, None, None)


def test_a_flavor_and_a_seed_are_told_to_whoever_chooses_the_recipe():
    script = read(
        "model_optimization_flavor(optimization_level=4, batch_size=2)",
        "model_optimization_flavor(optimization_level=-100, compression_level=3)",
        "set_seed(seed=7)",
    )
    assert (script.optimization_level, script.compression_level, script.seed) == (-100, 3, 7)


class TestBits:
    def test_a_mode_goes_to_the_layer_and_to_the_end_of_its_function(self):
        found = quantizer("quantization_param([conv1, dw1], precision_mode=a8_w4)")
        assert found["layers"] == {CONV1: "a8_w4", DW1: "a8_w4", "silu": "a8_w4"}

    def test_globs_scopes_onnx_names_and_quotes_name_layers(self):
        for selector in ("{dw*}", "{tiny/dw*}", "tiny/dw1", "conv_2", '"conv_2"', "[{dw[0-9]}]"):
            found = quantizer(f"quantization_param({selector}, precision_mode=a16_w8)")
            assert found["layers"] == {DW1: "a16_w8", "silu": "a16_w8"}, selector

    def test_of_several_lines_the_last_holds(self):
        found = quantizer(
            "quantization_param({conv*}, precision_mode=a8_w4)",
            "quantization_param(conv2, precision_mode=a8_w8)",
        )
        assert found["layers"] == {CONV1: "a8_w4", CONV2: "a8_w8"}

    def test_everything_is_the_quantizer_s_own_mode(self):
        found = quantizer(
            "quantization_param(conv2, precision_mode=a8_w4)",
            "quantization_param({*}, precision_mode=a16_w16)",
            "quantization_param(fc1, precision_mode=a8_w8)",
        )
        assert found["precision"] == "a16_w16"
        assert found["layers"] == {FC1: "a8_w8", OUTPUT: "a8_w8"}

    def test_an_output_layer_is_the_network_s_output_and_the_compiler_is_told_too(self):
        script = read("quantization_param(output_layer1, precision_mode=a16_w16)")
        assert script.kept == ("quantization_param(output_layer1, precision_mode=a16_w16)",)
        (step,) = [s for s in script.adapt(level(1).recipe).steps if s.use == "quantize"]
        assert step.options["layers"] == {OUTPUT: "a16_w16"}

    def test_ranges_are_of_what_a_layer_writes_or_reads(self):
        found = quantizer(
            "quantization_param([fc1, input_layer1], force_range_out=[-1, 2.5])",
            "quantization_param(ew_add1, force_range_in=[0, 6], force_range_index=1)",
        )
        assert found["ranges"] == {FC1: [-1.0, 2.5], "image": [-1.0, 2.5], "relu": [0.0, 6.0]}

    def test_what_is_for_the_compiler_alone_stays_on_its_line(self):
        script = read("quantization_param({conv*}, precision_mode=a8_w4, bias_mode=x)")
        assert script.kept == ("quantization_param({conv*}, bias_mode=x)",)

    def test_shares_of_the_weights_choose_the_quantizer_and_gptq(self):
        line = "model_optimization_config(compression_params, auto_4bit_weights_ratio={})"
        some = adapted(line.format(0.4))
        assert list(some) == ["equalization", "mixed_precision", "gptq", "ibc"]
        assert some == {s.use: s.options for s in level(1, 2).steps}
        assert adapted(line.format(1)) == {s.use: s.options for s in level(1, 5).steps}
        assert adapted(line.format(0), compression=3) == {s.use: s.options for s in level(1).steps}

    def test_sixteen_bits_have_a_share_too(self):
        found = adapted(
            "quantization_param(conv1, precision_mode=a16_w8)",
            "model_optimization_config(compression_params, auto_16bit_weights_ratio=0.1)",
        )
        assert found["mixed_precision"] == {
            "precision": "a8_w8",
            "layers": {CONV1: "a16_w8"},
            "ratio_16bit": 0.1,
        }

    def test_a_search_needs_a_share_and_takes_it_from_any_line(self):
        search = "post_quantization_optimization(mix_precision_search, optimizer=linear)"
        share = "model_optimization_config(compression_params, auto_4bit_weights_ratio=0.2)"
        found = adapted(search, share)["mixed_precision"]
        assert (found["dataset_size"], found["optimizer"], found["ratio_4bit"]) == (
            16,
            "greedy",
            0.2,
        )
        with pytest.raises(RecipeError, match=r"net.alls, line 2: nothing says how many") as caught:
            adapted("", search)
        assert "auto_4bit_weights_ratio" in caught.value.hint

    def test_statistics_are_of_so_many_samples(self):
        found = quantizer("model_optimization_config(calibration, batch_size=2, calibset_size=64)")
        assert found == {"precision": "a8_w8", "samples": 64}


class TestBeforeQuantization:
    def test_steps_come_where_they_belong_and_go(self):
        assert order(
            "pre_quantization_optimization(activation_clipping, layers={*})",
            "pre_quantization_optimization(se_optimization, method=tse)",
            "pre_quantization_optimization(dead_layers_removal, policy=enabled)",
            "pre_quantization_optimization(zero_static_channels, policy=enabled)",
            "change_output_activation(linear)",
            "normalization1 = normalization([0.0], [255.0])",
            "pre_quantization_optimization(weights_clipping, layers={*}, mode=percentile)",
        ) == [
            "normalization",
            "output_activation",
            "hailo_script",
            "static_channels",
            "dead_channels",
            "tse",
            "equalization",
            "weight_clipping",
            "activation_clipping",
            "quantize",
            "gptq",
            "ibc",
        ]
        none = order("pre_quantization_optimization(equalization, policy=disabled)")
        assert none == ["hailo_script", "quantize", "gptq", "ibc"]
        some = order(
            "pre_quantization_optimization(equalization, policy=enabled)", optimization=-100
        )
        assert some == ["hailo_script", "equalization", "quantize"]

    def test_tse_has_the_compiler_s_defaults(self):
        found = adapted("pre_quantization_optimization(se_optimization, method=tse, count=3)")
        assert found["tse"] == {"count": 3, "tile_height": 8}

    def test_each_layer_is_clipped_as_the_last_line_says(self):
        clip = "pre_quantization_optimization(activation_clipping, layers={}, mode={}{})"
        script = read(
            clip.format("{*}", "percentile", ", clipping_values=[0.1, 99.9]"),
            clip.format("[conv1]", "manual", ", clipping_values=[0, 6]"),
            clip.format("[fc1, dw1]", "percentile", ", clipping_values=[0.5, 99.5]"),
            clip.format("dw1", "disabled", ""),
        )
        steps = [
            (s.options["layers"], s.options["mode"], s.options["clipping_values"])
            for s in script.adapt(level(1).recipe).steps
            if s.use == "activation_clipping"
        ]
        assert steps == [
            ([CONV2], "percentile", [0.1, 99.9]),
            ([CONV1], "manual", [0.0, 6.0]),
            ([FC1], "percentile", [0.5, 99.5]),
        ]

    def test_a_later_line_for_all_layers_forgets_those_before(self):
        found = adapted(
            "pre_quantization_optimization(activation_clipping, layers=conv1, mode=manual,"
            " clipping_values=[0, 6])",
            "pre_quantization_optimization(activation_clipping, layers={*}, mode=percentile)",
        )
        assert found["activation_clipping"]["layers"] == ["*"]

    def test_weights_of_least_squared_error_are_the_quantizer_s(self):
        line = "pre_quantization_optimization(weights_clipping, layers={{*}}, mode={})"
        assert quantizer(line.format("mmse"), optimization=-100)["weight_range"] == "mse"
        assert quantizer(line.format("mmse_if4b"))["weight_range"] == "mse"
        assert quantizer(line.format("disabled"))["weight_range"] == "minmax"

    @pytest.mark.parametrize("mode", ["mmse", "mmse_if4b", "disabled"])
    def test_what_the_quantizer_does_for_all_weights_is_not_done_for_some(self, mode):
        line = f"pre_quantization_optimization(weights_clipping, layers=[conv1], mode={mode})"
        with pytest.raises(RecipeError, match="for all layers here, or for none"):
            adapted(line)


class TestAfterQuantization:
    def test_bias_correction_comes_goes_and_leaves_layers_alone(self):
        line = "post_quantization_optimization(bias_correction, policy={}{})"
        assert "ibc" not in adapted(line.format("disabled", ""))
        assert adapted(line.format("enabled", ""), optimization=0)["ibc"] == {}
        some = adapted(line.format("enabled", ", layers=[{conv*}]"), optimization=0)
        assert some["ibc"] == {"layers": [CONV1, CONV2]}
        rest = adapted(line.format("disabled", ", layers=fc1"))
        assert rest["ibc"] == {"exclude": [FC1]}
        assert "ibc" not in adapted(line.format("allowed", ""), optimization=0)

    def test_a_line_overrides_what_the_level_says_and_adds_what_it_has_not(self):
        line = "post_quantization_optimization(finetune, policy=enabled, dataset_size=256)"
        assert adapted(line, optimization=2)["qft"] == {"epochs": 4, "dataset_size": 256}
        assert adapted(line, optimization=0)["qft"] == {"epochs": 4, "dataset_size": 256}
        off = "post_quantization_optimization(finetune, policy=disabled)"
        assert "qft" not in adapted(off, optimization=2)

    def test_a_line_without_a_policy_changes_only_what_the_level_has(self):
        line = "post_quantization_optimization(finetune, batch_size=2)"
        assert adapted(line, optimization=2)["qft"]["batch_size"] == 2
        assert "qft" not in adapted(line, optimization=1)

    def test_bias_correction_comes_before_finetuning(self):
        found = order(
            "post_quantization_optimization(bias_correction, policy=enabled)", optimization=2
        )
        assert found[-2:] == ["ibc", "qft"]

    def test_finetuning_says_what_it_compares_and_what_moves(self):
        found = adapted(
            "post_quantization_optimization(finetune, policy=enabled, epochs=8, warmup_epochs=1,"
            " val_images=64, loss_layer_names=[conv2, fc1], loss_types=[l2, l2],"
            " loss_factors=[1.0, 0.5], train_scales=False, layers_to_freeze=[dw1])",
            optimization=2,
        )["qft"]
        assert found == {
            "epochs": 8,
            "dataset_size": 1024,
            "warmup_epochs": 1.0,
            "val_images": 64,
            "loss_type": "l2",
            "loss_layer_names": [CONV2, FC1],
            "loss_factors": [1.0, 0.5],
            "train": ["weights", "biases"],
            "layers": [CONV1, CONV2, FC1],
        }

    @pytest.mark.parametrize(
        ("feature", "rate", "ours"),
        [("finetune", 2e-4, 0.01), ("finetune", 1e-4, 0.005), ("adaround", 2e-3, 0.06)],
    )
    def test_a_rate_is_as_many_times_ours_as_it_is_the_compiler_s(self, feature, rate, ours):
        found = adapted(
            f"post_quantization_optimization({feature}, policy=enabled, learning_rate={rate})"
        )
        use = {"finetune": "qft", "adaround": "adaround"}[feature]
        assert found[use]["learning_rate"] == ours

    def test_adaround_takes_gptq_s_place_and_rounds_what_has_few_bits(self):
        line = "post_quantization_optimization(adaround, policy=enabled, epochs=100{})"
        found = adapted(line.format(""), compression=2)
        assert list(found) == ["equalization", "mixed_precision", "adaround", "ibc"]
        assert found["adaround"] == {"epochs": 100, "dataset_size": 1024, "mode": "train_4bit"}
        assert adapted(line.format(""))["adaround"]["mode"] == "train_all"
        some = adapted(
            line.format(", layers=conv1"), "quantization_param(conv1, precision_mode=a8_w4)"
        )
        assert some["adaround"]["layers"] == [CONV1]
        assert some["adaround"]["mode"] == "train_4bit"
        off = "post_quantization_optimization(adaround, policy=disabled)"
        assert list(adapted(off, optimization=3)) == ["equalization", "quantize", "ibc"]

    def test_encodings_are_trained_in_front_of_finetuning(self):
        line = "post_quantization_optimization(train_encoding, policy=enabled)"
        steps = read(line).adapt(level(2).recipe).steps
        assert [s.use for s in steps][-2:] == ["qft", "qft"]
        assert steps[-2].options["train"] == ["weight_scales", "activation_scales", "factors"]
        assert steps[-2].options["epochs"] == 8
        assert "train" not in steps[-1].options


class TestEdits:
    def test_samples_that_are_normalized_so_far_stop_being_so(self):
        line = "norm1 = normalization([127, 127, 127], [128, 128, 128])"
        found = adapted(line)["normalization"]
        assert found == {"mean": [127.0] * 3, "std": [128.0] * 3}
        raw = network().replace(preprocess=Preprocess())
        assert adapted(line, model=raw)["normalization"]["data"] == "raw"

    def test_each_input_has_a_step_where_there_are_several(self):
        net = Net("two")
        a, b = net.input("a", 2, 4, 4), net.input("b", 2, 4, 4)
        net.output(net.conv(net.op("Add", a, b), 2, 2), 2, 4, 4)
        model = net.build()
        every = read("normalization([0, 0], [1, 2])", model=model).adapt(level(1).recipe)
        assert [s.options["input"] for s in every.steps[:2]] == ["a", "b"]
        one = read("normalization([0, 0], [1, 2], two/input_layer2)", model=model)
        assert [s.options["input"] for s in one.adapt(level(1).recipe).steps[:1]] == ["b"]

    def test_edits_keep_the_order_of_the_script(self):
        assert order(
            "normalization([0], [255])",
            "yuv = input_conversion(yuv_to_rgb)",
            "resize_input1 = resize(input_layer1, resize_shapes=[16, 12])",
        )[:3] == ["normalization", "input_conversion", "resize"]

    def test_colours_are_computed_in_the_network_and_forms_of_cameras_in_front_of_it(self):
        script = read(
            "yuv_to_rgb1 = yuv_to_rgb()",
            "reshape = input_conversion(input_layer1, nv12_to_hailo_yuv)",
        )
        assert script.kept == ("reshape = input_conversion(input_layer1, nv12_to_hailo_yuv)",)
        found = [s for s in script.adapt(level(1).recipe).steps if s.use == "input_conversion"]
        assert found == [Step("input_conversion", {"kind": "yuv_to_rgb", "emulator_support": True})]
        inside = "input_conversion(input_layer1, yuy2_to_hailo_yuv, emulator_support=True)"
        assert adapted(inside)["input_conversion"]["kind"] == "yuy2_to_hailo_yuv"
        assert read(inside).kept == ()

    def test_pictures_come_in_at_another_size(self):
        found = adapted(
            "resize(input_layer1, resize_shapes=[1080, 1920], resize_method=nearest_neighbor,"
            " pixels_mode=align_corners)"
        )["resize"]
        assert found == {
            "height": 1080,
            "width": 1920,
            "method": "nearest",
            "pixels": "align_corners",
        }

    def test_outputs_get_another_activation_or_a_softmax(self):
        found = adapted(
            "change_output_activation(tiny/fc1, swish)",
            "logits_layer1 = logits_layer(tiny/fc1, softmax, -1, cpu)",
        )
        assert found["output_activation"] == {"activation": "silu", "layers": [FC1]}
        assert found["logits"] == {"kind": "softmax", "axis": 1, "layers": [FC1]}
        assert adapted("change_output_activation(sigmoid)")["output_activation"] == {
            "activation": "sigmoid"
        }


def test_the_compiler_s_lines_are_kept_in_their_order():
    lines = (
        "performance_param(fps=100)",
        "c1, c2 = defuse(conv1, 2)",
        "model_optimization_config(checker_cfg, policy=enabled, analyze_mode=advanced)",
        "model_optimization_config(globals, multiproc_policy=disabled)",
        "model_optimization_config(negative_exponent, layers=[{*}], rank=0)",
        'nms_postprocess("a.json", meta_arch=yolov8, engine=cpu)',
        "pre_quantization_optimization(ew_add_fusing, policy=disabled)",
        "pre_quantization_optimization(matmul_equalization, policy=disabled, matmul_bias=disabled)",
        "remove_node(format_conversion3)",
        "compilation_param({conv*}, resources_allocation_strategy=manual)",
    )
    assert read(*lines).kept == lines


def test_a_script_needs_a_quantizer_for_what_is_its_own():
    script = read("", "quantization_param(conv1, precision_mode=a8_w4)")
    with pytest.raises(RecipeError, match=r"net.alls, line 2: the steps hold no quantizer"):
        script.adapt(Recipe((Step("equalization"),)))


def test_steps_that_were_named_keep_their_order():
    script = read("post_quantization_optimization(bias_correction, policy=enabled)")
    named = Recipe((Step("tse"), Step("equalization"), Step("quantize"), Step("other_step")))
    assert [s.use for s in script.adapt(named).steps] == [
        "hailo_script",
        "tse",
        "equalization",
        "quantize",
        "other_step",
        "ibc",
    ]


def test_adapting_twice_is_adapting_once():
    script = read(
        "normalization([0], [255])",
        "quantization_param(conv1, precision_mode=a8_w4)",
        "post_quantization_optimization(bias_correction, policy=disabled)",
    )
    recipe = level(1).recipe
    assert script.adapt(recipe) == script.adapt(recipe)


def test_layers_that_several_lines_take_out_of_bias_correction_add_up():
    line = "post_quantization_optimization(bias_correction, layers=[{}], policy=disabled)"
    found = adapted(line.format("conv1"), line.format("conv2"))
    assert found["ibc"] == {"exclude": [CONV1, CONV2]}
