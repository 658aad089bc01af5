"""Figure data against closed forms and reference values; the command on tiny sweeps."""

import csv
from dataclasses import replace
import json
from pathlib import Path
import re
import subprocess
import sys

import numpy as np
import pytest

from nf_isac_ros.figures import (
    catalogue,
    fig3_collocated,
    fig4_separated,
    fig5_scattered,
    fig6_several,
    fig7_complexity,
)
from nf_isac_ros.figures.command import main
from nf_isac_ros.figures.errors import FigureError
from nf_isac_ros.figures.panels import where
from nf_isac_ros.figures.parameters import describe
from nf_isac_ros.figures.session import jobs, unique_tasks
from nf_isac_ros.parallel import worthwhile_workers

DOCS = Path(__file__).parents[2] / 'docs'
REFERENCE = Path(__file__).parents[2].parent / 'shared' / 'data' / 'reference' / 'near_field'

# Everything small: arrays, pictures, sweeps. The thresholds are such that these arrays meet them.
TINY = ('n_x=10', 'n_y=12', 'second_n_x=5', 'second_n_y=6', 'cells_y=9', 'cells_z=12', 'points=3',
        'sinr_from_db=-12', 'sinr_step_db=6', 'marked_sinr_db=0', 'low_sinr_db=-12',
        'high_sinr_db=-6', 'bars_sinr_db=-12', 'gap=1e-4')
TINY_TIMES = ('n_x=3', 'n_y=3', 'squares=4', 'runs=1', 'peer_runs=1', 'most_full=9',
              'most_peers=16')
COLUMNS = {
    'fig3b': ['d_m', 'design', 'crb_m2'],
    'fig4d': ['elements', 'sinr_db', 'design', 'crb_m2'],
    'fig5d': ['elements', 'sinr_db', 'design', 'crb_m2'],
    'fig6d': ['sinr_db', 'design', 'sum_crb_m2'],
    'fig7a': ['n_y', 'method', 'sum_crb_m2'],
}


needs_reference = pytest.mark.skipif(
    not REFERENCE.is_dir(), reason='reference scenes are not on this machine')


def reference(name):
    """Certified optima of a reference scene."""
    return json.loads((REFERENCE / f'{name}.json').read_text(encoding='utf-8'))['expected']


def settings(names, pairs):
    """Those of the pairs that one of the figures has a parameter for, as options."""
    known = {parameter for name in catalogue.panels(names)
             for parameter, *_ in describe(catalogue.figure(name).parameters)}
    return [word for pair in pairs if pair.partition('=')[0] in known
            for word in ('--set', pair)]


def make(folder, *names, pairs=TINY, options=('--workers', '0')):
    return main([*names, '--out', str(folder), *options, *settings(names, pairs)])


def read(path):
    with open(path, newline='', encoding='utf-8') as stream:
        rows = list(csv.DictReader(stream))
    assert rows
    return rows


def response(elements, point, wavelength):
    """Spherical-wave response, written out again."""
    r = np.linalg.norm(elements - np.asarray(point), axis=1)
    return wavelength / (4 * np.pi * r) * np.exp(-2j * np.pi * r / wavelength)


def facing(n_x, n_y, wavelength):
    """Element positions of the transmit array, written out again."""
    x = (np.arange(n_x) - (n_x - 1) / 2) * wavelength / 2
    y = (np.arange(n_y) - (n_y - 1) / 2) * wavelength / 2
    return np.array([(a, b, 0.0) for a in x for b in y])


# ------------------------------------------------------------------ the numbers of the paper

def test_lengths_are_those_that_the_paper_prints():
    p = fig3_collocated.Parameters()
    diagonal = np.hypot(p.n_x, p.n_y) * p.wavelength / 2
    assert diagonal == pytest.approx(0.364, abs=5e-4)
    assert 2 * diagonal ** 2 / p.wavelength == pytest.approx(24.7, abs=0.05)
    assert p.offset == pytest.approx(0.2518, abs=5e-5)
    assert p.distances.max() == pytest.approx(10 * diagonal / np.sqrt(2))
    assert 0.0 in p.distances and p.offset in p.distances
    assert fig7_complexity.Parameters().wavelength == pytest.approx(0.2)


