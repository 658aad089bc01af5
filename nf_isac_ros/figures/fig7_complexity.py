"""
Fig. 7: what the reduction to a small subspace is worth, on small arrays at 1.5 GHz.

(a) sum of the bounds by (SDR1.2) as it is, and by ours; (b) what a design takes, continued to very
large arrays; measured here and now.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
import importlib.util
import time
from typing import TYPE_CHECKING, Any
import warnings

import numpy as np

from nf_isac_ros.core.problem import build_problem
from nf_isac_ros.core.scene import PointTarget, Scene, User
from nf_isac_ros.figures.designing import design
from nf_isac_ros.figures.errors import FigureError
from nf_isac_ros.figures.panels import Figure, Panel, Table, Task, table, where
from nf_isac_ros.figures.parameters import POSITIVE, Common, parameter
from nf_isac_ros.figures.scenes import facing_arrays
from nf_isac_ros.figures.style import LOOKS, Look, curve, finish

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# The paper's program, not reduced.
FULL = 'crb-min-full'
OURS = ('crb-min', 'max-min-illumination', 'max-min-echo')
OUR_SOLVER = 'nf_isac_ros'
# cvxpy's names of the solvers, and how they are written here.
PEERS = {'CLARABEL': 'cvxpy-clarabel', 'SCS': 'cvxpy-scs'}
PEER_LOOKS = {
    (FULL, 'cvxpy-clarabel'): Look('(SDR1.2), cvxpy with Clarabel', '#0072B2', 'D'),
    (FULL, 'cvxpy-scs'): Look('(SDR1.2), cvxpy with SCS', '#56B4E9', 'v'),
    ('crb-min', 'cvxpy-clarabel'): Look('(SDR1.3), cvxpy with Clarabel', '#000000', 'D', '--'),
    ('crb-min', 'cvxpy-scs'): Look('(SDR1.3), cvxpy with SCS', '#777777', 'v', '--'),
}


@dataclass(frozen=True)
class Parameters(Common):
    """Section VI-C, second part."""

    carrier_hz: float = parameter(1.5e9, 'carrier frequency [Hz]', POSITIVE)
    depth_m: float = parameter(1.205, 'distance D_z of the two arrays [m]', POSITIVE)
    sinr_db: float = parameter(25.0, 'required SINR [dB]', -100, 100)
    n_x: int = parameter(3, 'elements along x, of both arrays', 1, 128)
    n_y: tuple[int, ...] = parameter(
        (3, 4, 5, 6), 'elements along y, of both arrays; n_x n_y at most 18 in (a)', 1, 128)
    squares: tuple[int, ...] = parameter(
        (8, 16, 32, 48, 64, 96, 128), 'sides of the square arrays that (b) goes on with', 1, 256)
    most_full: int = parameter(
        18, 'elements up to which (b) solves the program that is not reduced', 0, 64)
    most_peers: int = parameter(
        2304, 'elements up to which (b) solves the reduced one with cvxpy', 0, 65536)
    runs: int = parameter(15, 'runs of a design in (b)', 1, 10_000)
    peer_runs: int = parameter(3, 'runs of a design with cvxpy in (b)', 1, 10_000)


def scene(parameters: Parameters, n_x: int, n_y: int) -> Scene:
    """Two targets and one user, at the same places for all arrays."""
    depth = parameters.depth_m
    return facing_arrays(
        parameters, n_x, n_y,
        (PointTarget('t1', (0.0, 0.0, 3 * depth / 4)),
         PointTarget('t2', (0.0, depth / 4, depth / 3))),
        (User('u1', parameters.sinr_db, (0.0, 0.0, depth / 4)),))


def solve_by_cvxpy(method: str, placed: Scene, solver: str) -> None:
    """Solve the paper's program with the solver's own tolerances."""
    from nf_isac_ros.core.solvers import cvxpy_

    solve = cvxpy_.solve_sdr12 if method == FULL else cvxpy_.solve_sdr13
    with unbelieving():
        solve(build_problem(placed), solver)


@contextmanager
def unbelieving() -> Iterator[None]:
    """Keep cvxpy from saying that a solution "may be inaccurate": designs are certified."""
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', UserWarning)
        yield


def require_cvxpy() -> None:
    """Raise FigureError where cvxpy, a tool of tests, is not installed."""
    if importlib.util.find_spec('cvxpy') is None:
        raise FigureError('fig7: needs cvxpy; must be installed, requirements/test.txt has it')


def at_size(parameters: Parameters, n_y: int, method: str) -> Table:
    """Sum of bounds for one size of the arrays."""
    placed = scene(parameters, parameters.n_x, n_y)
    with unbelieving():
        found = design(placed, method, parameters.gap)
    return table(n_y=n_y, method=method, sum_crb_m2=found.sum_crb)


def timed(parameters: Parameters, n_x: int, n_y: int, method: str, solver: str) -> Table:
    """Median and least time from the scene to the design."""
    placed = scene(parameters, n_x, n_y)
    run: Callable[[], Any]
    if solver == OUR_SOLVER:
        run = partial(design, placed, method, parameters.gap)
        # What is loaded and compiled at the first design belongs to none.
        run()
        runs = parameters.runs
    else:
        run = partial(solve_by_cvxpy, method, placed,
                      next(name for name, written in PEERS.items() if written == solver))
        runs = parameters.peer_runs
    times = []
    for _ in range(runs):
        started = time.perf_counter()
        run()
        times.append(time.perf_counter() - started)
    return table(n_x=n_x, n_y=n_y, elements=n_x * n_y, method=method, solver=solver,
                 median_ms=1e3 * float(np.median(times)), least_ms=1e3 * min(times), runs=runs)


def size_tasks(parameters: Parameters) -> Sequence[Task]:
    require_cvxpy()
    return [Task(at_size, (parameters, n_y, method))
            for n_y in parameters.n_y for method in ('crb-min', FULL)]


def timing_tasks(parameters: Parameters) -> Sequence[Task]:
    require_cvxpy()
    sizes = [(parameters.n_x, n_y) for n_y in parameters.n_y]
    sizes += [(side, side) for side in parameters.squares]
    tasks = []
    for size in sizes:
        kinds = [(method, OUR_SOLVER) for method in OURS]
        for method, most in ((FULL, parameters.most_full), ('crb-min', parameters.most_peers)):
            if size[0] * size[1] <= most:
                kinds += [(method, solver) for solver in PEERS.values()]
        tasks += [Task(timed, (parameters, *size, *kind)) for kind in kinds]
    return tasks


def draw_sizes(axes: Axes, rows: Table, parameters: Parameters) -> None:
    for method, style in (('crb-min', LOOKS['crb-min']),
                          (FULL, Look('(SDR1.2), not reduced', '#0072B2', 'D', '--'))):
        found = where(rows, method=method)
        axes.plot(found['n_y'], found['sum_crb_m2'], color=style.colour, linestyle=style.line,
                  marker=style.marker, label=style.label,
                  markersize=5 if method == 'crb-min' else 9,
                  markerfacecolor=style.colour if method == 'crb-min' else 'none')
    axes.set_xticks(parameters.n_y)
    finish(axes, f'elements along y, $n_y$ ($n_x$ = {parameters.n_x})',
           'sum of position bounds [m²]', logarithmic='y')


def draw_times(axes: Axes, rows: Table, parameters: Parameters) -> None:
    """Draw the least times: whatever else runs on the machine can only add to them."""
    for (method, solver), style in (
            *PEER_LOOKS.items(), *(((method, OUR_SOLVER), LOOKS[method]) for method in OURS)):
        found = where(rows, method=method, solver=solver)
        if len(found['elements']):
            label = style.label + (', ours' if solver == OUR_SOLVER else '')
            curve(axes, found['elements'], found['least_ms'], replace(style, phase=0.0), label,
                  marks=100)
    finish(axes, 'elements of either array N', 'least time of a design [ms]', logarithmic='xy')


COLUMNS = ('n_x', 'n_y', 'elements', 'method', 'solver', 'median_ms', 'least_ms', 'runs')

FIGURE = Figure('What the reduction to a small subspace is worth', Parameters, {
    'a': Panel('Sum of the bounds against the size of the arrays',
               ('n_y', 'method', 'sum_crb_m2'), size_tasks, draw_sizes),
    'b': Panel('Time of a design against the size of the arrays', COLUMNS, timing_tasks,
               draw_times, timed=True),
})
