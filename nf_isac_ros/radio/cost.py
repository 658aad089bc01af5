"""What calibration and quantisation cost: SINR and bound of the beams before and after."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
import math

import numpy as np

from nf_isac_ros.core.evaluation import achieved
from nf_isac_ros.core.exceptions import SceneError
from nf_isac_ros.core.problem import build_problem
from nf_isac_ros.core.scene import PointTarget, Scene, User
from nf_isac_ros.radio.base import Scatterer, Vector
from nf_isac_ros.radio.command import Beams
from nf_isac_ros.radio.options import Site


@dataclass(frozen=True)
class Performance:
    """
    What beams achieve where users and targets truly are.

    Attributes
    ----------
    sinr_db : mapping of str to float
        Of the users that are served and known [dB].
    sum_crb : float
        Sum of the position bounds of all targets, jointly [m^2]; infinite where one cannot be
        located, NaN without a target.

    """

    sinr_db: Mapping[str, float]
    sum_crb: float


NOTHING_KNOWN = Performance({}, math.nan)


def performances(site: Site, beams: Sequence[Beams], user_ids: Sequence[str],
                 users: Mapping[str, Vector], targets: Sequence[Scatterer]
                 ) -> tuple[Performance, ...]:
    """
    Compare beams for the same users.

    Parameters
    ----------
    site : Site
    beams : sequence of ndarray, shape (N, U + r)
        As asked for, as radiated, ...; communication beams first [sqrt(W)].
    user_ids : sequence of str
        Of the communication beams.
    users : mapping of str to ndarray, shape (3,)
        True positions by id [m]; beams of others are interference.
    targets : sequence of Scatterer
        Points only.

    Returns
    -------
    tuple of Performance
        One for each of the beams; NOTHING_KNOWN if a body stands on an antenna.

    """
    known = [column for column, name in enumerate(user_ids) if name in users]
    scene = Scene(
        site.transmit_array, site.receive_array, site.radio,
        targets=tuple(PointTarget(target.id, target.position, target.reflection)
                      for target in targets),
        users=tuple(User(user_ids[column], 0.0, users[user_ids[column]]) for column in known))
    if not (scene.targets or scene.users):
        return (NOTHING_KNOWN,) * len(beams)
    try:
        problem = build_problem(scene)
    except SceneError:
        return (NOTHING_KNOWN,) * len(beams)
    found = []
    for weights in beams:
        order = [*known, *(b for b in range(weights.shape[1]) if b not in known)]
        at_targets, at_users = achieved(
            problem, np.asfortranarray(weights[:, order], dtype=np.complex128))
        found.append(Performance(
            {user.id: user.sinr_db for user in at_users},
            sum(float(target.crb.trace()) for target in at_targets) if at_targets else math.nan))
    return tuple(found)