def test_largest_sinr_is_that_of_maximum_ratio_transmission():
    p = fig3_collocated.Parameters()
    found = fig3_collocated.at_distance(p, 0.7)
    v = response(facing(48, 48, p.wavelength), (0, 0.7, 1.235), p.wavelength)
    peak = 10 * np.log10(0.01 * np.linalg.norm(v) ** 2 / 1e-8)
    by_design = dict(zip(found['design'].tolist(), found['sinr_db'].tolist()))
    assert by_design['sinr-max'] == pytest.approx(peak, abs=1e-9)
    assert by_design['max-min-illumination'] == pytest.approx(peak, abs=1e-9)
    assert by_design['isotropic'] == pytest.approx(peak - 10 * np.log10(2304), abs=1e-9)
    assert by_design['crb-min'] < peak


def test_beam_pattern_of_maximum_ratio_transmission():
    # P |v^T conj(h')|^2 for the unit vector h' = conj(v_u) / |v_u| of the user.
    p = replace(fig4_separated.Parameters(), n_x=20, n_y=24, cells_y=7, cells_z=9)
    found = fig4_separated.design_pattern(p, 'sinr-max')
    elements = facing(20, 24, p.wavelength)
    user = response(elements, (0, -p.depth_m / 12, 2 * p.depth_m / 3), p.wavelength)
    for k in (3, 31, 40, 62):
        v = response(elements, (0, found['y_m'][k], found['z_m'][k]), p.wavelength)
        expected = 0.01 * abs(v @ user.conj()) ** 2 / np.linalg.norm(user) ** 2
        limit = 0.01 * np.linalg.norm(v) ** 2
        assert found['power_w'][k] == pytest.approx(expected, abs=1e-6 * limit)


def test_pattern_cells_cover_the_plane_between_the_arrays():
    p = replace(fig4_separated.Parameters(), n_x=8, n_y=8, cells_y=4, cells_z=5)
    found = fig4_separated.design_pattern(p, 'sinr-max')
    assert sorted(set(np.round(found['y_m'], 12))) == pytest.approx([-0.45, -0.15, 0.15, 0.45])
    assert found['z_m'][:5] == pytest.approx(2.47 * np.array([0.1, 0.3, 0.5, 0.7, 0.9]))


def test_covariance_beside_the_axis_has_rank_two():
    rows = fig3_collocated.eigenvalues(fig3_collocated.Parameters())
    values = where(rows, design='crb-min')['eigenvalue_w']
    assert values.sum() == pytest.approx(0.01)
    assert (values > 1e-6).sum() == 2
    assert (where(rows, design='max-min-illumination')['eigenvalue_w'] > 1e-6).sum() == 1


def test_bound_first_falls_and_then_rises_beside_the_axis():
    p = fig3_collocated.Parameters()
    crb = {d: fig3_collocated.at_distance(p, d)['crb_m2'] for d in (0.0, 0.5, -0.5, 2.5)}
    for design in (0, 3):   # crb-min, isotropic
        assert crb[0.5][design] < 0.1 * crb[0.0][design]
        assert crb[2.5][design] > 10 * crb[0.5][design]
    np.testing.assert_allclose(crb[0.5], crb[-0.5], rtol=1e-6)


def test_bounds_fall_with_the_number_of_symbols():
    p = replace(fig3_collocated.Parameters(), n_x=16, n_y=16)
    once = fig3_collocated.at_distance(p, 0.2)['crb_m2']
    twice = fig3_collocated.at_distance(replace(p, symbols=200), 0.2)['crb_m2']
    np.testing.assert_allclose(once, 2 * twice, rtol=1e-6)


def test_scattered_path_raises_the_sinr_that_sensing_leaves():
    p = fig5_scattered.Parameters()
    assert p.scattering == 0.3
    size = p.sizes[0]
    plain = fig4_separated.Parameters()
    assert (fig4_separated.largest_sinr(p, size)['crb_m2'][0]
            < 0.1 * fig4_separated.largest_sinr(plain, size)['crb_m2'][0])
    free = fig4_separated.at_sinr(plain, size, 0.0, 'crb-min')['crb_m2'][0]
    at = [fig4_separated.at_sinr(q, size, 22.0, 'crb-min')['crb_m2'][0] for q in (plain, p)]
    assert at[0] > at[1] >= free * (1 - 1e-5)


