"""The deployments that ship for recordings, against the recordings where they are."""

from pathlib import Path

import numpy as np
import pytest

from nf_isac_ros.conversions.pose_reader import PoseReader
from nf_isac_ros.files.deployment import load_deployment
from nf_isac_ros.recording.reader import Recording
from nf_isac_ros.recording.trajectories import read_trajectories

ROOT = Path(__file__).parents[2]
CONFIGS = sorted((ROOT / 'config' / 'recordings').glob('*.yaml'))
RECORDINGS = ROOT.parent / 'shared' / 'data' / 'recordings'

# Distances from the array between which all bodies stay [m], from the papers of the data sets.
DISTANCES = {'mrclam7_5robots_vicon': (2.0, 8.0),
             'citr_bidirection_normal_driving_01': (5.0, 22.0)}
# Ending of the names of further configurations of a recording.
VARIANT = '_extended'


def test_every_config_has_its_distances():
    assert {path.stem.removesuffix(VARIANT) for path in CONFIGS} == DISTANCES.keys()


@pytest.mark.parametrize('config', CONFIGS, ids=lambda path: path.stem)
def test_all_bodies_are_in_the_recording_and_in_front_of_the_array(config):
    bag = RECORDINGS / config.stem.removesuffix(VARIANT)
    if not bag.is_dir():
        pytest.skip(f'{bag} is not there')
    deployment = load_deployment(config)
    reader = PoseReader(deployment.bodies, deployment.world_frame, deployment.transforms)
    with Recording(bag) as recording:
        for body in deployment.bodies:
            assert recording.type_of(body.topic) == body.type
        report = read_trajectories(recording.messages(reader.topics), reader)
    assert not report.rejected
    assert len(report.trajectories) == len(deployment.bodies)
    array = deployment.transmit_array
    nearest, farthest = DISTANCES[bag.name]
    for trajectory in report.trajectories.values():
        inside = array.pose.to_inner(trajectory.positions)
        distance = np.linalg.norm(inside, axis=1)
        assert nearest < distance.min()
        assert distance.max() < farthest
        assert (inside[:, 2] > 0.5 * distance).all(), 'within 60 degrees of the boresight'


def test_the_extended_variant_differs_in_the_target_only():
    folder = ROOT / 'config' / 'recordings'
    name = 'citr_bidirection_normal_driving_01'
    point, extended = (load_deployment(folder / f'{name}{end}.yaml') for end in ('', VARIANT))
    assert extended.radio.power == point.radio.power
    assert extended.transmit_array.same_elements(point.transmit_array)
    assert [(body.id, body.topic, body.min_sinr_db) for body in extended.bodies] == [
        (body.id, body.topic, body.min_sinr_db) for body in point.bodies]
    target, = (body for body in extended.bodies if body.role == 'target')
    assert (target.kind, target.contour, target.extended.model) == (
        'extended', 'vehicle', 'near-field')
    assert target.contour in extended.contours


def test_odometry_velocities_agree_with_the_positions_on_the_whole():
    bag = RECORDINGS / 'citr_bidirection_normal_driving_01'
    if not bag.is_dir():
        pytest.skip(f'{bag} is not there')
    deployment = load_deployment(ROOT / 'config' / 'recordings' / f'{bag.name}.yaml')
    body, = (body for body in deployment.bodies if body.role == 'target')
    with Recording(bag) as recording:
        messages = list(recording.messages([body.topic]))
    trajectory, = read_trajectories(
        messages, PoseReader([body], deployment.world_frame)).trajectories.values()
    told, measured = [], []
    for message in messages[15:-15]:
        velocity = message.message.twist.twist.linear
        told.append(np.hypot(velocity.x, velocity.y))
        stamp = message.message.header.stamp
        measured.append(np.linalg.norm(trajectory.at(stamp.sec + 1e-9 * stamp.nanosec)[1]))
    # What the recording tells was smoothed, and lags by a metre per second while the cart brakes;
    # on the whole both are the same.
    assert np.mean(told) == pytest.approx(np.mean(measured), rel=0.05)
    assert body.id == 'vehicle'
