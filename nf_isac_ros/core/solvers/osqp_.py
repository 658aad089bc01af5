"""Power split over fixed directions: convex quadratic programs in OSQP, one after the other."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
import osqp
from scipy.sparse import csc_matrix

Real = NDArray[np.float64]

# What is asked of a split: it is made exactly feasible, and checked against the true objective.
TOLERANCE = 1e-3
MAX_ITERATIONS = 100
CHECK_EVERY = 10
PENALTY = 1.0
# The penalty is adapted after a fixed number of iterations, not of seconds: results do not depend
# on the load of the machine.
ADAPT_EVERY = 20


class PowerProgram:
    """
    Least q^T p + p^T P p / 2 over p >= 0 with sum one and enough power for every user.

    The solver is set up once; programs of the same size only update its numbers, and start from
    where the one before ended.

    Parameters
    ----------
    n_users : int
        U; user u owns directions u, U + u, 2 U + u, ...
    groups : int
        How many directions each user owns.
    n_directions : int
        In total; those after the users' are nobody's.

    """

    def __init__(self, n_users: int, groups: int, n_directions: int) -> None:
        self.size = (n_users, groups, n_directions)
        n, owned = n_directions, n_users * groups
        # Column by column: the sum, the owner's requirement, the sign.
        rows, starts = [], [0]
        for i in range(n):
            rows += [0, *([1 + i % n_users] if i < owned else []), 1 + n_users + i]
            starts.append(len(rows))
        self._values = np.ones(len(rows))
        self._gains = np.array(starts[:owned], dtype=int) + 1
        # Column by column, too, and above the diagonal only.
        self._columns, self._rows = np.tril_indices(n)
        self._lower = np.zeros(1 + n_users + n)
        self._lower[0] = 1.0
        upper = np.full(1 + n_users + n, np.inf)
        upper[0] = 1.0
        curvature = csc_matrix(
            (np.ones(len(self._rows)), self._rows,
             np.concatenate([[0], np.cumsum(np.arange(1, n + 1))])), shape=(n, n))
        self._solver = osqp.OSQP()
        self._solver.setup(
            curvature, np.zeros(n), csc_matrix((self._values, rows, starts), (len(upper), n)),
            self._lower, upper, verbose=False, eps_abs=TOLERANCE, eps_rel=TOLERANCE,
            max_iter=MAX_ITERATIONS, check_termination=CHECK_EVERY, polishing=False, scaling=0,
            rho=PENALTY, adaptive_rho=1, adaptive_rho_interval=ADAPT_EVERY)

    def solve(self, gradient: Real, hessian: Real, present: Real, gains: Real,
              least: Real) -> tuple[Real, int]:
        """
        Minimise a model of the objective.

        Parameters
        ----------
        gradient, hessian : ndarray, shape (n,), (n, n)
            At the present split.
        present : ndarray, shape (n,)
        gains : ndarray, shape (n,)
            What the owner of a direction receives of it, relative to `least`.
        least : ndarray, shape (U,)
            What each user has to receive.

        Returns
        -------
        powers : ndarray, shape (n,)
            Feasible but for the tolerance of the solver; what it had if it did not settle.
        iterations : int

        """
        n_users, groups, _ = self.size
        self._values[self._gains] = gains[:n_users * groups]
        self._lower[1:1 + n_users] = least
        self._solver.update(
            q=gradient - hessian @ present, l=self._lower,
            Px=hessian[self._rows, self._columns], Ax=self._values)
        self._solver.warm_start(x=present)
        result = self._solver.solve(raise_error=False)
        return result.x, int(result.info.iter)
