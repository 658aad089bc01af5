"""Deployment files: what they become, and what is said of bad ones."""

from __future__ import annotations

from copy import deepcopy
import json
from pathlib import Path

import numpy as np
import pytest
from ruamel.yaml import YAML

from nf_isac_ros.core.motion import Circle, Fixed, Waypoints
from nf_isac_ros.files.deployment import load_deployment
from nf_isac_ros.files.limits import LimitSettings
from nf_isac_ros.files.parsing import FileError

ROOT = Path(__file__).parents[2]
SHIPPED = sorted((ROOT / 'config').glob('*/*.yaml'))
PLANE = {'centre_m': [0, 0, 0], 'u_m': [1, 0, 0], 'v_m': [0, 1, 0]}
LEAST = {
    'world_frame': 'map',
    'array': {'upa': {'elements': [4, 2], 'spacing_wavelengths': 0.5}},
    'radio': {'carrier_hz': 28e9, 'power_w': 1, 'symbols': 10, 'user_noise_w': 1e-8,
              'sensing_noise': {'power_w': 1e-12}},
}
BODIES = [{'id': 'a', 'role': 'user', 'min_sinr_db': 3, 'topic': '/a/pose',
           'type': 'geometry_msgs/msg/PoseStamped'},
          {'id': 'a', 'role': 'target'}]


@pytest.fixture
def load(tmp_path):
    """Load the least deployment with bodies and changes (key, key, ..., value)."""
    def load(*changes):
        data = deepcopy({**LEAST, 'bodies': BODIES})
        for *keys, last, value in changes:
            place = data
            for key in keys:
                place = place.setdefault(key, {}) if isinstance(place, dict) else place[key]
            place[last] = value
        path = tmp_path / 'testbed.yaml'
        path.write_text(json.dumps(data))
        return load_deployment(path)
    return load


def test_defaults_are_those_of_the_documentation(tmp_path):
    path = tmp_path / 'least.json'
    path.write_text(json.dumps(LEAST))
    testbed = load_deployment(path)
    assert testbed.path == path and testbed.world_frame == 'map' and testbed.bodies == ()
    assert testbed.receive_array is testbed.transmit_array and len(testbed.transmit_array) == 8
    assert testbed.radio.wavelength == 299792458 / 28e9
    spacing = testbed.transmit_array.positions[1, 1] - testbed.transmit_array.positions[0, 1]
    assert spacing == pytest.approx(299792458 / 56e9)
    design, tracking, markers = testbed.design, testbed.tracking, testbed.markers
    assert (design.name, design.rate, design.budget, design.gap) == ('crb-min', 50, None, 1e-3)
    assert (tracking.predict, tracking.drop, tracking.max_clock_skew) == (0.25, 0.5, 0.05)
    assert (markers.planes, markers.rate, markers.bound_scale) == ((), 2.0, 30.0)


@pytest.mark.parametrize('name', [
    'max-min-illumination', 'max-min-echo', 'sensing-only', 'least-power', 'crb-min-full'])
def test_every_design_may_be_asked_for(name, load):
    assert load(('design', {'name': name})).design.name == name


def test_values_arrive(load):
    testbed = load(
        ('design', {'name': 'isotropic', 'rate_hz': 5, 'budget_ms': 150, 'gap': 0.1}),
        ('array', 'position_m', [1, 2, 3]),
        ('receive_array', {'positions_m': [[0, 0, 1], [0, 1, 1]]}),
        ('radio', 'sensing_noise', {'diagonal_w': [1e-9, 2e-9]}),
        ('bodies', 1, {'id': 'b', 'role': 'target', 'reflection': [0.0, 2], 'offset_m': [0, 0, 1],
                       'track_noise_m': 0.5, 'weight': 2, 'weights': [1, 1, 0.5]}),
        ('markers', {'planes': [{**PLANE, 'cells': [3, 4]}], 'rate_hz': 1, 'bound_scale': 2}))
    assert testbed.design.budget == 0.15 and testbed.design.name == 'isotropic'
    assert np.allclose(testbed.transmit_array.positions.mean(axis=0), [1, 2, 3])
    assert testbed.receive_array.positions.tolist() == [[0, 0, 1], [0, 1, 1]]
    assert testbed.radio.sensing_noise.diagonal.tolist() == [1e-9, 2e-9]
    user, target = testbed.bodies
    assert (user.topic, user.type) == ('/a/pose', 'geometry_msgs/msg/PoseStamped')
    assert (user.min_sinr_db, user.kind, user.motion) == (3.0, 'point', None)
    assert target.reflection == 2j and target.offset.tolist() == [0, 0, 1]
    assert target.track_noise == 0.5 and target.topic is None
    assert target.weight == 2 and target.coordinate_weights.tolist() == [1, 1, 0.5]
    assert testbed.markers.planes[0].cells == (3, 4)
    assert testbed.markers.planes[0].v.tolist() == [0, 1, 0]


