"""What a model script cannot have done here, and how one is told."""

import pytest
from fewbits.errors import RecipeError
from fewbits.levels import level
from fewbits.testing.net import Net
from fewbits_hailo.script.interpreting import interpret
from fewbits_hailo.script.parsing import parse
from fewbits_hailo.script.reader import AllsReader, read_text
from fewbits_hailo.script.rows import Use
from fewbits_hailo.script.selecting import Layers
from fewbits_hailo.script.table import BY_NAME, COMMANDS
from hypothesis import given, settings
from hypothesis import strategies as st


def network(name="net"):
    net = Net(name)
    x = net.op("Relu", net.conv(net.input("image", 3, 8, 8), 3, 4), name="relu")
    x = net.op("Concat", net.conv(x, 4, 4, group=4), x, axis=1, name="join")
    net.output(net.op("MaxPool", x, kernel_shape=[2, 2], name="pool"), 8, 7, 7)
    return net.build()


MODEL = network()


def refused(line):
    with pytest.raises(RecipeError) as caught:
        read_text(f"\n{line}", MODEL, source="net.alls")
    return caught.value.message, caught.value.hint


POST = "post_quantization_optimization"
PRE = "pre_quantization_optimization"


@pytest.mark.parametrize(
    ("line", "column", "said", "remedy"),
    [
        ("quantisation_param(conv1)", 1, "no command 'quantisation_param'", "quantization_param"),
        (f"{POST}(finetuning)", 32, "has no 'finetuning'", "Did you mean 'finetune'"),
        (f"{POST}(policy=enabled)", 1, "begins with what it is about", "bias_correction"),
        (f"{POST}(finetune, epoch=3)", 42, "has no option 'epoch'", "Did you mean 'epochs'"),
        (f"{POST}(finetune, epochs=2.5)", 42, "it must be a whole number", ""),
        (f"{POST}(finetune, epochs=0)", 42, "it must be at least 1", ""),
        (f"{POST}(finetune, learning_rate=0)", 42, "it must be above 0", ""),
        (f"{POST}(finetune, policy=maybe)", 42, "enabled or disabled or allowed", ""),
        (f"{POST}(finetune, def_loss_type=ce)", 42, "it must be l2rel or l2 or cosine", ""),
        (f"{POST}(finetune, native_layers=[conv1])", 42, "is not done here", "whole numbers"),
        (
            f"{POST}(finetune, loss_layer_names=[conv1], loss_types=[l2, l2])",
            68,
            "loss_types holds 2 values, and 1 layers are named",
            "",
        ),
        (
            f"{POST}(finetune, loss_layer_names=[conv1, dw1], loss_types=[l2, cosine])",
            73,
            "all layers have the same loss",
            "l2rel",
        ),
        (f"{POST}(bias_correction, layers=[concat1])", 49, "'join' has no weights", "convolution"),
        (f"{POST}(adaround, b_range=[2, 20])", 42, "must fall", ""),
        (f"{PRE}(layer_norm_decomposition)", 1, "is not done here", "16 bits"),
        (f"{PRE}(equalization, layers=[conv1])", 45, "is not done here", "leave `layers` out"),
        (f"{PRE}(activation_clipping, mode=manual)", 52, "needs clipping_values", "Add"),
        (
            f"{PRE}(activation_clipping, mode=manual, clipping_values=[1, 2])",
            65,
            "0 must lie between",
            "",
        ),
        (f"{PRE}(activation_clipping, clipping_values=[9, 5])", 52, "must be percent", ""),
        (f"{PRE}(weights_clipping, layers=conv1, mode=disabled)", 49, "for all layers", "{*}"),
        ("quantization_param(conv1, precision_mode=a4_w4)", 27, "must be a8_w8 or a8_w4", ""),
        ("quantization_param(conv1, quantization_groups=4)", 27, "not done here", "per_channel"),
        ("quantization_param(conv1, force_range_out=[1, 0])", 27, "does not rise", ""),
        ("quantization_param(conv1, force_range_in=[0, 1], force_range_index=1)", 50, "no num", ""),
        ("quantization_param(conv1, force_range_index=1)", 27, "no range is given", ""),
        ("quantization_param(conv9, precision_mode=a8_w4)", 20, "no layer 'conv9'", "'conv1'"),
        ("quantization_param({fc*}, precision_mode=a8_w4)", 20, "no layer matches {fc*}", "info"),
        ("quantization_param(yolo/dw1, precision_mode=a8_w4)", 20, "scope", "--name yolo"),
        ("quantization_param(precision_mode=a8_w4)", 1, "takes 1 values without a name", "layers"),
        ("quantization_param([], precision_mode=a8_w4)", 20, "must be a layer, a glob", ""),
        ("model_optimization_flavor(optimization_level=7)", 27, "no optimization_level 7", "-100"),
        ("model_optimization_flavor(optimization_level=max)", 27, "must be a whole number", ""),
        ("model_optimization_config(calibration, calibset_size=0)", 40, "at least 1", ""),
        (
            "model_optimization_config(compression_params, auto_4bit_weights_ratio=1.5)",
            47,
            "at most 1",
            "",
        ),
        ("model_optimization_config(globals, output_encoding_vector=enabled)", 36, "not do", "one"),
        ("normalization([0, 0, 0], [1, 0, 1])", 26, "holds 0, and it divides", ""),
        ("normalization([0], [1], conv1)", 25, "'conv1' is no input", "input_layer1"),
        ("normalization([0])", 1, "takes 2 or 3 values", "(mean, std)"),
        ("input_conversion(rgb_to_cmyk)", 18, "it must be bgr_to_rgb", ""),
        ("change_output_activation(sigmoidal)", 26, "it must be linear or", ""),
        ("resize(input_layer1)", 1, "needs 'resize_shapes'", "Add it"),
        ("logits_layer(pool, softmax, 4)", 29, "the outputs have 4 axes", ""),
        ("transpose(input_layer1)", 1, "is not done here", "network"),
        ("remove_node(conv1)", 13, "'conv1' is a layer of the network", "--end-node-names"),
        ("set_seed(seed=-1)", 10, "at least 0", ""),
    ],
)
def test_a_fault_says_line_column_what_and_the_remedy(line, column, said, remedy):
    message, hint = refused(line)
    assert message.startswith(f"net.alls, line 2, column {column}: ")
    assert said in message
    assert remedy in hint
    assert "--lenient" in hint


