"""Packed and reordered pixels, against Pillow's YCbCr and loops written from the definitions."""

import numpy as np
import pytest
from fewbits.colours import form, order_channels, yuv
from fewbits.errors import DataError
from fewbits.preprocess import Preprocess
from PIL import Image

PIXELS = np.random.default_rng(1).integers(0, 256, (6, 8, 3), np.uint8)
SMOOTH = np.repeat(np.repeat(PIXELS[::2, ::2], 2, axis=0), 2, axis=1)


def test_yuv_is_pillows_full_range_squeezed_into_the_limited_one():
    full = np.asarray(Image.fromarray(PIXELS).convert("YCbCr")).astype(np.float64)
    expected = np.stack(
        [
            16 + full[..., 0] * 219 / 255,
            *(128 + (full[..., 1:] - 128) * 224 / 255).transpose(2, 0, 1),
        ],
        axis=-1,
    )
    assert np.abs(yuv(PIXELS) - expected).max() < 1.0  # Pillow has rounded already


@pytest.mark.parametrize(
    ("rgb", "expected"),
    [
        ((0, 0, 0), (16, 128, 128)),
        ((255, 255, 255), (235, 128, 128)),
        ((255, 0, 0), (81, 90, 240)),
        ((0, 255, 0), (145, 54, 34)),
        ((0, 0, 255), (41, 240, 110)),
    ],
)
def test_yuv_of_the_primaries_is_what_the_standard_says(rgb, expected):
    pixels = np.full((1, 1, 3), rgb, np.uint8)
    assert order_channels(pixels, "YUV").ravel().tolist() == list(expected)


def test_nv12_holds_rows_of_luma_then_pairs_of_chroma():
    packed, planes = order_channels(SMOOTH, "NV12")[..., 0], order_channels(SMOOTH, "YUV")
    assert np.array_equal(packed[:6], planes[..., 0])
    for row in range(3):
        for column in range(4):
            pair = packed[6 + row, 2 * column : 2 * column + 2]
            assert np.array_equal(pair, planes[2 * row, 2 * column, 1:])


def test_nv21_swaps_the_pairs_and_i420_separates_them():
    twelve, other = order_channels(SMOOTH, "NV12"), order_channels(SMOOTH, "NV21")
    planar = order_channels(SMOOTH, "I420")
    pairs = twelve[6:].reshape(-1, 2)
    assert np.array_equal(other[6:].reshape(-1, 2), pairs[:, ::-1])
    assert np.array_equal(planar[:6], twelve[:6])
    assert np.array_equal(planar[6:].ravel(), np.concatenate([pairs[:, 0], pairs[:, 1]]))


def test_yuy2_has_the_bytes_y_u_y_v():
    planes = order_channels(SMOOTH, "YUV")
    first = order_channels(SMOOTH, "YUY2")[0].ravel()[:8]
    expected = [
        value
        for left in (0, 2)
        for value in (
            planes[0, left, 0],
            planes[0, left, 1],
            planes[0, left + 1, 0],
            planes[0, left, 2],
        )
    ]
    assert first.tolist() == expected


def test_chroma_is_the_mean_of_the_pixels_that_share_it():
    mean = yuv(PIXELS)[:2, :2, 1:].mean(axis=(0, 1))
    packed = order_channels(PIXELS, "NV12")
    assert np.abs(packed[6, :2, 0] - mean).max() <= 0.5


def test_rgbx_has_a_fourth_channel_of_zeros():
    four = order_channels(PIXELS, "RGBX")
    assert np.array_equal(four[..., :3], PIXELS)
    assert not four[..., 3].any()


@pytest.mark.parametrize("channels", ["RGB", "BGR", "RGBX", "YUV", "NV12", "NV21", "I420", "YUY2"])
def test_a_batch_is_packed_like_each_picture_and_has_the_form_that_is_said(channels):
    batch = np.stack([PIXELS, SMOOTH])
    packed = order_channels(batch, channels)
    assert packed.shape[1:] == form(channels, 6, 8)
    assert np.array_equal(packed[1], order_channels(SMOOTH, channels))


def test_odd_sides_cannot_share_chroma():
    with pytest.raises(DataError, match="even sides") as caught:
        order_channels(PIXELS[:5], "NV12", "a.png")
    assert "a.png becomes 5x8" in caught.value.message


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("channels", ["NV12", "YUY2", "RGBX", "GRAY", "RGB"])
def test_shape_is_that_of_what_comes_out(channels, layout):
    said = Preprocess(crop=(4, 6), stretch=(8, 6), channels=channels, layout=layout)
    assert said.apply(Image.fromarray(PIXELS)).shape == said.shape


def test_stretch_brings_the_crop_to_another_size():
    said = Preprocess(crop=6, stretch=(12, 6), interpolation="nearest")
    expected = np.repeat(PIXELS[:, 1:7], 2, axis=0)
    assert np.array_equal(said.pixels(Image.fromarray(PIXELS)), expected)
