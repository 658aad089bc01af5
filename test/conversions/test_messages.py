"""From core records to messages and back."""

from __future__ import annotations

from dataclasses import fields, is_dataclass, replace
import math

import numpy as np
import pytest

pytest.importorskip('nf_isac_msgs.msg', reason='nf_isac_msgs is not built')

from nf_isac_ros.conversions import messages, reading  # noqa: E402
from nf_isac_ros.conversions.adapters import read_track_array, seconds  # noqa: E402
from nf_isac_ros.conversions.errors import MessageError  # noqa: E402
from nf_isac_ros.core.arrays import AntennaArray  # noqa: E402
from nf_isac_ros.core.exceptions import NfIsacError  # noqa: E402
from nf_isac_ros.core.extended.gram import ExtendedBounds  # noqa: E402
from nf_isac_ros.core.localisation.echoes import EchoSamples, Sensor  # noqa: E402
from nf_isac_ros.core.localisation.localiser import EchoState, LocatedTarget  # noqa: E402
from nf_isac_ros.core.reports import (  # noqa: E402
    BoundReport,
    CovarianceReport,
    CycleReport,
    DesignedBeams,
    TrackReport,
    orthogonal_factor,
)
from nf_isac_ros.core.scene import SensingNoise  # noqa: E402
from nf_isac_ros.core.solution import Quality, TargetReport, UserReport  # noqa: E402
from nf_isac_ros.core.tracking import (  # noqa: E402
    ChannelSample,
    PoseSample,
    Role,
    TrackState,
)

T = 1_700_000_000.0


def complex_matrix(rows, columns, seed=0):
    rng = np.random.default_rng(seed)
    parts = rng.normal(size=(2, rows, columns)).astype(np.float32)
    return (parts[0] + 1j * parts[1]).astype(np.complex64)


def assert_same(read, written):
    """Compare two records field by field; times to a microsecond, NaN equal to NaN."""
    assert type(read) is type(written)
    if is_dataclass(written):
        for item in fields(written):
            assert_same(getattr(read, item.name), getattr(written, item.name))
    elif isinstance(written, tuple):
        assert len(read) == len(written)
        for one, other in zip(read, written, strict=True):
            assert_same(one, other)
    elif isinstance(written, (float, np.ndarray)):
        np.testing.assert_allclose(read, written, rtol=0, atol=1e-6)
    else:
        assert read == written


BEAMS = DesignedBeams(
    frame='transmit_array', sequence=7, transmit_time=T + 0.25, design_stamp=T + 0.125,
    oldest_track_stamp=T, cycle_stamp=T + 0.13, publish_stamp=T + 0.2, valid_until=T + 0.5,
    design='crb-min', quality=Quality.FALLBACK, reason='held-track', user_ids=('u1', 'u2'),
    communication=complex_matrix(6, 2), sensing=complex_matrix(6, 1, 1), power=0.9,
    power_limit=1.0, wavelength=0.0107, array_id='transmit_array', layout_hash='abc',
    calibration_epoch=3)

TARGET = TargetReport('t1', np.array([1.0, 2.0, 3.0]), np.diag([1.0, 2.0, math.inf]), 5.0, 1e-6,
                      math.nan, True)


@pytest.mark.parametrize('time', [0.0, 1.5, T + 0.123456, T + 0.9999999999])
def test_time_round_trip(time):
    message = messages.time_message(time)
    assert 0 <= message.nanosec < 10 ** 9
    assert seconds(message) == pytest.approx(time, abs=3e-7)


def test_beamformer_round_trip():
    assert_same(reading.read_beamformer(messages.beamformer_message(BEAMS)), BEAMS)


def test_beamformer_columns_are_users_then_sensing():
    message = messages.beamformer_message(BEAMS)
    assert (message.n_elements, message.n_users, message.n_sensing) == (6, 2, 1)
    assert len(message.weights) == 2 * 6 * 3
    assert message.weights[0] == BEAMS.communication[0, 0].real
    assert message.weights[2 * 6 * 2 + 1] == BEAMS.sensing[0, 0].imag


@pytest.mark.parametrize(('field', 'value', 'reason'), [
    ('n_elements', 5, 'bad-shape'), ('n_users', 3, 'bad-shape'), ('quality', 3, 'bad-quality'),
    ('user_ids', ['u1'], 'bad-shape')])