def test_several_faults_are_counted_and_the_way_to_see_them_all_is_named():
    message, hint = refused("foo()\nbar()\nperformance_param(x=1)")
    assert "there is no command 'foo'; 1 more fault" in message
    assert "fewbits hailo check-script net.alls" in hint


def test_leniency_warns_once_a_line_and_says_what_becomes_of_it():
    script = read_text(
        "foo(1, a=[b])\n"
        f"{POST}(finetune, policy=enabled, epochs=3, native_layers=[conv1])\n"
        "quantization_param(conv1, precision_mode=a8_w4, quantization_groups=4)\n"
        "model_optimization_flavor(optimization_level=9)\n"
        f"{PRE}(matmul_correction, layers={{matmul*}})\n",
        MODEL,
        source="net.alls",
        lenient=True,
    )
    assert [w.partition(":")[0] for w in script.warnings] == [
        "net.alls, line 1, column 1",
        "net.alls, line 2, column 68",
        "net.alls, line 3, column 49",
        "net.alls, line 4, column 27",
        "net.alls, line 5, column 1",
    ]
    fates = [warning.rpartition("(")[2] for warning in script.warnings]
    assert fates == [f"{fate})" for fate in ("kept for the compiler", "left out") * 2] + [
        "kept for the compiler)"
    ]
    assert script.kept == (
        "foo(1, a=[b])",
        "quantization_param(conv1, quantization_groups=4)",
        f"{PRE}(matmul_correction, layers={{matmul*}})",
    )
    steps = {s.use: s.options for s in script.adapt(level(1).recipe).steps}
    assert steps["qft"] == {"epochs": 3, "dataset_size": 1024}
    assert steps["quantize"]["layers"] == {"conv_0": "a8_w4"}
    assert script.optimization_level is None