def test_program_that_is_not_reduced_has_the_same_optimum():
    p = fig7_complexity.Parameters()
    ours, full = (fig7_complexity.at_size(p, 3, method)['sum_crb_m2'][0]
                  for method in ('crb-min', 'crb-min-full'))
    assert ours == pytest.approx(full, rel=1e-5)


@needs_reference
def test_on_the_axis_all_designs_are_one():
    expected = reference('S01_prop5_d0')
    found = fig3_collocated.at_distance(fig3_collocated.Parameters(), 0.0)
    crb = dict(zip(found['design'].tolist(), found['crb_m2'].tolist()))
    sinr = dict(zip(found['design'].tolist(), found['sinr_db'].tolist()))
    for design in fig3_collocated.CORNERS:
        assert crb[design] == pytest.approx(expected['crb-min']['sum_crb_m2'], rel=1e-6)
        assert sinr[design] == pytest.approx(20.0 + expected['max_common_sinr_scale_db'], abs=1e-4)
    assert crb['isotropic'] == pytest.approx(expected['isotropic_sum_crb_m2'], rel=1e-6)


@needs_reference
@pytest.mark.parametrize('design', fig4_separated.DESIGNS)
def test_tradeoff_of_one_target_and_user_passes_through_the_reference(design):
    p = fig4_separated.Parameters()
    found = fig4_separated.at_sinr(p, p.sizes[0], 20.0, design)
    assert found['elements'][0] == 2304
    expected = reference('S03_fig4_eta0')[design]['sum_crb_m2']
    assert found['crb_m2'][0] == pytest.approx(expected, rel=1e-4)


@needs_reference
@pytest.mark.parametrize('name, sinr_db', [('S05_fig6_5dB', 5.0), ('S06_fig6_25dB', 25.0)])
def test_tradeoff_of_several_passes_through_the_references(name, sinr_db):
    expected = reference(name)
    p = fig6_several.Parameters()
    for design, column in (('crb-min', 'sum_crb_m2'),
                           ('max-min-illumination', 'min_illumination_w'),
                           ('max-min-echo', 'min_echo_w')):
        found = fig6_several.at_sinr(p, design, sinr_db)
        assert found[column][0] == pytest.approx(expected[design]['objective'], rel=2e-6)
        # What the max-min designs do to the bounds is not their objective.
        assert found['sum_crb_m2'][0] == pytest.approx(expected[design]['sum_crb_m2'], rel=1e-4)


@needs_reference
def test_largest_sinr_of_several_is_that_of_the_reference():
    p = fig6_several.Parameters()
    limit = 25.0 + reference('S06_fig6_25dB')['max_common_sinr_scale_db']
    tasks = fig6_several.tradeoff_tasks(['crb-min'], p)
    values = [task.arguments[2] for task in tasks]
    assert max(values) == pytest.approx(limit - 0.01, abs=1e-4)
    assert {5.0, 20.0, 25.0} < set(values)


# ------------------------------------------------------------------ the command

@pytest.fixture(scope='module')
def tiny(tmp_path_factory):
    folder = tmp_path_factory.mktemp('figures')
    assert make(folder, 'fig3', 'fig4', 'fig5', 'fig6') == 0
    assert make(folder, 'fig7', pairs=TINY_TIMES) == 0
    return folder


PANELS = [f'{name}{letter}' for name, (_, letters) in catalogue.MODULES.items()
          for letter in letters if name.startswith('fig')]


@pytest.mark.parametrize('panel', PANELS)
def test_every_panel_has_a_table_and_two_pictures(tiny, panel):
    rows = read(tiny / f'{panel}.csv')
    expected = catalogue.figure(panel[:-1]).panels[panel[-1]].columns
    assert tuple(rows[0]) == tuple(COLUMNS.get(panel, expected))
    for row in rows:
        for column, value in row.items():
            if column.endswith(('_m', '_m2', '_w', '_db', '_ms')):
                assert np.isfinite(float(value)), (column, row)
    assert (tiny / f'{panel}.png').read_bytes().startswith(b'\x89PNG')
    svg = (tiny / f'{panel}.svg').read_text()
    assert '<svg' in svg
    # Axes have names, and physical ones units.
    if panel != 'fig6l':
        assert svg.count('[') >= 2 or panel in ('fig3f', 'fig7a', 'fig7b')