def test_beamformer_that_cannot_be(field, value, reason):
    message = messages.beamformer_message(BEAMS)
    setattr(message, field, value)
    with pytest.raises(NfIsacError) as caught:
        reading.read_beamformer(message)
    assert caught.value.reason == reason


def test_orthogonal_factor_has_the_covariance_and_its_eigenvalues():
    weights = np.hstack([complex_matrix(8, 3), complex_matrix(8, 3)]).astype(complex)
    factor, eigenvalues = orthogonal_factor(weights)
    covariance = weights @ weights.conj().T
    np.testing.assert_allclose(factor @ factor.conj().T, covariance, atol=1e-10)
    np.testing.assert_allclose(eigenvalues, np.linalg.eigvalsh(covariance)[::-1][:3], atol=1e-10)
    gram = factor.conj().T @ factor
    np.testing.assert_allclose(gram, np.diag(eigenvalues), atol=1e-10)


def test_covariance_round_trip():
    report = CovarianceReport('transmit_array', 4, T, complex_matrix(6, 2), np.array([2.0, 1.0]),
                              'abc')
    message = messages.covariance_message(report)
    assert (message.rank, message.trace) == (2, 3.0)
    assert_same(reading.read_covariance(message), report)


def test_crb_array_round_trip():
    report = BoundReport('map', 9, T, T - 0.25, (TARGET, replace(TARGET, id='t2',
                         near_field=False)), 3.0, 5.0, 3.0, 2.9, math.nan)
    message = messages.crb_array_message(report)
    assert message.entries[0].parameters == ['x', 'y', 'z']
    assert message.entries[0].crb == math.inf
    assert_same(reading.read_crb_array(message), report)


def test_crb_array_of_an_extended_target_round_trip():
    root = np.random.default_rng(0).normal(size=(6, 6))
    bounds = ExtendedBounds(('x', 'y', 'z', 'range', 'direction', 'orientation'), root @ root.T)
    car = replace(TARGET, id='car', crb=bounds.centre, bounds=bounds)
    report = BoundReport('map', 9, T, T - 0.25, (TARGET, car), 3.0, 5.0, 3.0, 2.9, 0.0)
    message = messages.crb_array_message(report)
    entry = message.entries[1]
    assert entry.kind == entry.KIND_EXTENDED
    assert entry.units == ['m', 'm', 'm', 'm', 'rad', 'rad']
    assert entry.crb == pytest.approx(np.trace((root @ root.T)[:3, :3]))
    assert_same(reading.read_crb_array(message), report)


@pytest.mark.parametrize('change', [{'parameters': ['x', 'y']}, {'covariance': [1.0] * 8},
                                    {'parameters': ['range', 'x', 'y']}])
def test_crb_array_that_does_not_fit_is_refused(change):
    report = BoundReport('map', 9, T, T - 0.25, (TARGET,), 3.0, 5.0, 3.0, 2.9, 0.0)
    message = messages.crb_array_message(report)
    for key, value in change.items():
        setattr(message.entries[0], key, value)
    with pytest.raises(NfIsacError) as caught:
        reading.read_crb_array(message)
    assert caught.value.reason == 'bad-shape'


def test_design_status_round_trip():
    report = CycleReport(
        frame='map', transmit_time=T, sequence=3, cycle=5, design='crb-min', quality=Quality.MUTE,
        reason='no-bodies', users=(
            UserReport('u1', 20.0, -math.inf, True), UserReport('u2', 3.0, 4.0, False),
            UserReport('u3', 3.0, 4.0)),
        tracks=(TrackReport('t1', Role.TARGET, TrackState.DROPPED, 0.7),
                TrackReport('u1', Role.USER, TrackState.HELD, 0.3)),
        iterations=12, warm=True, cycle_ms=4.0, stages_ms={'wait': 0.5, 'solve': 3.0},
        overruns=2, fallbacks={'held-track': 3}, rejected={'not-finite': 1, 'future-stamp': 2})
    assert_same(reading.read_design_status(messages.design_status_message(report)), report)


def test_tracks_round_trip():
    full = PoseSample(
        'a', Role.USER, T + 0.5, np.array([1.0, 2.0, 3.0]), np.array([0.1, 0.2, 0.3]),
        np.diag([0.01, 0.02, 0.03]), (0.0, 0.0, math.sqrt(0.5), math.sqrt(0.5)), 1 - 2j, 15.0,
        'extended', 'car', 2.0)
    bare = PoseSample('b', Role.USER, T, np.zeros(3), orientation_xyzw=(0.0, 0.0, 0.0, 1.0))
    message = messages.track_array_message([full, bare], T + 1, 'map')
    assert_same(tuple(read_track_array(message, Role.USER, [], 'map')), (full, bare))


