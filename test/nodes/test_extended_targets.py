"""The beamformer as a process, with tracks of the kind extended."""

from __future__ import annotations

import math

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='no ROS environment')
pytest.importorskip('nf_isac_msgs.msg', reason='nf_isac_msgs is not built')

from beamformer_setup import (  # noqa: E402
    DEPLOYMENT,
    NODE,
    POWER,
    T1,
    U1,
    Tracker,
    counted,
    weights_of,
)
from transforms3d.euler import euler2quat  # noqa: E402

from nf_isac_msgs.msg import Beamformer, CrbEntry  # noqa: E402
from nf_isac_ros.conversions import messages  # noqa: E402
from nf_isac_ros.core.tracking import PoseSample, Role  # noqa: E402

CAR = (-0.5, 6.0, 1.0)
SETTINGS = DEPLOYMENT + """
  - {id: car, role: target, kind: extended, extended: {model: near-field, sections: 6}}
options: {objective: centre, coverage_ratio: 4}
"""


class CarTracker(Tracker):
    """Tells of a car with a heading beside bodies that are points."""

    heading = 0.3
    contour = 'vehicle'

    def send(self, bodies, **rest):
        """Tell positions once and return their stamp."""
        now = self.probe.now()
        w, x, y, z = euler2quat(0.0, 0.0, self.heading)
        for role in Role:
            samples = []
            for (body_role, body), position in dict(bodies).items():
                if body_role is not role:
                    continue
                extra = {}
                if body == 'car':
                    extra = {'kind': 'extended', 'contour': self.contour, 'size_scale': 0.5,
                             'orientation_xyzw': (x, y, z, w)}
                samples.append(PoseSample(
                    body, role, now, np.array(position, dtype=float), **extra))
            if samples:
                self.publishers[role].publish(messages.track_array_message(samples, now, 'map'))
        return now


@pytest.fixture(scope='module')
def node(shared_graph, shared_probe, tmp_path_factory):
    path = tmp_path_factory.mktemp('deployment') / 'car.yaml'
    path.write_text(SETTINGS)
    return shared_graph.start('beamformer', {'deployment_file': path})


@pytest.fixture
def tracker(node, shared_probe):
    shared_probe.activate(NODE)
    made = CarTracker(shared_probe)
    try:
        yield made
    finally:
        made.close()
        shared_probe.change_state(NODE, 'deactivate')
        shared_probe.change_state(NODE, 'cleanup')
        assert node.process.poll() is None


def test_a_car_has_bounds_of_range_direction_and_orientation(tracker):
    tracker.follow({'car': CAR, 't1': T1}, {'u1': U1})
    tracker.beams.wait(lambda m: list(m.user_ids) == ['u1'] and m.design == 'crb-min')
    bounds, = tracker.bounds.wait(lambda m: len(m.entries) == 2)
    entries = {entry.id: entry for entry in bounds.entries}
    assert entries['t1'].kind == CrbEntry.KIND_POINT
    car = entries['car']
    assert car.kind == CrbEntry.KIND_EXTENDED
    assert list(car.parameters) == ['x', 'y', 'z', 'range', 'direction', 'orientation']
    covariance = np.array(car.covariance).reshape(6, 6)
    assert np.isfinite(covariance).all()
    assert np.linalg.eigvalsh(covariance[3:, 3:])[0] > 0
    assert car.crb == pytest.approx(np.trace(covariance[:3, :3]))
    assert 0 < car.crb < car.isotropic_crb
    assert bounds.objective == pytest.approx(sum(entry.crb for entry in bounds.entries), rel=1e-6)


