"""The small subspace that an optimal covariance lives on."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import qr

Complex = NDArray[np.complex128]

# A normalised column whose part outside the span of the others is smaller than this adds nothing.
RANK_TOLERANCE = 1e-9


def reduced_basis(channels: Complex, steering: Complex) -> tuple[Complex, int]:
    """
    Orthonormal basis of the span of user channels and conjugate target responses.

    Parameters
    ----------
    channels : ndarray, shape (N, U)
        User channels h.
    steering : ndarray, shape (N, n)
        conj of the transmit responses of the targets and of their derivatives.

    Returns
    -------
    basis : ndarray, shape (N, d)
        Orthonormal columns. The first `rank` of them span the channels.
    rank : int
        Rank of the channels.

    Notes
    -----
    Propositions 2 and 4 of Hua, Xu, Zhang. Rank-revealing, because a user at the place of a
    target has the conjugate response of the target as its channel, and then the paper's basis is
    singular.

    """
    user_basis = _orthonormal(_normalised(channels))
    rest = _normalised(steering)
    # Projected twice: once leaves the rounding of what was taken off.
    for _ in range(2):
        rest = rest - user_basis @ (user_basis.conj().T @ rest)
    return np.hstack([user_basis, _orthonormal(rest)]), user_basis.shape[1]


def _normalised(columns: Complex) -> Complex:
    norm = np.linalg.norm(columns, axis=0)
    return columns / np.where(norm > 0, norm, 1.0)


def _orthonormal(columns: Complex) -> Complex:
    if columns.shape[1] == 0:
        return columns
    q, r, _ = qr(columns, mode='economic', pivoting=True, check_finite=False)
    rank = int(np.count_nonzero(np.abs(np.diag(r)) > RANK_TOLERANCE))
    return q[:, :rank]