@pytest.mark.parametrize('motion, kind, start, velocity', [
    ({'circle': {'centre_m': [1, 1, 1], 'radius_m': 2, 'period_s': 2 * np.pi}}, Circle,
     [3, 1, 1], [0, 2, 0]),
    ({'waypoints': {'points_m': [[0, 0, 0], [0, 3, 4]], 'speed': 5}}, Waypoints,
     [0, 0, 0], [0, 3, 4]),
    ({'fixed': {'position_m': [1, 2, 3]}}, Fixed, [1, 2, 3], [0, 0, 0]),
], ids=['circle', 'waypoints', 'fixed'])
def test_motions(motion, kind, start, velocity, load):
    moved = load(('bodies', 1, 'motion', motion)).bodies[1].motion
    assert isinstance(moved, kind)
    position, speed = moved.at(0.0)
    assert np.allclose(position, start) and np.allclose(speed, velocity)


def test_limits(load):
    assert load().limits == LimitSettings()
    limits = load(('limits', {
        'power_w': 0.5, 'element_power_w': 0.01, 'eirp_w': 4000, 'keep_out': [
            {**PERSON, 'height_m': 1.8, 'offset_m': [0, 0, -0.4]},
            {'name': 'desk', 'centre_m': [1, 2, 3], 'radius_m': 1, 'density_w_m2': 5},
            {'name': 'all', 'role': 'user', 'radius_m': 1, 'density_w_m2': 5}]})).limits
    assert (limits.power, limits.element_power, limits.eirp) == (0.5, 0.01, 4000)
    person, desk, everybody = limits.keep_out
    assert (person.body, person.role, person.centre) == ('a', '', None)
    assert (person.density, person.radius, person.height) == (10, 0.4, 1.8)
    assert person.offset.tolist() == [0, 0, -0.4]
    assert desk.centre.tolist() == [1, 2, 3] and desk.height == 0.0
    assert (everybody.body, everybody.role) == ('', 'user')


@pytest.mark.parametrize('path', SHIPPED, ids=lambda path: path.stem)
def test_shipped_deployments(path):
    testbed = load_deployment(path)
    data = YAML(typ='safe').load(path.read_text())
    assert [body.id for body in testbed.bodies] == [body['id'] for body in data['bodies']]
    assert testbed.radio.power == data['radio']['power_w']


def test_there_are_shipped_deployments():
    assert {'mrclam7_5robots_vicon', 'citr_bidirection_normal_driving_01'} <= {
        path.stem for path in SHIPPED}


