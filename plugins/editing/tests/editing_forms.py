"""What the edits undo, written from the definitions: pixel by pixel, nothing shared with them."""

import numpy as np

FACTOR, BLUE, RED = 255 / 219, 0.114, 0.299
CHROMA = 255 / 224


def rgb_of_yuv(y, u, v, decimals=3):
    """Return R, G, B by BT.601's own constants, rounded as devices do; arrays of one shape."""
    green = 1 - RED - BLUE
    shares = [FACTOR, CHROMA * 2 * (1 - RED), CHROMA * 2 * (1 - BLUE)]
    shares += [shares[2] * BLUE / green, shares[1] * RED / green]
    luma, red_v, blue_u, green_u, green_v = (round(share, decimals) for share in shares)
    grey, u, v = luma * (y - 16), u - 128, v - 128
    rgb = [grey + red_v * v, grey - green_u * u - green_v * v, grey + blue_u * u]
    return np.clip(np.stack(rgb, axis=1), 0, 255)


def planes(packed, form, height, width):
    """Return Y, U, V of `(n, c, rows, columns)`, pixel by pixel."""
    y, u, v = (np.zeros((len(packed), height, width)) for _ in range(3))
    flat = packed.reshape(len(packed), -1)
    for row in range(height):
        for column in range(width):
            quad = (row // 2) * (width // 2) + column // 2
            base = height * width
            match form:
                case "yuv":
                    y[:, row, column], u[:, row, column], v[:, row, column] = packed[
                        :, :, row, column
                    ].T
                    continue
                case "nv12":
                    at = base + 2 * quad, base + 2 * quad + 1
                case "nv21":
                    at = base + 2 * quad + 1, base + 2 * quad
                case "i420":
                    at = base + quad, base + base // 4 + quad
                case "yuy2":
                    even = 2 * (column // 2)
                    y[:, row, column] = packed[:, 0, row, column]
                    u[:, row, column] = packed[:, 1, row, even]
                    v[:, row, column] = packed[:, 1, row, even + 1]
                    continue
            y[:, row, column] = flat[:, row * width + column]
            u[:, row, column], v[:, row, column] = flat[:, at[0]], flat[:, at[1]]
    return y, u, v


def undone(kind, packed, height=12, width=12, decimals=3):
    """Return what the network took before the conversion, for what it takes now."""
    source, target = kind.split("_to_")
    wide = packed.astype(np.float64)
    if source == "rgbx":
        return packed[:, :3]
    if source in ("rgb", "bgr"):
        return packed[:, ::-1]
    y, u, v = planes(wide, source, height, width)
    if target == "yuv":
        return np.stack([y, u, v], axis=1).astype(np.float32)
    rgb = rgb_of_yuv(y, u, v, decimals)
    return (rgb if target == "rgb" else rgb[:, ::-1]).astype(np.float32)


def bilinear(x, height, width):
    """Return `(n, c, h, w)` sampled at the new pixels' middles, clamped at the edges."""
    out = np.zeros((*x.shape[:2], height, width))
    for row in range(height):
        for column in range(width):
            at = (
                np.clip((row + 0.5) * x.shape[2] / height - 0.5, 0, x.shape[2] - 1),
                np.clip((column + 0.5) * x.shape[3] / width - 0.5, 0, x.shape[3] - 1),
            )
            low = [int(place) for place in at]
            high = [min(n + 1, size - 1) for n, size in zip(low, x.shape[2:], strict=True)]
            part = [place - n for place, n in zip(at, low, strict=True)]
            top = (1 - part[1]) * x[:, :, low[0], low[1]] + part[1] * x[:, :, low[0], high[1]]
            below = (1 - part[1]) * x[:, :, high[0], low[1]] + part[1] * x[:, :, high[0], high[1]]
            out[:, :, row, column] = (1 - part[0]) * top + part[0] * below
    return out.astype(np.float32)