@pytest.mark.parametrize('panel, designs', [
    ('fig3b', {'crb-min', 'max-min-illumination', 'sinr-max', 'isotropic'}),
    ('fig4d', {'crb-min', 'max-min-illumination', 'sinr-max'}),
    ('fig6d', {'crb-min', 'max-min-illumination', 'max-min-echo', 'sensing-only'}),
])
def test_tables_name_the_designs_as_scene_files_do(tiny, panel, designs):
    assert {row['design'] for row in read(tiny / f'{panel}.csv')} == designs


def test_small_and_large_arrays_are_told_apart(tiny):
    assert {row['elements'] for row in read(tiny / 'fig5d.csv')} == {'120', '30'}


def test_times_are_of_ours_and_of_other_solvers(tiny):
    kinds = {(row['elements'], row['method'], row['solver']) for row in read(tiny / 'fig7b.csv')}
    assert ('9', 'crb-min-full', 'cvxpy-clarabel') in kinds
    assert ('16', 'crb-min', 'cvxpy-scs') in kinds
    assert ('16', 'max-min-echo', 'nf_isac_ros') in kinds
    assert not any(method == 'crb-min-full' for n, method, _ in kinds if n == '16')


def test_the_same_request_gives_the_same_files(tiny, tmp_path):
    assert make(tmp_path, 'fig3b', 'fig3d', 'fig6d') == 0
    made = sorted(path.name for path in tmp_path.iterdir())
    assert len(made) == 9
    for name in made:
        assert (tmp_path / name).read_bytes() == (tiny / name).read_bytes(), name


def test_processes_of_this_machine_give_the_same_table(tiny, tmp_path):
    # As a user runs it: the processes import the main module anew.
    subprocess.run(
        [sys.executable, '-m', 'nf_isac_ros.figures', 'fig3b', 'fig4d', '--workers', '2',
         '--out', str(tmp_path), *settings(['fig3b', 'fig4d'], TINY)], check=True, timeout=120)
    for name in ('fig3b.csv', 'fig4d.csv'):
        assert same_numbers(tmp_path / name, tiny / name)


def test_a_cluster_gives_the_same_table(tiny, tmp_path):
    from distributed import LocalCluster

    with LocalCluster(n_workers=1, threads_per_worker=1, processes=False, protocol='tcp',
                      dashboard_address='127.0.0.1:0') as cluster:
        options = ('--scheduler', cluster.scheduler_address)
        assert cluster.scheduler_address.startswith('tcp://')
        assert make(tmp_path, 'fig3b', options=options) == 0
    assert same_numbers(tmp_path / 'fig3b.csv', tiny / 'fig3b.csv')


def same_numbers(path, other):
    """Same rows, in any numbers within rounding: threads and processors sum in another order."""
    ours, theirs = read(path), read(other)
    assert len(ours) == len(theirs)
    for row, expected in zip(ours, theirs, strict=True):
        for column, value in row.items():
            if column.endswith(('_m', '_m2', '_db')):
                assert float(value) == pytest.approx(float(expected[column]), rel=1e-6)
            else:
                assert value == expected[column]
    return True


def test_panels_share_what_they_have_in_common():
    p = fig3_collocated.Parameters()
    both = jobs({'fig3': 'bc'}, {'fig3': p})
    assert len(unique_tasks(both)) == len(both[0].tasks) == len(p.distances)


def test_listing_shows_panels_and_changed_parameters(capsys):
    assert main(['fig7', '--list', '--set', 'n_y=4,5']) == 0
    text = capsys.readouterr().out
    assert 'fig7b' in text and 'n_y=4,5' in text and 'symbols=100' in text
    assert 'fig3' not in text