def test_the_design_can_be_changed_while_the_node_runs(tracker):
    tracker.follow({'car': CAR}, {'u1': U1})
    tracker.beams.wait(lambda m: list(m.user_ids) == ['u1'])
    objectives = {}
    try:
        for design in ('extended-crb-min', 'extended-zero-forcing', 'crb-min', 'users-first'):
            assert tracker.probe.set_parameters(NODE, design=design).successful
            status, = tracker.status.wait(
                lambda m, design=design: m.design == design and len(m.users) == 1)
            beams, = tracker.beams.wait(lambda m, number=status.sequence: m.sequence == number)
            bounds, = tracker.bounds.wait(lambda m, number=status.sequence: m.sequence == number)
            assert (beams.design, beams.fallback_reason) == (design, '')
            assert beams.quality in (Beamformer.QUALITY_OPTIMAL, Beamformer.QUALITY_EARLY)
            assert status.users[0].sinr_db >= 10 - 1e-3
            assert (np.abs(weights_of(beams)) ** 2).sum() <= POWER * (1 + 1e-6)
            objectives[design] = bounds.entries[0].crb
    finally:
        assert tracker.probe.set_parameters(NODE, design='').successful
    # One objective, the centre; the fewer duties the better.
    assert objectives['crb-min'] <= 1.01 * min(objectives.values())


def test_what_the_design_cannot_take_is_labelled(tracker):
    tracker.follow({'car': CAR, 't1': T1}, {'u1': U1})
    assert tracker.probe.set_parameters(NODE, design='extended-crb-min').successful
    try:
        beams, = tracker.beams.wait(lambda m: m.fallback_reason == 'mixed-targets')
        assert (beams.design, beams.quality) == ('users-first', Beamformer.QUALITY_FALLBACK)
        tracker.follow({'t1': T1}, {'u1': U1})
        beams, = tracker.beams.wait(lambda m: m.fallback_reason == 'no-extended-targets')
        assert (beams.design, beams.quality) == ('zero-forcing', Beamformer.QUALITY_FALLBACK)
    finally:
        assert tracker.probe.set_parameters(NODE, design='').successful


def test_without_time_the_users_are_served_all_the_same(tracker):
    tracker.follow({'car': CAR}, {'u1': U1})
    assert tracker.probe.set_parameters(NODE, budget_ms=0.1).successful
    try:
        # The cycle before may have begun between the users and the targets of the scene before.
        beams, = tracker.beams.wait(lambda m: list(m.user_ids) == ['u1']
                                    and m.quality != Beamformer.QUALITY_OPTIMAL)
        status, = tracker.status.wait(lambda m, number=beams.sequence: m.sequence == number)
        assert status.users[0].sinr_db >= 10 - 1e-3
        if beams.quality == Beamformer.QUALITY_FALLBACK:
            assert beams.fallback_reason in ('budget-exhausted', 'short-budget')
            assert counted(status.fallbacks)[beams.fallback_reason] >= 1
    finally:
        assert tracker.probe.set_parameters(NODE, budget_ms=math.nan).successful


def test_a_contour_that_nobody_knows_makes_it_a_point(tracker):
    tracker.contour = 'zeppelin'
    tracker.follow({'car': CAR}, {'u1': U1})
    beams, = tracker.beams.wait(lambda m: m.fallback_reason == 'extended-as-point')
    bounds, = tracker.bounds.wait(lambda m, number=beams.sequence: m.sequence == number)
    assert bounds.entries[0].kind == CrbEntry.KIND_POINT
    tracker.contour = 'vehicle'
    tracker.bounds.wait(lambda m: m.entries[0].kind == CrbEntry.KIND_EXTENDED)


def test_a_car_that_surrounds_the_array_is_left_out_and_named(tracker):
    tracker.follow({'car': (0.0, 0.0, 1.0), 't1': T1}, {'u1': U1})
    # Targets and users come in two messages: a cycle may begin between them.
    beams, = tracker.beams.wait(
        lambda m: m.fallback_reason == 'inside-contour' and list(m.user_ids) == ['u1'])
    bounds, = tracker.bounds.wait(lambda m, number=beams.sequence: m.sequence == number)
    assert [entry.id for entry in bounds.entries] == ['t1']
