"""Bounds averaged over where targets may be, so that an uncertain track is lit all over."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from nf_isac_ros.core.fisher import FisherMap
from nf_isac_ros.core.information import InformationMap
from nf_isac_ros.core.problem import (
    Problem,
    SigmaPoint,
    conditioned_block,
    joined,
    receive_side,
    scaled_block,
)
from nf_isac_ros.core.propagation import write_decorrelated
from nf_isac_ros.core.scene import PointTarget
from nf_isac_ros.core.subspace import gram_matrix, subspace

Real = NDArray[np.float64]
Complex = NDArray[np.complex128]

# Weight of the expected positions; the others lie sqrt(3 / (1 - share)) = 2 standard deviations
# away.
CENTRE_SHARE = 0.25


def sigma_points(targets: tuple[PointTarget, ...]) -> list[tuple[float, Real]]:
    """
    Few places with the mean and the covariance of where targets are.

    Parameters
    ----------
    targets : tuple of PointTarget

    Returns
    -------
    list of (float, ndarray of shape (K, 3))
        Weight, of sum one, and positions [m]; the expected ones come first. The targets move
        together, each along the same principal axis of its own covariance: seven points for any
        number of them, right for each by itself. Only that if no position is uncertain.

    Notes
    -----
    The unscented transform (Julier, Uhlmann, Proc. IEEE 92, 2004) in three dimensions.

    """
    expected = np.array([target.position for target in targets]).reshape(-1, 3)
    roots = np.stack([_principal_axes(target.position_covariance) for target in targets])
    if not roots.any():
        return [(1.0, expected)]
    reach = np.sqrt(3.0 / (1.0 - CENTRE_SHARE))
    share = (1.0 - CENTRE_SHARE) / 6.0
    return [(CENTRE_SHARE, expected)] + [
        (share, expected + sign * reach * roots[:, :, axis])
        for axis in range(3) for sign in (1.0, -1.0)]


def _principal_axes(covariance: Real) -> Real:
    """Columns whose outer products add up to the covariance, the longest first, shape (3, 3)."""
    values, vectors = np.linalg.eigh(covariance)
    axes: Real = (vectors * np.sqrt(np.maximum(values, 0.0)))[:, ::-1]
    return axes


def region_problem(problem: Problem) -> Problem:
    """
    Problem with the bounds of the point targets averaged over their sigma points.

    Parameters
    ----------
    problem : Problem

    Returns
    -------
    Problem
        The same one if no position is uncertain. Otherwise its subspace is larger: it holds what
        lights any of the sigma points; its Fisher map has a block for each of them.

    Raises
    ------
    SceneError
        If a target at a sigma point lies on an antenna, or no covariance at all can locate it.

    Notes
    -----
    The average is sum_s share_s tr(W CRB_s(S)), and each F_s is linear in S: with the F_s as
    blocks of one Fisher matrix it is tr(E^T F^-1 E) like any other objective.

    """
    scene = problem.scene
    if not any(target.position_covariance.any() for target in scene.targets):
        return problem
    radio, array, n = scene.radio, scene.transmit_array, len(scene.targets)
    (centre, _), *others = sigma_points(scene.targets)
    names = [target.id for target in scene.targets]
    first = problem.columns.shape[1]
    rows = np.empty((first + 4 * n * len(others), len(array)), dtype=complex)
    rows[:first] = problem.columns.T
    spots = [slice(first + 4 * n * i, first + 4 * n * (i + 1)) for i in range(len(others))]
    for (_, places), own in zip(others, spots, strict=True):
        write_decorrelated(array.axes, places, radio.wavelength, names, rows[own])
    columns = rows.T
    gram = gram_matrix(columns)
    n_users = len(scene.users)
    space = subspace(columns, gram, n_users)

    points = [SigmaPoint(centre, replace(
        problem.full_fisher, transmit=columns[:, problem.point_columns]), problem.point_columns)]
    for (share, places), own in zip(others, spots, strict=True):
        receive_gram, _ = receive_side(scene, places, names, gram[own, own])
        points.append(SigmaPoint(share, FisherMap(
            receive_gram, columns[:, own], problem.full_fisher.reflections,
            problem.full_fisher.symbols, problem.full_fisher.scale), own))
    blocks: list[tuple[InformationMap, Real]] = []
    for point in points:
        block, selection = scaled_block(
            point.full_fisher, space.coordinates[:, point.own], scene)
        blocks.append((block, selection * np.sqrt(point.share)))
    for body, fisher, own in zip(
            scene.extended, problem.extended, problem.extended_columns, strict=True):
        extended, selection = conditioned_block(
            fisher, space.coordinates[:, own] * np.sqrt(radio.power), 'centre')
        blocks.append((extended, selection * np.sqrt(body.weight)))
    information, selection = joined(blocks)

    channels = space.coordinates[:, :n_users] / np.sqrt(gram.diagonal()[:n_users].real)
    channels[space.rank:] = 0.0
    return replace(
        problem, columns=columns, gram=gram, basis=space.basis, user_channels=channels,
        full_fisher=points[0].full_fisher, fisher=information, selection=selection,
        sigma_points=tuple(points))