BODY = ('bodies', 0)
PERSON = {'name': 'person', 'body': 'a', 'radius_m': 0.4, 'density_w_m2': 10}
BAD = {
    'version': (('version', 1), 'version: is 1; no such key, must be one of world_frame, '),
    'frame': (('world_frame', 'a b'), 'world_frame: is "a b"; must match pattern'),
    'array': (('array', 'same'), 'array: is "same"; must be a mapping'),
    'receive': (('receive_array', 'transmit'),
                'receive_array: is "transmit"; must be "same" or an array'),
    'noise-list': (('radio', 'user_noise_w', [1e-8]),
                   'radio.user_noise_w: is [1e-08]; must be a number'),
    'wavelengths': (('radio', 'wavelength_m', 0.01),
                    'radio: has wavelength_m and carrier_hz; must have exactly one of'),
    'noise-size': (('radio', 'sensing_noise', {'diagonal_w': [1e-9]}),
                   'radio.sensing_noise.diagonal_w: has 1 entries; must have 8'),
    'design': (('design', 'name', 'crb_min'), 'design.name: is "crb_min"; did you mean crb-min?'),
    'user-weight': ((*BODY, 'weight', 2.0),
                    'bodies[0].weight: is 2.0; must be left out for a user'),
    'user-weights': ((*BODY, 'weights', [1, 1, 1]),
                     'bodies[0].weights: is [1.0, 1.0, 1.0]; must be left out for a user'),
    'rate': (('design', 'rate_hz', 0), 'design.rate_hz: is 0; must be from 0.01 to 1000'),
    'budget': (('design', 'budget_ms', -1), 'design.budget_ms: is -1; must be from 0.01 to'),
    'gap': (('design', 'gap', 1), 'design.gap: is 1; must be from 1e-12 to 0.999'),
    'drop': (('tracking', {'predict_s': 1, 'drop_s': 0.5}),
             'tracking.drop_s: is 0.5; must be at least predict_s (1.0)'),
    'drop-default': (('tracking', 'predict_s', 1),
                     'tracking.drop_s: is 0.5; must be at least predict_s (1.0)'),
    'role': ((*BODY, 'role', 'robot'), "bodies[0].role: is \"robot\"; must be 'target' or 'user'"),
    'twice': (('bodies', [BODIES[1], BODIES[1]]),
              'bodies[1].id: is "a"; must be unique among targets'),
    'topic': ((*BODY, 'topic', '/a//b'), 'bodies[0].topic: is "/a//b"; must match pattern'),
    'topic-space': ((*BODY, 'topic', 'a b'), 'bodies[0].topic: is "a b"; must match pattern'),
    'type': ((*BODY, 'type', 'PoseStamped'), 'bodies[0].type: is "PoseStamped"; must match'),
    'topic-alone': ((*BODY, 'type', None), 'bodies[0]: has a topic alone; must have topic and'),
    'type-alone': ((*BODY, 'topic', None), 'bodies[0]: has a type alone; must have topic and'),
    'user-without-sinr': ((*BODY, 'min_sinr_db', None),
                          'bodies[0].min_sinr_db: is null; must be given for a user'),
    'target-with-sinr': (('bodies', 1, 'min_sinr_db', 3),
                         'bodies[1].min_sinr_db: is 3.0; must be left out for a target'),
    'reflection': (('bodies', 1, 'reflection', [0, 0]),
                   'bodies[1].reflection: is [0, 0]; must not be 0'),
    'kind': (('bodies', 1, 'kind', 'line'),
             "bodies[1].kind: is \"line\"; must be 'point' or 'extended'"),
    'extended-user': ((*BODY, 'kind', 'extended'),
                      'bodies[0].kind: is "extended"; must be "point" for a user'),
    'contour': (('bodies', 1, 'contour', 'vehicel'),
                'bodies[1].contour: is "vehicel"; did you mean vehicle?'),
    'extended-of-point': (('bodies', 1, 'extended', {'sections': 4}),
                          'bodies[1]: has extended and the kind point; must have the kind'),
    'extended-sections': (('bodies', 1, 'extended', {'sections': 0}),
                          'bodies[1].extended.sections: is 0; must be from 1 to 360'),
    'motions': (('bodies', 1, 'motion', {}), 'bodies[1].motion: has none of them; must have'),
    'one-waypoint': (('bodies', 1, 'motion', {'waypoints': {'points_m': [[0, 0, 0]], 'speed': 1}}),
                     'bodies[1].motion.waypoints.points_m: is [[0, 0, 0]]; must have at least 2'),
    'still-waypoints': (('bodies', 1, 'motion', {'waypoints': {
        'points_m': [[0, 0, 0], [1, 0, 0], [1, 0, 0.0]], 'speed': 1}}),
        'bodies[1].motion.waypoints.points_m[2]: is [1.0, 0.0, 0.0]; must differ'),
    'waypoints-back': (('bodies', 1, 'motion', {'waypoints': {
        'points_m': [[0, 0, 0], [1, 0, 0], [0, 0, 0]], 'speed': 1}}),
        'bodies[1].motion.waypoints.points_m[0]: is [0.0, 0.0, 0.0]; must differ'),
    'plane': (('markers', 'planes', [{**PLANE, 'v_m': [2, 0, 0]}]),
              'markers.planes[0]: has u_m [1.0, 0.0, 0.0] and v_m [2.0, 0.0, 0.0]; must have two '
              'that span a plane'),
    'limit': (('limits', 'eirp_w', 0), 'limits.eirp_w: is 0; must be positive, from'),
    'keep-out-places': (('limits', 'keep_out', [{**PERSON, 'centre_m': [0, 0, 0]}]),
                        'limits.keep_out[0]: has body and centre_m; must have exactly one of '
                        'body, role, centre_m'),
    'keep-out-body': (('limits', 'keep_out', [{**PERSON, 'body': 'z'}]),
                      'limits.keep_out[0].body: is "z"; must be the id of one of the bodies (a)'),
    'keep-out-size': (('limits', 'keep_out', [{**PERSON, 'radius_m': 0}]),
                      'limits.keep_out[0].radius_m: is 0; must be from 0.01 to 100'),
    'cells': (('markers', 'planes', [{**PLANE, 'cells': [1, 2]}]),
              'markers.planes[0].cells[0]: is 1; must be from 2 to 512'),
}


@pytest.mark.parametrize('change, message', BAD.values(), ids=BAD.keys())
def test_bad_deployment(change, message, load, tmp_path):
    with pytest.raises(FileError) as caught:
        load(change)
    line = str(caught.value)
    assert line.startswith(f'{tmp_path / "testbed.yaml"}: {message}') and '\n' not in line


def test_missing_file(tmp_path):
    with pytest.raises(FileError, match='No such file'):
        load_deployment(tmp_path / 'none.yaml')
