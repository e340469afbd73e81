import numpy as np
import pytest
from fewbits.errors import DataError, RecipeError
from fewbits.pictures import resize
from fewbits.preprocess import Preprocess, order_channels, parse_preprocess
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

NOISE = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)


def test_reads_the_form_of_the_command_line():
    said = parse_preprocess("resize=256,crop=224,mean=127,std=128")
    assert said == Preprocess(resize=256, crop=224, mean=(127,), std=(128,))


def test_reads_per_channel_values_sizes_and_words():
    said = parse_preprocess(
        "mean=[123.7, 116.3,103.5], resize=256x320,crop=[200,100],channels=bgr,layout=NHWC,"
        "interpolation=bilinear"
    )
    assert said.mean == (123.7, 116.3, 103.5)
    assert said.resize == (256, 320)
    assert said.crop == (200, 100)
    assert (said.channels, said.layout, said.interpolation) == ("BGR", "NHWC", "bilinear")


def test_nothing_said_is_plain_pixels():
    assert parse_preprocess("") == Preprocess()
    assert Preprocess().to_text() == ""


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("resise=256", "resise"),
        ("resize", "resize"),
        ("crop=", "crop"),
        ("crop=0", "crop"),
        ("crop=-3", "crop"),
        ("crop=2.5", "crop"),
        ("resize=[1,2,3]", "resize"),
        ("resize=true", "resize"),
        ("mean=grey", "mean"),
        ("mean=[1,grey]", "mean"),
        ("mean=nan", "mean"),
        ("mean=1e99", "mean"),
        ("std=1e-99", "std"),
        ("std=0", "std"),
        ("std=[1,0,1]", "std"),
        ("channels=RBG", "channels"),
        ("mean=1,mean=2", "mean"),
    ],
)
def test_a_wrong_option_is_named(text, named):
    with pytest.raises(RecipeError, match=named) as caught:
        parse_preprocess(text)
    assert caught.value.hint


def test_an_unknown_option_is_answered_with_the_nearest():
    with pytest.raises(RecipeError) as caught:
        parse_preprocess("resise=256")
    assert "'resize'" in caught.value.hint


SIDE = st.none() | st.integers(1, 999) | st.tuples(st.integers(1, 999), st.integers(1, 999))
NUMBER = st.floats(allow_nan=False, allow_infinity=False, width=32)
VALUES = st.lists(NUMBER, min_size=1, max_size=3).map(tuple)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.builds(
        Preprocess,
        resize=SIDE,
        crop=SIDE,
        stretch=st.none() | st.tuples(st.integers(1, 999), st.integers(1, 999)),
        mean=VALUES,
        std=VALUES.filter(lambda values: 0.0 not in values),
        channels=st.sampled_from(["RGB", "BGR", "GRAY", "NV12", "YUY2"]),
        layout=st.sampled_from(["NCHW", "NHWC"]),
        interpolation=st.sampled_from(["bicubic", "bilinear", "nearest", "area", "linear"]),
        rounding=st.sampled_from(["nearest", "torchvision"]),
        central=st.none() | st.floats(0.125, 1, width=32),
    )
)
def test_text_round_trips(said):
    assert parse_preprocess(said.to_text()) == said


def test_normalizes_each_channel_into_the_layout():
    image = Image.fromarray(NOISE)
    said = Preprocess(mean=(10, 20, 30), std=(2, 4, 8))
    expected = (NOISE.astype(np.float64) - [10, 20, 30]) / [2, 4, 8]
    assert np.array_equal(said.apply(image), expected.transpose(2, 0, 1).astype(np.float32))
    last = said.model_copy(update={"layout": "NHWC"}).apply(image)
    assert np.array_equal(last, expected.astype(np.float32))
    assert last.dtype == np.float32


def test_bgr_puts_blue_first_and_means_follow_that_order():
    said = Preprocess(mean=(30, 20, 10), channels="BGR", layout="NHWC")
    expected = NOISE[..., ::-1].astype(np.float32) - [30, 20, 10]
    assert np.array_equal(said.apply(Image.fromarray(NOISE)), expected)


def test_grey_has_pillows_weights():
    expected = np.asarray(Image.fromarray(NOISE).convert("L"))
    assert np.array_equal(order_channels(NOISE, "GRAY")[..., 0], expected)


def test_crop_is_centred_and_drops_the_odd_pixel_right_and_below():
    pixels = Preprocess(crop=(3, 4)).pixels(Image.fromarray(NOISE[:6, :9]))
    assert np.array_equal(pixels, NOISE[1:4, 2:6])


def test_resize_brings_the_shorter_side_and_keeps_proportions():
    image = Image.fromarray(NOISE)
    assert resize(image, 20).size == (30, 20)
    assert resize(image.transpose(Image.Transpose.ROTATE_90), 20).size == (20, 30)
    assert resize(image, (11, 13)).size == (13, 11)


def test_resize_to_the_present_size_changes_nothing():
    image = Image.fromarray(NOISE)
    assert resize(image, 40) is image
    assert resize(image, (40, 60)) is image


def test_area_is_the_mean_of_the_pixels_covered():
    small = Preprocess(resize=20, interpolation="area").pixels(Image.fromarray(NOISE))
    mean = NOISE.reshape(20, 2, 30, 2, 3).mean(axis=(1, 3))
    assert np.abs(small - mean).max() <= 1


def test_a_crop_larger_than_the_picture_names_file_and_sizes():
    with pytest.raises(DataError, match=r"cat\.png is 40x60 .* 224x224") as caught:
        Preprocess(crop=224).apply(Image.fromarray(NOISE), "cat.png")
    assert "resize=224" in caught.value.hint


def test_values_that_do_not_fit_the_channels_are_an_error():
    with pytest.raises(DataError, match="1 channels, and mean has 3"):
        Preprocess(mean=(1, 2, 3), channels="GRAY").apply(Image.fromarray(NOISE), "cat.png")
