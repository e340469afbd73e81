"""`input_conversion`, `resize` and `input_layout`: the other form gives what the old one gave."""

import numpy as np
import pytest
from editing_forms import bilinear, undone
from fewbits.errors import ModelError, RecipeError
from fewbits.preprocess import Preprocess
from fewbits.testing import AlgorithmContract, toys
from fewbits.testing.algorithm import masked
from fewbits.testing.inspection import context, float_outputs, relative_difference
from fewbits.testing.net import Net
from fewbits_editing.conversion import InputConversion
from fewbits_editing.layout import InputLayout
from fewbits_editing.options import (
    InputConversionOptions,
    InputLayoutOptions,
    Kind,
    ResizeOptions,
)
from fewbits_editing.resizing import InputResize
from fewbits_editing.sizes import rescaled, scale
from PIL import Image

KINDS = Kind.__args__
PICTURES = ("conv_chain", "depthwise", "residual", "se_block", "strided", "resize", "softmax")


def conversion(kind, **options):
    options = {"emulator_support": True, **options}
    return InputConversion(InputConversionOptions(kind=kind, **options))


def resizing(height, width, **options):
    return InputResize(ResizeOptions(height=height, width=width, **options))


def layout(name):
    return InputLayout(InputLayoutOptions(layout=name))


def picture(height=20, width=20, seed=3):
    pixels = np.random.default_rng(seed).integers(0, 256, (height // 4, width // 4, 3), np.uint8)
    return Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC)


def numbers(shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape).astype(np.float32)


def edit(algorithm, model):
    return algorithm.apply(model, context(None)).model


def run(model, x):
    return float_outputs(model, {model.input_names[0]: x})[model.output_names[0]]


def shape(model):
    return tuple(model.graph.inputs[0].shape)[1:]


class TestNv12(AlgorithmContract):
    toys = PICTURES

    @pytest.fixture
    def algorithm(self):
        return conversion("nv12_to_rgb")

    def undone(self, algorithm, inputs):
        return {name: undone("nv12_to_rgb", x) for name, x in inputs.items()}


class TestReversed(AlgorithmContract):
    toys = PICTURES

    @pytest.fixture
    def algorithm(self):
        return conversion("bgr_to_rgb")

    def undone(self, algorithm, inputs):
        return {name: undone("bgr_to_rgb", x) for name, x in inputs.items()}


class TestLeftToTheDevice(AlgorithmContract):
    toys = PICTURES

    @pytest.fixture
    def algorithm(self):
        return InputConversion(InputConversionOptions(kind="yuy2_to_rgb"))


class TestResize(AlgorithmContract):
    toys = PICTURES

    @pytest.fixture
    def algorithm(self):
        return resizing(20, 16)

    def undone(self, algorithm, inputs):
        return {name: bilinear(x, 12, 12) for name, x in inputs.items()}


class TestLayout(AlgorithmContract):
    toys = PICTURES

    @pytest.fixture
    def algorithm(self):
        return layout("NHWC")

    def undone(self, algorithm, inputs):
        return {name: np.moveaxis(x, -1, 1) for name, x in inputs.items()}


def negative():
    """A network whose output shows its input."""
    net = Net("negative")
    net.output(net.op("Neg", net.input("image", 3, 12, 12)), 3, 12, 12)
    return net.build()


@pytest.mark.parametrize("kind", KINDS)
def test_every_conversion_gives_what_the_definition_says(kind):
    edited = edit(conversion(kind), negative())
    x = numbers((2, *shape(edited)))
    assert np.abs(undone(kind, x) + run(edited, x)).max() < 1e-3
    # Three decimals, as devices have them, are a quarter of a step away from the standard's own.
    assert np.abs(undone(kind, x, decimals=9) + run(edited, x)).max() < 0.25


@pytest.mark.parametrize("kind", ["nv12_to_rgb", "yuy2_to_rgb", "bgr_to_rgb", "rgbx_to_rgb"])
def test_channels_last_are_converted_too(kind):
    model = toys.conv_chain()
    first = edit(conversion(kind), model)
    said = Preprocess(layout="NHWC")
    last = edit(conversion(kind), edit(layout("NHWC"), model).replace(preprocess=said))
    x = numbers((2, *shape(first)))
    assert shape(last) == (*shape(first)[1:], shape(first)[0])
    assert np.allclose(run(first, x), run(last, np.moveaxis(x, 1, -1)), atol=1e-3)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("nv12_to_rgb", (1, 18, 12)), ("yuy2_to_rgb", (2, 12, 12)), ("rgbx_to_rgb", (4, 12, 12))],
)
def test_the_input_has_the_shape_of_the_buffer(kind, expected):
    assert shape(edit(conversion(kind), toys.conv_chain())) == expected


