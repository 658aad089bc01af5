"""Designs: one file per problem, that says what is minimised, subject to what."""

from nf_isac_ros.core.designs import crb_min, isotropic, sinr_max, users_first
from nf_isac_ros.core.designs.base import Design, Outcome

DESIGNS: dict[str, Design] = {
    module.DESIGN.name: module.DESIGN for module in (crb_min, isotropic, sinr_max, users_first)}

__all__ = ['DESIGNS', 'Design', 'Outcome']
