"""Figures of the extended-target paper: closed forms, reference designs, trends, the command."""

import csv
from dataclasses import replace
import json
from pathlib import Path

import numpy as np
import pytest

from nf_isac_ros.core.extended.plane import planar_pose
from nf_isac_ros.figures import (
    catalogue,
    et3_bounds,
    et4_vehicle,
    et6_estimates,
    et7_patterns,
    et8_users,
    et9_zero_forcing,
    session,
)
from nf_isac_ros.figures.command import main
from nf_isac_ros.figures.errors import FigureError
from nf_isac_ros.figures.extended import (
    Extended,
    bounds,
    channels,
    designed,
    generator,
    scene,
)
from nf_isac_ros.figures.panels import Task, stacked, where
from nf_isac_ros.figures.parameters import describe
from nf_isac_ros.parallel import here

ROOT = Path(__file__).parents[2]
REFERENCE = ROOT.parent / 'shared' / 'data' / 'reference' / 'extended_target'

needs_reference = pytest.mark.skipif(
    not REFERENCE.is_dir(), reason='reference scenes are not on this machine')


def reference(name):
    return json.loads((REFERENCE / f'{name}.json').read_text(encoding='utf-8'))


# ------------------------------------------------------------------ parameters, scenes, channels

def test_contours_are_the_named_ones():
    yaml = pytest.importorskip('yaml')
    named = yaml.safe_load((ROOT / 'config' / 'contours.yaml').read_text())['contours']
    for name, parts in named.items():
        found = Extended().contour(name)
        assert found.cosine == tuple(parts['cosine']) and found.sine == tuple(parts['sine'])


@needs_reference
@pytest.mark.parametrize('name, settings', [
    ('S1_vehicle_los', {}),
    ('S2_uav_los', {'distance_m': 10.0, 'direction_deg': 15.0, 'orientation_deg': 20.0,
                    'snr_distance_m': 10.0})])
def test_designs_of_the_figures_are_those_of_the_reference(name, settings):
    """Defaults are the parameters of S1; the channels are those of the reference."""
    data = reference(name)
    given, p = data['inputs'], Extended(**settings)
    users = [np.array(re) + 1j * np.array(im)
             for re, im in zip(given['H']['re'], given['H']['im'])]
    placed = scene(p, given['shape'], p.distance_m, users)
    assert placed.extended[0].path_power == pytest.approx(given['beta2'], rel=1e-12)
    plane = planar_pose(placed.transmit_array, placed.extended[0].pose)
    assert (plane.range, plane.direction, plane.orientation) == pytest.approx(
        (given['d_o'], given['phi_o'], given['ori']))
    # What a design does not optimise is good to the root of its gap only.
    for design, theirs, accuracy in (
            ('extended-crb-min', 'sdr', 1e-4), ('extended-zero-forcing', 'zf_full', 3e-4),
            ('average', 'bench_average', 1e-2), ('average-null', 'bench_average_null', 1e-2)):
        found = bounds(designed(p, placed, design))
        expected = data['designs'][theirs]['bounds']['far']
        assert found.direction == pytest.approx(expected['phi_o_rad2'], rel=accuracy), design
        assert found.range == pytest.approx(expected['d_o_m2'], rel=1e-2), design
        assert found.orientation == pytest.approx(expected['ori_rad2'], rel=1e-2), design


def test_channels_depend_on_draw_and_user_only():
    p = Extended()
    four = channels(p, 3)
    two = channels(replace(p, user_directions_deg=p.user_directions_deg[:2]), 3)
    for one, other in zip(four[:2], two, strict=True):
        assert np.array_equal(one, other)
    assert not np.allclose(four[0], channels(p, 4)[0])
    assert not np.allclose(four[0], channels(replace(p, seed=2), 3)[0])
    power = np.mean([np.abs(one) ** 2 for draw in range(400) for one in channels(p, draw)])
    assert power == pytest.approx(1e-10, rel=0.1)


