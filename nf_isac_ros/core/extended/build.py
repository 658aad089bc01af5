"""Fisher information of the extended targets of a scene."""

from __future__ import annotations

from nf_isac_ros.core.extended.far_field import far_field_fisher
from nf_isac_ros.core.extended.gram import ExtendedFisher, Nuisance
from nf_isac_ros.core.extended.near_field import near_field_fisher
from nf_isac_ros.core.scene import ExtendedTarget, Scene


def build_extended_fisher(scene: Scene, target: ExtendedTarget) -> ExtendedFisher:
    """
    Fisher information of an extended target, by its own model and the options of the scene.

    Parameters
    ----------
    scene : Scene
    target : ExtendedTarget
        One of `scene.extended`.

    Raises
    ------
    SceneError
        As `far_field_fisher` and `near_field_fisher`.

    """
    arrays = scene.transmit_array, scene.receive_array
    if target.model == 'near-field':
        return near_field_fisher(*arrays, scene.radio, target)
    nuisance: Nuisance = 'common' if scene.options.coupling == 'real' else 'common-complex'
    return far_field_fisher(*arrays, scene.radio, target, scene.options.geometry, nuisance)
