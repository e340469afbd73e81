"""The field's conventions, against their own formulas written out as their sources have them."""

import numpy as np
import pytest
from fewbits.errors import RecipeError
from fewbits.preprocess import Preprocess, parse_preprocess
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

RNG = np.random.default_rng(0)
SIDES = st.integers(9, 90)


def noise(height, width):
    return Image.fromarray(RNG.integers(0, 256, (height, width, 3), np.uint8))


def torchvision(image, resize, crop):
    """`Resize(resize)` and `CenterCrop(crop)` of torchvision.transforms, on a PIL picture."""
    width, height = image.size
    short, long = (width, height) if width <= height else (height, width)
    new_short, new_long = resize, int(resize * long / short)
    size = (new_short, new_long) if width <= height else (new_long, new_short)
    image = image.resize(size, Image.Resampling.BILINEAR) if size != image.size else image
    width, height = image.size
    top, left = round((height - crop) / 2.0), round((width - crop) / 2.0)
    return np.asarray(image.crop((left, top, left + crop, top + crop)))


@settings(max_examples=30, deadline=None)
@given(SIDES, SIDES)
def test_torchvision(height, width):
    image = noise(height, width)
    said = parse_preprocess("resize=20,crop=15,interpolation=bilinear,rounding=torchvision")
    assert np.array_equal(said.pixels(image), torchvision(image, 20, 15))


def linear(pixels, height, width):
    """Bilinear sampling pixel by pixel, half-pixel centres, without widening."""
    out = np.zeros((height, width, pixels.shape[-1]))
    for row in range(height):
        for column in range(width):
            y = min(max((row + 0.5) * pixels.shape[0] / height - 0.5, 0), pixels.shape[0] - 1)
            x = min(max((column + 0.5) * pixels.shape[1] / width - 0.5, 0), pixels.shape[1] - 1)
            top, left = int(y), int(x)
            below, right = min(top + 1, pixels.shape[0] - 1), min(left + 1, pixels.shape[1] - 1)
            upper = (1 - (x - left)) * pixels[top, left] + (x - left) * pixels[top, right]
            lower = (1 - (x - left)) * pixels[below, left] + (x - left) * pixels[below, right]
            out[row, column] = (1 - (y - top)) * upper + (y - top) * lower
    return out


@pytest.mark.parametrize("size", [(7, 9), (41, 30), (20, 90)])
def test_linear_samples_between_four_pixels(size):
    image = noise(33, 47)
    found = Preprocess(resize=size, interpolation="linear").pixels(image)
    assert np.abs(found - linear(np.asarray(image).astype(float), *size)).max() <= 0.501


def test_linear_keeps_grey_pictures_grey():
    image = noise(12, 12).convert("L")
    assert Preprocess(resize=(6, 6), interpolation="linear").pixels(image).shape == (6, 6, 1)


@settings(max_examples=30, deadline=None)
@given(SIDES, SIDES)
def test_tensorflows_central_crop(height, width):
    image = noise(height, width)
    top = int((float(height) - height * 0.875) / 2)
    left = int((float(width) - width * 0.875) / 2)
    rows, columns = height - 2 * top, width - 2 * left
    expected = np.asarray(image)[top : top + rows, left : left + columns]
    assert np.array_equal(Preprocess(central=0.875).pixels(image), expected)


def test_mobilenets_evaluation_is_the_central_crop_resized():
    image = noise(50, 70)
    said = parse_preprocess("central=0.875,resize=[16,16],interpolation=linear")
    part = np.asarray(image)[3:47, 4:66].astype(float)
    assert said.size == (16, 16)
    assert np.abs(said.pixels(image) - linear(part, 16, 16)).max() <= 0.501


@settings(max_examples=30, deadline=None)
@given(SIDES, SIDES)
def test_efficientnets_padded_crop(height, width):
    image = noise(height, width)
    square = int((24 / (24 + 4)) * min(height, width))
    top, left = ((height - square) + 1) // 2, ((width - square) + 1) // 2
    part = image.crop((left, top, left + square, top + square))
    expected = part.resize((24, 24), Image.Resampling.BICUBIC) if part.size != (24, 24) else part
    said = parse_preprocess("crop_padding=4,resize=24")
    assert said.size == (24, 24)
    assert np.array_equal(said.pixels(image), np.asarray(expected))


@settings(max_examples=30, deadline=None)
@given(SIDES, SIDES)
def test_letterbox(height, width):
    image = noise(height, width)
    r = min(32 / height, 40 / width)
    new_width, new_height = round(width * r), round(height * r)
    dw, dh = (40 - new_width) / 2, (32 - new_height) / 2
    top, bottom = round(dh - 0.1), round(dh + 0.1)
    left, right = round(dw - 0.1), round(dw + 0.1)
    inner = np.asarray(image.resize((new_width, new_height), Image.Resampling.BILINEAR))
    if (new_width, new_height) == image.size:
        inner = np.asarray(image)
    edges = ((top, bottom), (left, right), (0, 0))
    expected = np.pad(inner, edges, constant_values=114)
    said = parse_preprocess("resize=[32,40],letterbox=114,interpolation=bilinear")
    assert said.size == (32, 40)
    assert np.array_equal(said.pixels(image), expected)


def test_a_letterbox_of_grey_pictures_is_grey():
    said = Preprocess(resize=(8, 12), letterbox=7, channels="GRAY")
    pixels = said.pixels(noise(8, 8))
    assert pixels.shape == (8, 12, 1)
    assert (pixels[:, :2] == 7).all()


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("letterbox=114", "letterbox needs resize"),
        ("letterbox=114,resize=640", "letterbox needs resize"),
        ("crop_padding=32", "crop_padding needs resize"),
        ("central=0.875,crop_padding=32,resize=224", "exclude each other"),
        ("central=1.5", "central"),
        ("letterbox=300,resize=[4,4]", "letterbox"),
    ],
)
def test_what_does_not_go_together_is_refused(text, match):
    with pytest.raises(RecipeError, match=match):
        parse_preprocess(text)


@pytest.mark.parametrize(
    "text",
    [
        "central=0.875,resize=[224,224],interpolation=linear",
        "crop_padding=32,resize=224",
        "resize=[640,640],letterbox=114,interpolation=linear",
        "resize=256,crop=224,rounding=torchvision,interpolation=bilinear",
    ],
)
def test_text_says_it_all(text):
    assert parse_preprocess(parse_preprocess(text).to_text()) == parse_preprocess(text)
