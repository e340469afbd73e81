"""Hessians made fit to be inverted, and the factor of the inverse that goes column by column."""

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]


def damped(hessian: Matrix, damping: float | Matrix) -> Matrix:
    """Return `H + damping · mean(diag H) · I`; `I` where `H` is zero.

    Args:
        hessian: `(…, columns, columns)`, positive semidefinite.
        damping: share of the mean diagonal, one or `(…)`.
    """
    size = hessian.shape[-1]
    mean = np.trace(hessian, axis1=-2, axis2=-1) / max(size, 1)
    added = np.where(mean > 0.0, damping * mean, 1.0)
    found: Matrix = hessian + added[..., None, None] * np.eye(size)
    return found


def inverse_factor(hessian: Matrix) -> Matrix:
    """Return the upper triangular `U` with `H⁻¹ = Uᵀ·U`.

    `U_jj²` is `[H⁻¹]_jj` of the columns from `j` on, those before it fixed, and `U[j, j:] / U_jj`
    its row (Frantar et al. 2022).

    Args:
        hessian: `(…, columns, columns)`, positive definite.

    >>> inverse_factor(np.diag([4.0, 1.0]))
    array([[0.5, 0. ],
           [0. , 1. ]])
    """
    # With J the reversal, J·H·J = L·Lᵀ gives H⁻¹ = (J·L⁻¹·J)ᵀ·(J·L⁻¹·J), and J·L⁻¹·J is upper.
    lower = np.linalg.cholesky(hessian[..., ::-1, ::-1])
    return np.ascontiguousarray(np.linalg.inv(lower)[..., ::-1, ::-1])