@pytest.mark.parametrize('arguments, words', [
    (['fig9'], ['fig9', 'fig3a-g']),
    (['fig4e'], ['fig4e', 'fig4a-d']),
    ([], ['none is named', 'all']),
    (['fig3b', '--set', 'elements=4'], ['elements', 'n_x']),
    (['fig7a', '--set', 'offset_wavelengths=4'], ['offset_wavelengths', 'carrier_hz']),
    (['fig3b', '--set', 'n_x'], ['n_x', 'NAME=VALUE']),
    (['fig3b', '--set', 'n_x=4.5'], ['n_x', '4.5', 'whole number', '1 to 1024']),
    (['fig3b', '--set', 'n_x=0'], ['n_x', "'0'", '1 to 1024']),
    (['fig3b', '--set', 'symbols=nan'], ['symbols', 'nan']),
    (['fig3b', '--set', 'depth_m=-1'], ['depth_m', '-1', 'positive']),
    (['fig3b', '--set', 'depth_m=inf'], ['depth_m', 'inf', 'finite']),
    (['fig7a', '--set', 'n_y='], ['n_y', 'at least one']),
    (['fig6d', '--set', 'sinr_from_db=60'], ['sinr_from_db', '60', '27.04']),
    (['fig3b', '--workers', '-1'], ['--workers', '-1', '0 to 1024']),
    (['fig3b', '--workers', '1', '--scheduler', 'tcp://localhost:1'], ['--workers', 'left out']),
    (['fig3b', '--scheduler', 'nowhere'], ['--scheduler', 'nowhere', 'tcp://']),
    (['fig7a', '--workers', '0', '--set', 'n_y=8'], ['24 elements', '18', 'crb-min-full']),
    (['fig3a', '--workers', '0', '--set', 'depth_m=0.01'], ['t1', 'wavelength']),
], ids=lambda value: '_'.join(value) or 'nothing' if isinstance(value, list) else None)
def test_bad_requests_end_in_one_line(arguments, words, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr('nf_isac_ros.parallel.CONNECT', 0.5)
    assert main([*arguments, '--out', str(tmp_path)]) == 2
    last = capsys.readouterr().err.strip().splitlines()[-1]
    for word in words:
        assert word in last
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize('workers', ['0', '2'])
def test_a_pattern_of_an_sinr_out_of_reach_says_by_how_much(workers, tmp_path, capsys):
    pairs = ('n_x=48', 'n_y=48', 'marked_sinr_db=40', 'cells_y=3', 'cells_z=3')
    assert make(tmp_path, 'fig4b', 'fig4c', pairs=pairs, options=('--workers', workers)) == 3
    # Gamma_c is 27.8237 dB: the optimum of the reference, by another route.
    assert '-12.1763 dB' in capsys.readouterr().err


def test_a_folder_that_cannot_be_is_named(tmp_path, capsys):
    (tmp_path / 'taken').write_text('')
    assert make(tmp_path / 'taken', 'fig3f') == 2
    assert 'taken' in capsys.readouterr().err


def test_a_threshold_that_no_beams_meet_leaves_the_bound_open():
    p = fig4_separated.Parameters()
    found = fig4_separated.at_sinr(p, (8, 8), 40.0, 'crb-min')
    assert np.isnan(found['crb_m2'][0])


def test_unknown_figures_are_refused_before_anything_is_loaded():
    with pytest.raises(FigureError):
        catalogue.panels(['fig3', 'figure4'])


def test_one_task_starts_no_process():
    assert worthwhile_workers(1) == 0
    assert worthwhile_workers(10 ** 6) in (0, *range(2, 4097))


# ------------------------------------------------------------------ the page

def test_page_shows_every_panel_once_and_small():
    text = (DOCS / 'figures.md').read_text(encoding='utf-8')
    shown = re.findall(r'<img src="(images/figures/\w+\.png)"', text)
    panels = [f'{name}{letter}' for name, (_, letters) in catalogue.MODULES.items()
              for letter in letters]
    assert sorted(shown) == sorted(f'images/figures/{panel}.png' for panel in panels)
    for path in shown:
        assert 1000 < (DOCS / path).stat().st_size < 100_000, path
    assert sorted(path.name for path in (DOCS / 'images' / 'figures').iterdir()) == sorted(
        f'{panel}.png' for panel in panels)
