"""Extended targets in scene and deployment files: what good ones become."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from ruamel.yaml import YAML
from scene_files import SCENE, changed, written

from nf_isac_ros.core.extended.contour import Contour
from nf_isac_ros.core.extended.plane import planar_pose
from nf_isac_ros.core.scene import BoundWeights, ExtendedOptions
from nf_isac_ros.files.deployment import load_deployment
from nf_isac_ros.files.extended import shipped_contours
from nf_isac_ros.files.parsing import FileError
from nf_isac_ros.files.scene_file import load_scene

ROOT = Path(__file__).parents[2]
CAR = {'id': 'car', 'kind': 'extended', 'range_m': 10.0, 'direction_rad': 0.26,
       'orientation_rad': -2.5, 'contour': 'vehicle'}


def load(folder, *targets, **keys):
    scene = changed(('targets', list(targets)), *((key, value) for key, value in keys.items()))
    return load_scene(written(folder, scene))


def test_shipped_contours_are_those_of_the_paper():
    contours = shipped_contours()
    assert set(contours) == {'vehicle', 'uav'}
    # About 5 m x 2 m says the paper; an X of 2.1 m.
    np.testing.assert_allclose(contours['vehicle'].extent, (4.96, 2.06), atol=0.01)
    np.testing.assert_allclose(contours['uav'].extent, (2.10, 2.10), atol=0.01)
    given = YAML(typ='safe').load(ROOT / 'config' / 'contours.yaml')['contours']['uav']
    assert list(contours['uav'].sine) == given['sine'] and len(given['sine']) == 9


def test_shipped_contours_are_found_below_the_ament_prefix(tmp_path, monkeypatch):
    """An installed package has no sources beside it."""
    from nf_isac_ros.files import extended
    folder = tmp_path / 'share' / 'nf_isac_ros' / 'config'
    folder.mkdir(parents=True)
    (folder / 'contours.yaml').write_text('contours: {box: {cosine: [1.0], sine: [2.0]}}')
    monkeypatch.setattr(extended, '__file__', str(tmp_path / 'a' / 'b' / 'c' / 'extended.py'))
    monkeypatch.setenv('AMENT_PREFIX_PATH', f'/nowhere:{tmp_path}')
    shipped_contours.cache_clear()
    try:
        assert shipped_contours() == {'box': Contour((1.0,), (2.0,))}
        monkeypatch.setenv('AMENT_PREFIX_PATH', '')
        shipped_contours.cache_clear()
        with pytest.raises(FileError, match='is not there'):
            shipped_contours()
    finally:
        shipped_contours.cache_clear()


def test_pose_in_the_plane_of_the_array(tmp_path):
    scene = load(tmp_path, CAR)
    target, = scene.extended
    assert scene.targets == () and target.contour == shipped_contours()['vehicle']
    # From the array's z axis towards its y axis.
    np.testing.assert_allclose(target.position, [0, 10 * np.sin(0.26), 10 * np.cos(0.26)],
                               atol=1e-12)
    np.testing.assert_allclose(target.pose.rotation[:, 0], [0, np.sin(-2.5), np.cos(-2.5)],
                               atol=1e-12)
    assert (target.model, target.sections, target.split, target.path_power) == (
        'far-field', 8, 'parameter', None)


def test_pose_in_space_and_all_keys(tmp_path):
    scene = load(tmp_path, {
        'id': 'car', 'kind': 'extended', 'contour': {'cosine': [1.0, 0.1], 'sine': [0.5, 0.0]},
        'position_m': [1.0, 2.0, 6.0], 'orientation_xyzw': [0.5, 0.5, 0.5, 0.5],
        'size_scale': 2.0, 'model': 'near-field', 'sections': 12, 'split': 'arc',
        'lengths': 'normalised', 'path_power': 5e-12, 'motion': 'space', 'weight': 3.0,
        'shape': 'unknown'})
    target, = scene.extended
    assert target.contour == Contour((2.0, 0.2), (1.0, 0.0))
    np.testing.assert_allclose(target.pose.rotation, [[0, 0, 1], [1, 0, 0], [0, 1, 0]],
                               atol=1e-12)
    assert (target.model, target.sections, target.split, target.lengths, target.path_power,
            target.motion, target.weight, target.shape) == (
        'near-field', 12, 'arc', 'normalised', 5e-12, 'space', 3.0, 'unknown')


def test_points_and_extended_targets_stand_side_by_side(tmp_path):
    scene = load(tmp_path, CAR, SCENE['targets'][0], {**CAR, 'id': 'van'})
    assert [target.id for target in scene.targets] == ['t1']
    assert [target.id for target in scene.extended] == ['car', 'van']


def test_range_counts_from_the_centre_of_the_elements(tmp_path):
    scene = load(tmp_path, CAR, transmit_array={
        'ula': {'elements': 8, 'spacing_m': 0.005, 'centre_m': [0, 0.5, 0]},
        'position_m': [1, 2, 3], 'orientation_xyzw': [0.5, 0.5, 0.5, 0.5]})
    plane = planar_pose(scene.transmit_array, scene.extended[0].pose)
    np.testing.assert_allclose([plane.range, plane.direction, plane.orientation],
                               [10.0, 0.26, -2.5], atol=1e-9)


@pytest.mark.parametrize('given, options', [
    ({}, ExtendedOptions()),
    ({'coverage_ratio': None, 'geometry': 'far', 'coupling': 'complex', 'sensing_stream': False,
      'objective': 'centre'}, ExtendedOptions(None, 'far', 'complex', False, 'centre')),
    ({'objective': {'range': 2.0, 'orientation': 1}},
     ExtendedOptions(objective=BoundWeights(2.0, 0.0, 1.0)))], ids=['none', 'all', 'weights'])
def test_options(given, options, tmp_path):
    assert load(tmp_path, CAR, options=given).options == options


def test_a_file_of_contours_beside_the_scene(tmp_path):
    (tmp_path / 'mine.yaml').write_text('contours: {boat: {cosine: [3.0], sine: [1.0]}}')
    scene = load(tmp_path, {**CAR, 'contour': 'boat'}, CAR | {'id': 'b'}, contours='mine.yaml')
    assert scene.extended[0].contour == Contour((3.0,), (1.0,))
    assert scene.extended[1].contour == shipped_contours()['vehicle']


def test_scattered_paths_go_by_way_of_points_only(tmp_path):
    scene = changed(('targets', [CAR, *SCENE['targets']]),
                    ('users', 0, 'scattered', [{'target': 'car', 'coefficient': [1, 0]}]))
    with pytest.raises(FileError, match=r'scattered\[0\].target: is "car"; must be one of t1'):
        load_scene(written(tmp_path, scene))


def test_deployment_with_an_extended_target(tmp_path):
    path = tmp_path / 'testbed.json'
    path.write_text(json.dumps({
        'world_frame': 'map', 'array': {'ula': {'elements': 8, 'spacing_m': 0.005}},
        'radio': {'wavelength_m': 0.01, 'power_w': 1.0, 'symbols': 100, 'user_noise_w': 1e-9,
                  'sensing_noise': {'power_w': 1e-9}},
        'bodies': [{'id': 'car', 'role': 'target', 'kind': 'extended', 'contour': 'vehicle',
                    'size_scale': 0.6, 'weight': 2.0, 'topic': 'car/pose',
                    'type': 'geometry_msgs/msg/PoseStamped',
                    'extended': {'model': 'near-field', 'sections': 12, 'path_power': 1e-12}}],
        'options': {'objective': 'centre'}}))
    testbed = load_deployment(path)
    body, = testbed.bodies
    assert (body.kind, body.contour, body.size_scale, body.weight) == (
        'extended', 'vehicle', 0.6, 2.0)
    assert (body.extended.model, body.extended.sections, body.extended.path_power) == (
        'near-field', 12, 1e-12)
    assert testbed.contours['vehicle'] == shipped_contours()['vehicle']
    assert testbed.options.objective == 'centre'


def test_poses_name_no_contour(tmp_path):
    path = tmp_path / 'testbed.json'
    path.write_text(json.dumps({
        'world_frame': 'map', 'array': {'ula': {'elements': 8, 'spacing_m': 0.005}},
        'radio': {'wavelength_m': 0.01, 'power_w': 1.0, 'symbols': 100, 'user_noise_w': 1e-9,
                  'sensing_noise': {'power_w': 1e-9}},
        'bodies': [{'id': 'car', 'role': 'target', 'kind': 'extended', 'topic': 'car/pose',
                    'type': 'geometry_msgs/msg/PoseStamped'}]}))
    with pytest.raises(FileError, match=r'bodies\[0\].contour: is ""; must be given'):
        load_deployment(path)
