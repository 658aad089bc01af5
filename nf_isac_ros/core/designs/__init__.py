"""Designs: one file per problem, that says what is minimised, subject to what."""

from nf_isac_ros.core.designs import (
    average,
    average_null,
    crb_min,
    crb_min_full,
    crb_min_region,
    extended_crb_min,
    extended_zero_forcing,
    extended_zero_forcing_sets,
    isotropic,
    least_power,
    max_min_echo,
    max_min_illumination,
    sensing_only,
    sinr_max,
    users_first,
    zero_forcing,
)
from nf_isac_ros.core.designs.base import Design, Outcome, Solve

DESIGNS: dict[str, Design] = {
    module.DESIGN.name: module.DESIGN
    for module in (
        crb_min, crb_min_full, crb_min_region, extended_crb_min, extended_zero_forcing,
        extended_zero_forcing_sets, isotropic, least_power, max_min_echo, max_min_illumination,
        sensing_only, sinr_max, users_first, zero_forcing, average, average_null)}


__all__ = ['DESIGNS', 'Design', 'Outcome', 'Solve']
