"""Rows of the designs for extended targets: beside cvxpy, against C, Nt and K, near field."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import count
import time

import numpy as np

from nf_isac_ros.bench.sampling import Effort, Row, milliseconds, number, paced
from nf_isac_ros.core.arrays import AntennaArray, linear_elements, planar_elements
from nf_isac_ros.core.cycle import QUICK_GAP, solve
from nf_isac_ros.core.designs import DESIGNS
from nf_isac_ros.core.exceptions import NfIsacError, SolverError
from nf_isac_ros.core.extended.channels import saleh_valenzuela
from nf_isac_ros.core.extended.contour import Contour
from nf_isac_ros.core.extended.plane import pose_in_plane
from nf_isac_ros.core.extended.problem import extended_problem
from nf_isac_ros.core.problem import Problem, build_problem
from nf_isac_ros.core.scene import (
    ExtendedOptions,
    ExtendedTarget,
    Radio,
    Scene,
    SensingNoise,
    User,
)
from nf_isac_ros.core.solution import Solution

SEED = 7
# The vehicle of the extended-target paper.
VEHICLE = Contour((2.05, -0.002, 0.5, 0.0, 0.056, 0.001, -0.125, 0.003),
                  (1.24, -0.001, 0.335, -0.001, 0.124, -0.001, 0.018, 0.0))
SDR, ZERO_FORCING = 'extended-crb-min', 'extended-zero-forcing'
GAP = 1e-4
# Within zero forcing, as where it stands in for the optimal design: it loses more by itself.
ZERO_FORCING_GAP = QUICK_GAP
NEAR_GAP = 1e-2
# Unreduced programs take seconds, and at 32 antennas minutes.
PEER_SCENES = 3


@dataclass(frozen=True)
class Size:
    """Users C, transmit antennas Nt and sections K."""

    users: int = 4
    antennas: int = 16
    sections: int = 8


BASE = Size()
SIZES = (BASE, *(replace(BASE, users=n) for n in (1, 2, 8)),
         *(replace(BASE, antennas=n) for n in (8, 32, 64)),
         *(replace(BASE, sections=n) for n in (4, 16, 32)))


def rows(effort: Effort, peers: str, sizes: Iterable[Size] = SIZES) -> Iterator[Row]:
    """Design for extended targets, cold."""
    for size in sizes:
        yield from _far(effort, size, peers if size == BASE else 'none')
    yield from _near(effort)


def _far(effort: Effort, size: Size, peers: str) -> Iterator[Row]:
    problems = [build_problem(scene) for scene in paced(
        feasible_scenes(size), min(effort.runs, 20), effort.seconds / 2)]
    sdr, forced = _measured(effort, problems, GAP, ZERO_FORCING_GAP)
    n, c, k = size.antennas, size.users, size.sections
    operations = {
        SDR: {'paper_unknowns': c * n ** 2 + 1, 'unknowns': _unknowns(sdr, c)},
        ZERO_FORCING: {'paper_unknowns': 4 * c + 2, 'paper_programs': k ** c,
                       'unknowns': _unknowns(forced, c)}}
    compared = _unreduced(problems, peers) if peers != 'none' else {}
    for name, row in ((SDR, sdr), (ZERO_FORCING, forced)):
        yield {'bench': 'extended', 'design': name, 'users': c, 'antennas': n, 'sections': k,
               **row, **operations[name],
               **({'peers': compared} if name == SDR and compared else {})}


def _unknowns(row: Row, n_users: int) -> int:
    """Real unknowns of the compact form: S and one part for each user."""
    dimension: int = row.pop('dimension')
    return dimension ** 2 + n_users ** 3


def _near(effort: Effort) -> Iterator[Row]:
    problem = build_problem(near_scene())
    sdr, forced = _measured(effort, [problem], NEAR_GAP, NEAR_GAP)
    for name, row in ((SDR, sdr), (ZERO_FORCING, forced)):
        yield {'bench': 'extended-near', 'design': name, 'users': 3, 'antennas': 2304,
               'sections': 12, 'subspace_dimension': row.pop('dimension'), **row}


def _measured(effort: Effort, problems: list[Problem], gap: float,
              gap_of_forced: float) -> tuple[Row, Row]:
    """
    Times and certified gaps of both designs, one after the other on problems that are built.

    In the row of zero forcing `sdr_ratio`: how many times the optimal design takes what zero
    forcing takes on the same problem, right before; the median.
    """
    gaps = {SDR: gap, ZERO_FORCING: gap_of_forced}
    found: dict[str, list[Solution | None]] = {name: [] for name in gaps}
    for name in gaps:
        solve(problems[0], DESIGNS[name], gaps[name], None)
    turns = (problems[i % len(problems)] for i in count())
    for problem in paced(turns, effort.runs, 2 * effort.seconds):
        for name, solutions in found.items():
            try:
                solutions.append(solve(problem, DESIGNS[name], gaps[name], None))
            except NfIsacError:
                solutions.append(None)
    sdr, forced = (_row(solutions) for solutions in found.values())
    ratios = [_taken(one) / _taken(other) for one, other in zip(*found.values(), strict=True)
              if one is not None and other is not None]
    forced['sdr_ratio'] = number(float(np.median(ratios))) if ratios else None
    return sdr, forced


def _taken(solution: Solution) -> float:
    """Time for a solution, what its beams achieve included [ms]."""
    return sum(solution.times_ms.values())


def _row(solutions: list[Solution | None]) -> Row:
    done = [solution for solution in solutions if solution is not None]
    gaps = [solution.gap for solution in done]
    return {**milliseconds([_taken(solution) for solution in done]), 'runs': len(done),
            'failed': len(solutions) - len(done) or None,
            'gap_max': number(max(gaps, default=np.nan)),
            'gap_p50': number(float(np.median(gaps))) if gaps else None,
            'dimension': int(np.median([one.subspace_dimension for one in done])) if done else 0}


def _unreduced(problems: list[Problem], peers: str) -> Row:
    """Time the program that the paper prints, in cvxpy with Clarabel, on some of the problems."""
    from nf_isac_ros.core.solvers.cvxpy_ import solve_sdr12

    whole, alone, ours = [], [], []
    for problem in problems[:1 if peers == 'short' else PEER_SCENES]:
        started = time.perf_counter()
        solve(problem, DESIGNS[SDR], GAP, None)
        middle = time.perf_counter()
        wanted = extended_problem(problem, problem.scene.options.coverage_ratio)
        try:
            point = solve_sdr12(wanted)
        except SolverError:
            continue
        whole.append(1e3 * (time.perf_counter() - middle))
        ours.append(1e3 * (middle - started))
        alone.append(1e3 * point.solve_time)
    ratios = np.divide(whole, ours)
    return {'cvxpy Clarabel unreduced': {
        **milliseconds(whole), 'solver_p50_ms': milliseconds(alone)['p50_ms'],
        'runs': len(whole), 'ratio': number(float(np.median(ratios))) if len(whole) else None}}


def feasible_scenes(size: Size) -> Iterator[Scene]:
    """Scenes with the vehicle at 20 m, and users with few paths that can all be served."""
    for number_of in count():
        scene = far_scene(size, np.random.default_rng((SEED, number_of)))
        if build_problem(scene).max_common_sinr_scale_db > 1.0:
            yield scene


def far_scene(size: Size, rng: np.random.Generator) -> Scene:
    """Draw a scene with plane waves: the vehicle before two linear arrays."""
    wavelength = 0.01
    transmit = AntennaArray(linear_elements(size.antennas, wavelength / 2))
    receive = AntennaArray(linear_elements(size.antennas + 4, wavelength / 2))
    radio = Radio(wavelength=wavelength, power=1.0, symbols=1000, user_noise=1e-11,
                  sensing_noise=SensingNoise(power=1e-11), bandwidth=1e8)
    target = ExtendedTarget(
        'vehicle', VEHICLE, pose_in_plane(transmit, 20.0, rng.uniform(-0.3, 0.3),
                                          rng.uniform(-np.pi, np.pi)), sections=size.sections)
    directions = np.linspace(-1.1, 1.1, size.users) if size.users > 1 else [0.6]
    users = tuple(
        User(f'u{i}', 10.0 if size.users <= 4 else 3.0, channel=saleh_valenzuela(
            transmit, direction, wavelength, 100.0, 0.8, 4, rng))
        for i, direction in enumerate(directions))
    return Scene(transmit, receive, radio, users=users, extended=(target,),
                 options=ExtendedOptions(sensing_stream=False))


def near_scene() -> Scene:
    """Scene with spherical waves: the vehicle at 5 m before 48 x 48 antennas, three users."""
    wavelength = 299792458.0 / 28e9
    array = AntennaArray(planar_elements(48, 48, wavelength / 2))
    radio = Radio(wavelength=wavelength, power=1.0, symbols=1000, user_noise=1e-8,
                  sensing_noise=SensingNoise(power=1e-8), bandwidth=1e8)
    target = ExtendedTarget('vehicle', VEHICLE, pose_in_plane(array, 5.0, 0.1, 0.5),
                            sections=12, model='near-field')
    places = ((0.3, -1.5, 4.0), (-0.2, 2.0, 6.0), (0.1, -3.0, 8.0))
    users = tuple(User(f'u{i}', 15.0, np.array(place)) for i, place in enumerate(places))
    return Scene(array, array, radio, users=users, extended=(target,))