@pytest.mark.parametrize("kind", ["nv12_to_rgb", "nv21_to_rgb", "i420_to_rgb", "yuy2_to_rgb"])
@pytest.mark.parametrize("where", ["NCHW", "NHWC"])
def test_pictures_come_in_packed_and_lose_only_shared_chroma_and_rounding(kind, where):
    model = edit(layout(where), negative().replace(preprocess=Preprocess(crop=12)))
    edited = edit(conversion(kind), model)
    assert edited.preprocess.channels == kind.split("_")[0].upper()
    image = Image.fromarray(np.full((12, 12, 3), (200, 40, 90), np.uint8))
    before = run(model, model.preprocess.apply(image)[None])
    after = run(edited, edited.preprocess.apply(image)[None])
    assert np.abs(before - after).max() < 2


def test_rgbx_and_bgr_pictures_give_the_very_same():
    said = Preprocess(crop=12, mean=(10, 20, 30), std=(2, 3, 4))
    model = toys.conv_chain().replace(preprocess=said)
    before = run(model, said.apply(picture())[None])
    for kind in ("rgbx_to_rgb", "bgr_to_rgb"):
        edited = edit(conversion(kind), model)
        after = run(edited, edited.preprocess.apply(picture())[None])
        assert relative_difference(before, after) < 1e-6, kind


def test_convolutions_take_the_order_of_channels_into_their_weights_and_masks():
    model = masked(toys.conv_chain())
    edited = edit(conversion("bgr_to_rgb"), model)
    assert [n.op_type for n in edited.graph] == [n.op_type for n in model.graph]
    name = "conv_0_weight"
    assert np.array_equal(edited.masks[name], model.masks[name][:, ::-1])


def test_grouped_convolutions_get_their_channels_gathered():
    net = Net("grouped")
    net.output(net.conv(net.input("image", 3, 12, 12), 3, 3, group=3), 3, 12, 12)
    model = net.build()
    edited = edit(conversion("bgr_to_rgb"), model)
    assert [n.op_type for n in edited.graph] == ["Gather", "Conv"]
    x = numbers((2, 3, 12, 12))
    assert np.array_equal(run(model, x[:, ::-1]), run(edited, x))


def test_left_to_the_device_it_stands_in_the_report_alone():
    model = toys.conv_chain().replace(preprocess=Preprocess(mean=3))
    outcome = InputConversion(InputConversionOptions(kind="nv12_to_rgb")).apply(
        model, context(None)
    )
    assert not outcome.report.changed
    assert outcome.report.metrics == {"kind": "nv12_to_rgb", "emulator_support": False}
    assert outcome.model.preprocess == model.preprocess


@pytest.mark.parametrize(
    ("said", "kind", "error", "match"),
    [
        (Preprocess(channels="BGR"), "nv12_to_rgb", RecipeError, "the network takes BGR"),
        (Preprocess(mean=127), "nv12_to_rgb", RecipeError, "normalized afterwards"),
        (Preprocess(channels="NV12"), "nv12_to_rgb", RecipeError, "takes NV12"),
    ],
)
def test_a_conversion_that_does_not_fit_is_refused(said, kind, error, match):
    with pytest.raises(error, match=match) as caught:
        edit(conversion(kind), toys.conv_chain().replace(preprocess=said))
    assert caught.value.hint


def test_what_is_no_picture_is_refused():
    for toy in (toys.gemm, toys.conv1d, toys.matmul):
        with pytest.raises(ModelError) as caught:
            edit(conversion("nv12_to_rgb"), toy())
        assert caught.value.hint


def test_odd_sides_cannot_share_chroma_and_resize_is_the_remedy():
    net = Net("odd")
    net.output(net.conv(net.input("image", 3, 11, 12), 3, 2), 2, 11, 12)
    with pytest.raises(ModelError, match="odd sides") as caught:
        edit(conversion("nv12_to_rgb"), net.build())
    assert "'resize'" in caught.value.hint
    assert shape(edit(conversion("nv12_to_rgb"), edit(resizing(14, 16), net.build()))) == (
        1,
        21,
        16,
    )


@pytest.mark.parametrize("layer", ["conv_chain", "pooling"])
def test_a_larger_picture_is_brought_to_the_networks_size(layer):
    model = toys.TOYS[layer]()
    edited = edit(resizing(24, 30), model)
    x = numbers((2, 3, 24, 30))
    assert relative_difference(run(model, bilinear(x, 12, 12)), run(edited, x)) < 1e-4