# ------------------------------------------------------------------ Fig. 3

def test_point_has_the_closed_form_bounds():
    p = replace(et3_bounds.Parameters(), random_beams=1, realisations=5)
    found = et3_bounds.at_distance(p, 'point', 7.0)
    x, y = np.arange(16) - 7.5, np.arange(20) - 9.5
    c0 = 2 * 1000 * 1e-4 / ((4 * np.pi) ** 3 * 20.0 ** 4) / 1e-11
    ranges, directions = [], []
    for draw in range(5):
        w = generator(p, 1, draw).normal(size=(2, 16, 4))
        w = (w[0] + 1j * w[1]) / np.linalg.norm(w)
        # a = 1 and a' = -j pi x at broadside.
        value, slope = w.sum(axis=0), 1j * np.pi * (x @ w)
        power, mixed = np.vdot(value, value).real, np.vdot(slope, value).real
        ranges.append(1 / (c0 * 20 * (4 * np.pi * 1e8 / 299792458.0) ** 2 * power))
        directions.append(power / c0 / (
            np.pi ** 2 * (y @ y) * power ** 2
            + 20 * (power * np.vdot(slope, slope).real - mixed ** 2)))
    assert found['range_crb_m2'][0] == pytest.approx(np.mean(ranges), rel=1e-6)
    assert found['direction_crb_rad2'][0] == pytest.approx(np.mean(directions), rel=1e-6)
    assert np.isnan(found['orientation_crb_rad2'][0]) and found['realisations'][0] == 5


@pytest.fixture(scope='module')
def far_and_near():
    p = replace(et3_bounds.Parameters(), realisations=3)
    return {(shape, d): et3_bounds.at_distance(p, shape, d)
            for shape in ('vehicle', 'uav', 'point') for d in (6.0, 25.0, 300.0)}


@pytest.mark.parametrize('column', ['range_crb_m2', 'direction_crb_rad2'])
def test_bounds_fall_to_those_of_a_point(far_and_near, column):
    point = [far_and_near['point', d][column][0] for d in (6.0, 25.0, 300.0)]
    assert point == pytest.approx([point[0]] * 3, rel=1e-4)
    for shape in ('vehicle', 'uav'):
        near, middle, far = (far_and_near[shape, d][column][0] for d in (6.0, 25.0, 300.0))
        assert near > 1.5 * middle > 1.5 * far > 1.5 * point[0] * (1 - 1e-4)
        assert far == pytest.approx(point[0], rel=5e-3)
    # The larger one, the slower.
    assert (far_and_near['vehicle', 6.0][column] > far_and_near['uav', 6.0][column]).all()