def test_what_asks_for_nothing_else_than_is_done_here_is_no_fault():
    script = read_text(
        "model_optimization_config(globals, output_encoding_vector=disabled)\n"
        f"{POST}(finetune, native_activations=disabled, force_pruning=True, optimizer=adam)\n"
        f"{POST}(adaround, decay_start=0, bias_correction_count=64)\n"
        f"{PRE}(layer_norm_decomposition, policy=disabled)\n",
        MODEL,
    )
    assert script.warnings == ()
    assert script.kept == (f"{PRE}(layer_norm_decomposition, policy=disabled)",)


def test_names_of_the_compiler_win_over_those_of_nodes():
    net = Net("net")
    x = net.op("Conv", net.input("x", 2, 4, 4), net.normal((2, 2, 1, 1), 2), name="conv0")
    x = net.op("Conv", x, net.normal((2, 2, 1, 1), 2), name="conv1")
    net.output(x, 2, 4, 4)
    found = Layers(net.build())
    assert found.select(parse("c(conv1)")[0].arguments[0].value).nodes == ("conv0",)
    assert found.select(parse("c(conv2)")[0].arguments[0].value).nodes == ("conv1",)
    assert found.select(parse("c(conv0)")[0].arguments[0].value).nodes == ("conv0",)


def test_without_a_network_names_are_taken_as_they_are():
    (line,) = interpret(parse("quantization_param([a, {b*}], precision_mode=a8_w4)"), Layers(None))
    assert (line.use, line.faults) == (Use.STEP, ())
    assert "layers={a, b*: a8_w4}" in line.text


def test_a_file_is_read_by_the_component(tmp_path):
    path = tmp_path / "net.alls"
    path.write_text("foo()")
    with pytest.raises(RecipeError, match=r"net\.alls, line 1"):
        AllsReader().read(path, MODEL, None)
    assert len(AllsReader().read(path, MODEL, None, lenient=True).warnings) == 1


def test_every_row_of_the_table_says_what_it_does_and_where_it_is_known_from():
    for row in COMMANDS:
        assert row.here, row.title
        assert row.source, row.title
        assert BY_NAME[row.name][row.feature] is row
        for option in row.options:
            assert option.here or option.use is not Use.REFUSED, (row.title, option.name)
        for form in row.forms:
            assert set(form) <= set(row.known), row.title


WORD = st.sampled_from(["conv1", "enabled", "percentile", "a8_w4", "softmax", "pool", "net/dw1"])
VALUE = st.one_of(
    WORD,
    st.integers(-3, 40).map(str),
    st.floats(-5, 200).map(repr),
    st.lists(st.integers(-3, 260).map(str) | WORD, max_size=3).map(lambda v: f"[{', '.join(v)}]"),
    st.sampled_from(["{*}", "{conv*}", "True", "False", '"a"', "None"]),
)


@st.composite
def lines(draw):
    row = draw(st.sampled_from(COMMANDS))
    names = draw(st.lists(st.sampled_from(sorted(row.known) or ["x"]), unique=True, max_size=4))
    form = draw(st.sampled_from(row.forms))
    given_ = [*([row.feature] if row.feature else []), *(draw(VALUE) for _ in form)]
    given_ += [f"{name}={draw(VALUE)}" for name in names if name not in form]
    return f"{row.name}({', '.join(given_)})"


@settings(deadline=None)
@given(st.lists(lines(), max_size=6))
def test_no_line_does_anything_but_work_or_say_why_not(script):
    text = "\n".join(script)
    found = read_text(text, MODEL, lenient=True)
    for each in found.lines:
        assert each.text
        assert all(fault.line and fault.column for fault in each.faults)
    try:
        recipe = found.adapt(level(2, 1).recipe)
    except RecipeError as error:
        assert "line " in error.message  # noqa: PT017
    else:
        assert recipe == found.adapt(level(2, 1).recipe)
        assert recipe.from_toml(recipe.to_toml()) == recipe