def test_nearest_takes_the_middle_pixel():
    model = toys.conv_chain()
    edited = edit(resizing(36, 36, method="nearest_neighbor"), model)
    x = numbers((1, 3, 36, 36))
    assert np.array_equal(run(model, x[:, :, 1::3, 1::3]), run(edited, x))


def test_resizing_with_channels_last_is_the_same():
    model = toys.conv_chain()
    last = edit(layout("NHWC"), model).replace(preprocess=Preprocess(layout="NHWC"))
    x = numbers((1, 3, 20, 16))
    before = run(edit(resizing(20, 16), model), x)
    after = run(edit(resizing(20, 16), last), np.moveaxis(x, 1, -1))
    assert relative_difference(before, after) < 1e-5


def test_pictures_come_in_at_the_new_size_with_the_same_field_of_view():
    said = Preprocess(resize=16, crop=12, interpolation="bilinear")
    model = negative().replace(preprocess=said)
    edited = edit(resizing(24, 24), model)
    assert edited.preprocess.to_text() == "resize=32,crop=24,interpolation=bilinear"
    ramp = np.add.outer(3 * np.arange(48), np.arange(48))[..., None].repeat(3, axis=-1)
    image = Image.fromarray(ramp.astype(np.uint8))
    before = run(model, said.apply(image)[None])
    assert np.abs(before - run(edited, edited.preprocess.apply(image)[None])).max() < 1.5


@pytest.mark.parametrize(
    ("said", "old", "new", "expected"),
    [
        (
            "resize=256,crop=224",
            (224, 224),
            (1080, 1920),
            "resize=2194,crop=1920,stretch=[1080,1920]",
        ),
        ("crop=224", (224, 224), (112, 112), "crop=224,stretch=[112,112]"),
        ("", (224, 224), (112, 112), "resize=[112,112]"),
        ("resize=256,crop=[192,224]", (192, 224), (96, 112), "resize=128,crop=[96,112]"),
        ("resize=[256,300],crop=224", (224, 224), (448, 448), "resize=[512,600],crop=448"),
        ("crop_padding=32,resize=224", (224, 224), (448, 448), "crop_padding=64,resize=[448,448]"),
        (
            "crop_padding=32,resize=224",
            (224, 224),
            (224, 448),
            "crop_padding=32,resize=224,stretch=[224,448]",
        ),
        (
            "resize=[64,96],letterbox=114",
            (64, 96),
            (128, 192),
            "resize=[128,192],letterbox=114",
        ),
        (
            "central=0.875,resize=[64,64]",
            (64, 64),
            (32, 48),
            "central=0.875,resize=[32,48]",
        ),
        ("resize=[64,64],stretch=[32,32]", (32, 32), (16, 16), "resize=[64,64],stretch=[16,16]"),
    ],
)
def test_preprocessing_for_another_size(said, old, new, expected):
    from fewbits.preprocess import parse_preprocess

    given = parse_preprocess(said)
    assert given.size in (None, old)
    found = rescaled(given, old, new)
    assert found.to_text() == expected
    assert found.size == new


def test_resize_comes_before_packed_conversions():
    model = toys.conv_chain().replace(preprocess=Preprocess(crop=12))
    packed = edit(conversion("nv12_to_rgb"), model)
    with pytest.raises(RecipeError, match="come in as NV12 already") as caught:
        edit(resizing(24, 24), packed)
    assert "before 'input_conversion'" in caught.value.hint


def test_a_size_must_be_said_and_the_present_one_changes_nothing():
    with pytest.raises(RecipeError, match="no size is said"):
        edit(InputResize(ResizeOptions()), toys.conv_chain())
    outcome = resizing(12, 12).apply(toys.conv_chain(), context(None))
    assert not outcome.report.changed


def test_a_layout_that_is_there_already_changes_nothing():
    model = toys.conv_chain().replace(preprocess=Preprocess(crop=12))
    assert not layout("nchw").apply(model, context(None)).report.changed
    turned = edit(layout("nhwc"), model)
    assert turned.preprocess.layout == "NHWC"
    image = picture(12, 12)
    before = run(model, model.preprocess.apply(image)[None])
    assert np.array_equal(before, run(turned, turned.preprocess.apply(image)[None]))


def test_scales_give_the_size_that_was_asked_for():
    for old in range(1, 300, 7):
        for new in range(1, 300, 3):
            assert np.floor(np.float32(old) * scale(old, new)) == new