@pytest.mark.parametrize('random_beams, exact', [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_orientation_is_worse_than_direction(random_beams, exact):
    p = replace(et3_bounds.Parameters(), realisations=2, random_beams=random_beams, exact=exact)
    for shape in ('vehicle', 'uav'):
        for distance in (4.0, 40.0):
            found = et3_bounds.at_distance(p, shape, distance)
            assert found['orientation_crb_rad2'][0] > found['direction_crb_rad2'][0]


# ------------------------------------------------------------------ the others

def test_matched_filter_is_far_above_the_bound_and_crb_min_below_the_others():
    p = replace(et6_estimates.Parameters(), nearest_m=20.0, farthest_m=60.0, distances=2,
                realisations=1, trials=400, step_deg=0.05)
    rows, = (found for _, found in here([Task(et6_estimates.at_channel, (p, 0))]))
    ours = where(rows, design='extended-crb-min')
    assert (ours['direction_mse_rad2'] > 100 * ours['direction_crb_rad2']).all()
    for name in ('average', 'average-null'):
        other = where(rows, design=name)
        assert (ours['direction_crb_rad2'] < 0.9 * other['direction_crb_rad2']).all()
        assert (ours['direction_mse_rad2'] < other['direction_mse_rad2']).all()


def test_likelihood_is_between_the_bound_and_the_matched_filter():
    p = replace(et6_estimates.Parameters(), pose_trials=12, distances=2, step_deg=0.05,
                nearest_m=20.0)
    # As a sweep does it: threads for such small matrices only wait for each other.
    rows, = (found for _, found in here([Task(et6_estimates.by_likelihood, (p, 0))]))
    knowing, filtered = (where(rows, estimator=name)['direction_mse_rad2'][0]
                         for name in (et6_estimates.KNOWING, et6_estimates.FILTER))
    assert rows['direction_crb_rad2'][0] < knowing < 0.02 * filtered


def test_spectra_of_one_echo_peak_at_zero_decibels():
    found = et4_vehicle.spectrum(et4_vehicle.Parameters(), 'uav', 'extended-crb-min')
    assert found['output_db'].max() == 0.0
    assert found['deviation_deg'][[0, -1]] == pytest.approx([-14.9, 14.9])
    assert abs(found['deviation_deg'][np.argmax(found['output_db'])]) < 8.0


def test_beam_patterns_hold_the_power_and_average_peaks_beside_the_target():
    p = et7_patterns.Parameters()
    peaks = {}
    for name, shape in et7_patterns.CASES:
        found = et7_patterns.beam_pattern(p, name, shape)
        gain, direction = 10 ** (found['gain_db'] / 10), found['direction_deg']
        # Over the sine of the direction the mean of a^H R a is the power.
        assert np.trapezoid(gain, np.sin(np.deg2rad(direction))) / 2 == pytest.approx(
            1.0, abs=2e-3)
        peaks[name, shape] = direction[np.argmax(np.where(np.abs(direction) < 12, gain, 0.0))]
    assert abs(peaks['extended-crb-min', 'point']) <= 0.25
    assert abs(peaks['extended-crb-min', 'vehicle']) <= 1.25
    assert 2.5 <= abs(peaks['average', 'vehicle']) <= 4.0


def test_few_users_cost_little_and_many_much():
    p = et8_users.Parameters()
    one, four, eight = (float(et8_users.at_channel(
        p, 0, users, 'extended-crb-min')['direction_crb_rad2'][0]) for users in (1, 4, 8))
    assert one <= four * (1 + 1e-4) < 1.3 * one
    assert eight > 2 * one


def test_users_that_cannot_be_served_have_no_bound():
    p = replace(et8_users.Parameters(), sinr_db=40.0)
    assert np.isinf(et8_users.at_channel(p, 0, 2, 'average')['direction_crb_rad2'][0])


def test_zero_forcing_has_the_larger_sum_rate_and_bound():
    p = replace(et9_zero_forcing.Parameters(), sinrs=3, realisations=1)
    draw, = et9_zero_forcing.feasible_draws(p)
    rows = stacked([et9_zero_forcing.at_sinr(p, draw, 2, float(value)) for value in p.grid],
                   et9_zero_forcing.COLUMNS)
    ours, forced, searched = (where(rows, design=name) for name in p.designs(2))
    gap = forced['sum_rate_bit_s_hz'] - ours['sum_rate_bit_s_hz']
    assert (gap > -1e-3).all() and gap[0] > gap[-1]
    crb, forced_crb = ours['direction_crb_rad2'], forced['direction_crb_rad2']
    # All directions at once are at least as good as one for each user.
    assert (searched['direction_crb_rad2'] > forced_crb * (1 - 1e-4)).all()
    assert (forced_crb > crb * (1 - 1e-4)).all() and (np.diff(crb) > -1e-4 * crb[0]).all()
    assert (ours['sum_rate_bit_s_hz'] > 2 * np.log2(1 + 10 ** (p.grid / 10)) - 1e-6).all()


def test_channels_that_are_too_rare_are_bad_input():
    p = replace(et9_zero_forcing.Parameters(), largest_sinr_db=60.0, realisations=1)
    with pytest.raises(FigureError, match='largest_sinr_db: is 60.* 0 can be served'):
        et9_zero_forcing.feasible_draws(p)


# ------------------------------------------------------------------ the command

TINY = ('realisations=1', 'distances=2', 'trials=20', 'pose_trials=1', 'sections=4',
        'user_directions_deg=-40,40', 'sinrs=2', 'largest_sinr_db=3', 'step_deg=0.5',
        'pattern_step_deg=2')
PANELS = [f'{name}{letter}' for name, (_, letters) in catalogue.MODULES.items()
          for letter in letters if name.startswith('et')]


def make(folder, *names, settings=TINY):
    known = {parameter for name in catalogue.panels(names)
             for parameter, *_ in describe(catalogue.figure(name).parameters)}
    options = [word for pair in settings if pair.partition('=')[0] in known
               for word in ('--set', pair)]
    return main([*names, '--out', str(folder), '--workers', '0', *options])


@pytest.fixture(scope='module')
def tiny(tmp_path_factory):
    folder = tmp_path_factory.mktemp('extended')
    assert make(folder, *{panel[:-1] for panel in PANELS}) == 0
    return folder


@pytest.mark.parametrize('panel', PANELS)
def test_every_panel_has_a_table_and_two_pictures(tiny, panel):
    with open(tiny / f'{panel}.csv', newline='', encoding='utf-8') as stream:
        rows = list(csv.DictReader(stream))
    assert tuple(rows[0]) == catalogue.figure(panel[:-1]).panels[panel[-1]].columns
    for row in rows:
        for column, value in row.items():
            if column.endswith(('_m', '_m2', '_rad2', '_deg', '_db', '_hz')):
                assert np.isfinite(float(value)), (column, row)
    assert (tiny / f'{panel}.png').read_bytes().startswith(b'\x89PNG')
    svg = (tiny / f'{panel}.svg').read_text()
    assert svg.count('[') >= (1 if panel in ('et4b', 'et5b', 'et8a') else 2)


def test_the_same_seed_gives_the_same_tables_and_another_does_not(tiny, tmp_path, monkeypatch):
    # Pictures take most of the time, and are drawn from the tables.
    monkeypatch.setattr(session, 'save', lambda figure, path: [])
    panels = ('et3a', 'et4a', 'et5b', 'et6b', 'et9b')
    assert make(tmp_path / 'same', *panels) == 0
    assert make(tmp_path / 'other', *panels, settings=(*TINY, 'seed=9')) == 0
    for panel in panels:
        table = (tiny / f'{panel}.csv').read_bytes()
        assert (tmp_path / 'same' / f'{panel}.csv').read_bytes() == table
        assert (tmp_path / 'other' / f'{panel}.csv').read_bytes() != table


@pytest.mark.parametrize('arguments, code, words', [
    (['et2'], 2, ['et2', 'et3a-c']),
    (['et3a', '--set', 'n_x=4'], 2, ['n_x', 'transmit_elements']),
    (['et3a', '--set', 'exact=2'], 2, ['exact', 'from 0 to 1']),
    (['et3a', '--set', 'distance_m=0'], 2, ['distance_m', 'positive']),
    (['et7a', '--set', 'sinr_db=60'], 3, ['SINRs cannot be met', '-44.3']),
    (['et7a', '--set', 'distance_m=1'], 2, ['inside']),
    (['et7a', '--set', 'vehicle_cosine=1,2'], 2, ['contour', '2 cosine and 8 sine']),
], ids=lambda value: value if isinstance(value, str) else None)
def test_bad_requests_end_in_one_line(arguments, code, words, tmp_path, capsys):
    assert main([*arguments, '--workers', '0', '--out', str(tmp_path)]) == code
    last = capsys.readouterr().err.strip().splitlines()[-1]
    for word in words:
        assert word in last
    assert not list(tmp_path.iterdir())
