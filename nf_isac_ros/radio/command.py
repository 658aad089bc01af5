"""Beams as they arrive at the radio, before anything about them is believed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Beams = NDArray[np.complex64]


@dataclass(frozen=True)
class BeamCommand:
    """
    Content of a Beamformer message, unchecked.

    Attributes
    ----------
    sequence : int
        Counts up by one with each message of one activation of the designer.
    publish_stamp, valid_until : int
        Start and end of the lease, in node time [ns].
    design_stamp, oldest_track_stamp : int
        Stamps of the newest and of the oldest pose that was used, in node time [ns].
    n_elements, n_users, n_sensing : int
        Rows, communication columns and sensing columns that the weights are said to have.
    user_ids : tuple of str
        One for each communication beam.
    weights : ndarray of float32, shape (2 n_elements (n_users + n_sensing),)
        Column major, interleaved re, im [sqrt(W)].
    power : float
        Total power that the weights are said to have [W].
    wavelength : float
        [m].
    layout_hash : str
        Of the element positions that the weights belong to.
    calibration_epoch : int
        Calibration of the radio that the weights assume; 0: none.
    design : str
        Name of the design.

    """

    sequence: int
    publish_stamp: int
    valid_until: int
    design_stamp: int
    oldest_track_stamp: int
    n_elements: int
    n_users: int
    n_sensing: int
    user_ids: tuple[str, ...]
    weights: NDArray[np.float32]
    power: float
    wavelength: float
    layout_hash: str
    calibration_epoch: int = 0
    design: str = ''

    def matrix(self) -> Beams:
        """Weights as a matrix, shape (n_elements, n_users + n_sensing) [sqrt(W)]; no copy."""
        return self.weights.view(np.complex64).reshape(
            (self.n_elements, self.n_users + self.n_sensing), order='F')


def command_from_message(message: Any) -> BeamCommand:
    """
    Content of a Beamformer message; the weights are not copied.

    Parameters
    ----------
    message : nf_isac_msgs/msg/Beamformer
        Of rclpy (weights in an array.array) or of rosbags (in an ndarray).

    """
    return BeamCommand(
        int(message.sequence), _nanoseconds(message.publish_stamp),
        _nanoseconds(message.valid_until), _nanoseconds(message.design_stamp),
        _nanoseconds(message.oldest_track_stamp), int(message.n_elements), int(message.n_users),
        int(message.n_sensing), tuple(message.user_ids),
        np.frombuffer(message.weights, np.float32), float(message.power),
        float(message.wavelength), message.layout_hash, int(message.calibration_epoch),
        message.design)


def _nanoseconds(stamp: Any) -> int:
    return int(stamp.sec) * 10 ** 9 + int(stamp.nanosec)


def total_power(beams: Beams) -> float:
    """Total radiated power of beams, shape (N, B) [sqrt(W)], in W."""
    return float(element_powers(beams).sum())


def element_powers(beams: Beams) -> NDArray[np.float64]:
    """Radiated power of each element, shape (N,) [W], of beams, shape (N, B) [sqrt(W)]."""
    # Summed in double precision: the largest float32 squared must not overflow the check.
    real, imag = beams.real.astype(np.float64), beams.imag.astype(np.float64)
    powers: NDArray[np.float64] = (real * real + imag * imag).sum(axis=1)
    return powers


def eirp_bound(beams: Beams) -> float:
    """
    Upper bound on the equivalent isotropically radiated power over all directions.

    Of isotropic elements, for the sum of the power densities of all beams, which carry
    independent signals.

    Parameters
    ----------
    beams : ndarray, shape (N, B)
        [sqrt(W)].

    Returns
    -------
    float
        The smaller one of two bounds [W]: each beam is at most what all elements give in phase,
        sum_b (sum_n |w_nb|)^2; and |a^T B|^2 for |a|^2 = N is at most N times the largest
        eigenvalue of B B^H. The first one is met by a beam that all elements send in phase; the
        second one knows that beams are orthogonal, and so do not point in the same direction.

    """
    in_phase = float((np.abs(beams).astype(np.float64).sum(axis=0) ** 2).sum())
    if not np.isfinite(in_phase):
        return in_phase
    gram = (beams.conj().T.astype(np.complex128)) @ beams
    return min(in_phase, len(beams) * largest_eigenvalue(gram))


def largest_eigenvalue(gram: NDArray[np.complex128]) -> float:
    """Largest eigenvalue of a Gram matrix B^H B, shape (B, B): that of B B^H as well."""
    return float(np.linalg.eigvalsh(gram)[-1])