def test_user_channels_round_trip():
    sample = ChannelSample('u1', T, complex_matrix(5, 1)[:, 0].astype(complex), 10.0)
    message = messages.user_channel_array_message([sample], T, 'transmit_array', 'abc')
    read, = reading.read_user_channels(message, 'abc', 5)
    assert (read.id, read.stamp, read.min_sinr_db) == ('u1', T, 10.0)
    np.testing.assert_array_equal(read.channel, sample.channel)


@pytest.mark.parametrize(('field', 'value', 'reason'), [
    ('layout_hash', 'xyz', 'layout-mismatch'), ('n_elements', 4, 'bad-shape'),
    ('channel', [1.0] * 8, 'bad-shape'), ('channel', [0.0] * 10, 'no-channel'),
    ('channel', [math.nan] * 10, 'not-finite'), ('id', '', 'empty-id')])
def test_user_channel_that_cannot_be(field, value, reason):
    sample = ChannelSample('u1', T, np.ones(5, complex))
    message = messages.user_channel_array_message([sample], T, 'transmit_array', 'abc')
    setattr(message.channels[0], field, value)
    with pytest.raises(NfIsacError) as caught:
        reading.read_user_channels(message, 'abc', 5)
    assert caught.value.reason == reason


def test_echo_estimates_round_trip():
    estimates = (
        LocatedTarget('t1', EchoState.DETECTED, np.array([1.0, 2.0, 3.0]), np.eye(3), 0.5 - 1.0j,
                      12.5, 9.5),
        LocatedTarget('', EchoState.NEW, np.zeros(3), np.diag([1.0, 4.0, 9.0]), 2.0 + 0.0j, 30.0,
                      20.0))
    message = messages.echo_estimate_array_message(estimates, T, 'map', 6, T + 1.0)
    assert message.sequence == 6
    assert_same(reading.read_echo_estimates(message), estimates)


def test_unknown_state_of_an_echo_estimate():
    message = messages.echo_estimate_array_message(
        [LocatedTarget('t1', EchoState.LOST, np.zeros(3), np.eye(3), 1.0 + 0.0j, 1.0, 9.0)], T,
        'map', 6)
    message.estimates[0].state = 9
    with pytest.raises(MessageError) as caught:
        reading.read_echo_estimates(message)
    assert caught.value.reason == 'bad-constant'


def echo_samples(**changes):
    rng = np.random.default_rng(2)
    array = AntennaArray(rng.normal(size=(3, 3)), name='receive_array')
    sensor = Sensor(AntennaArray(rng.normal(size=(4, 3))), array, 0.1, SensingNoise(power=1.0))
    samples = EchoSamples(*(rng.normal(size=(n, 4)).view(complex) for n in (3, 4)), 100)
    message = messages.echo_samples_message(samples, T, 7, sensor)
    for name, value in changes.items():
        setattr(message, name, value)
    return sensor, samples, message


def test_echo_samples_round_trip():
    sensor, samples, message = echo_samples()
    assert message.header.frame_id == 'receive_array'
    assert message.sequence == 7
    found = reading.read_echo_samples(message, sensor)
    assert found.symbols == 100
    np.testing.assert_allclose(found.samples, samples.samples, rtol=1e-6)
    np.testing.assert_allclose(found.excitation, samples.excitation, rtol=1e-6)


@pytest.mark.parametrize(('changes', 'reason'), [
    ({'transmit_layout_hash': 'xyz'}, 'layout-mismatch'),
    ({'receive_layout_hash': ''}, 'layout-mismatch'),
    ({'n_elements': 4}, 'bad-shape'), ({'n_transmit': 3}, 'bad-shape'),
    ({'n_streams': 3}, 'bad-shape'), ({'samples': []}, 'bad-shape'),
    ({'n_streams': 0, 'samples': [], 'excitation': []}, 'bad-shape'),
    ({'symbols': 0}, 'bad-shape'), ({'samples': [math.nan] * 12}, 'not-finite')],
    ids=lambda value: value if isinstance(value, str) else '-'.join(value))
def test_echo_samples_that_cannot_be(changes, reason):
    sensor, _, message = echo_samples(**changes)
    with pytest.raises(NfIsacError) as caught:
        reading.read_echo_samples(message, sensor)
    assert caught.value.reason == reason
