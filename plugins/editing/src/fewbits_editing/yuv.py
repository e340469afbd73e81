"""YUV of limited range to RGB, as one matrix and one offset. Plain arrays."""

import numpy as np
from numpy.typing import NDArray

#: rows R, G, B over columns Y, U, V: ITU-R BT.601, limited range, 8 bits, to three decimals, as
#: OpenCV (COLOR_YUV2RGB_NV12 and its kin) and device compilers write it.
RGB_OF_YUV = np.array(
    [[1.164, 0.0, 1.596], [1.164, -0.392, -0.813], [1.164, 2.017, 0.0]], np.float32
)
#: what Y, U and V are where R, G and B are 0.
BLACK = np.array([16.0, 128.0, 128.0], np.float32)


def kernel(order: str) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the 1×1 convolution that turns YUV into RGB or BGR: `M·(yuv − black)`.

    Args:
        order: rgb or bgr.

    Returns:
        The weight, `(3, 3, 1, 1)`, and the bias, `(3,)`.

    >>> kernel("rgb")[1].astype(float).round(3).tolist()
    [-222.912, 135.616, -276.8]
    """
    matrix = RGB_OF_YUV if order == "rgb" else RGB_OF_YUV[::-1]
    bias = -(matrix.astype(np.float64) @ BLACK)
    return np.ascontiguousarray(matrix)[..., None, None], bias.astype(np.float32)
