"""`nf-isac tradeoff` from file to file: the table, the corners, bad options and exit codes."""

from __future__ import annotations

import csv
from pathlib import Path
import sys

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent / 'files'))

from scene_files import SCENE, changed, strict_json, written  # noqa: E402

from nf_isac_ros.cli import main  # noqa: E402

ONE_USER = changed(('users', SCENE['users'][:1]))


@pytest.fixture
def sweep(tmp_path, capsys):
    """Run the command on a scene that must be good; returns its rows."""
    def sweep(scene: dict, *options, code: int = 0):
        out = tmp_path / 'out.csv'
        assert main(['tradeoff', str(written(tmp_path, scene)), '--out', str(out),
                     *map(str, options)]) == code
        captured = capsys.readouterr()
        assert captured.out == '' and captured.err.count('\n') == (code != 0)
        with open(out, newline='', encoding='utf-8') as stream:
            return list(csv.DictReader(stream))
    return sweep


def column(rows, name):
    return [float(row[name]) for row in rows]


def test_one_row_a_point_in_rising_order(sweep, tmp_path):
    rows = sweep(SCENE, '--sinr-db', '0:12:4')
    assert column(rows, 'sinr_db') == [0.0, 4.0, 8.0, 12.0]
    assert {row['design'] for row in rows} == {'crb-min'}
    assert {row['status'] for row in rows} == {'optimal'}
    bounds = column(rows, 'sum_crb_m2')
    assert bounds == sorted(bounds)
    assert column(rows, 'objective') == bounds
    for row in rows:
        assert float(row['min_sinr_db']) >= float(row['sinr_db']) - 1e-9
        assert float(row['power_w']) == pytest.approx(0.1, rel=1e-9)
        assert float(row['bound']) <= float(row['objective'])
    # Each row is what solve makes of the scene with these thresholds.
    alone = changed(*((('users', i, 'min_sinr_db', 8.0)) for i in range(2)))
    out = tmp_path / 'alone.json'
    assert main(['solve', str(written(tmp_path, alone)), '--out', str(out)]) == 0
    result = strict_json(out)
    assert bounds[2] == pytest.approx(result['sum_crb_m2'], rel=2e-6)


def test_offsets_move_all_thresholds(sweep):
    rows = sweep(SCENE, '--offset-db=-3,0,2')
    assert column(rows, 'offset_db') == [-3.0, 0.0, 2.0]
    # u2 wants least, 5 dB.
    assert column(rows, 'min_sinr_db') == pytest.approx([2.0, 5.0, 7.0], abs=1e-3)


def test_up_to_the_largest_feasible_threshold(sweep):
    rows = sweep(ONE_USER, '--sinr-db', '5:max:5')
    distance = np.linalg.norm(
        np.array([[(i - 1.5) * 0.05, (j - 1.5) * 0.05, 0.0] for i in range(4) for j in range(4)])
        - [0, -0.2, 1.6], axis=1)
    largest = 10 * np.log10(0.1 * np.sum((0.01 / (4 * np.pi * distance)) ** 2) / 1e-8)
    assert column(rows, 'sinr_db') == pytest.approx([5.0, 10.0, 15.0, largest], abs=1e-9)
    assert [row['status'] for row in rows] == ['optimal', 'optimal', 'optimal', 'limit']
    assert float(rows[-1]['least_power_w']) == pytest.approx(0.1, rel=1e-6)
    assert rows[-1]['gap'] == ''


def test_designs_stand_below_each_other(sweep):
    rows = sweep(SCENE, '--sinr-db', '0,6', '--design', 'crb-min', '--design', 'users-first')
    assert [(row['design'], float(row['sinr_db'])) for row in rows] == [
        ('crb-min', 0.0), ('crb-min', 6.0), ('users-first', 0.0), ('users-first', 6.0)]
    bounds = column(rows, 'sum_crb_m2')
    assert bounds[0] < bounds[2] and bounds[1] < bounds[3]


def test_infeasible_points_are_rows_too(sweep):
    rows = sweep(ONE_USER, '--sinr-db', '0,60')
    assert [row['status'] for row in rows] == ['optimal', 'infeasible']
    assert rows[1]['sum_crb_m2'] == rows[1]['least_power_w'] == ''
    rows = sweep(ONE_USER, '--sinr-db', '60,70', code=3)
    assert [row['status'] for row in rows] == ['infeasible', 'infeasible']


def test_corners(sweep, tmp_path):
    path = tmp_path / 'corners.csv'
    rows = sweep(ONE_USER, '--sinr-db=-40:max:100', '--end-points', path)
    with open(path, newline='', encoding='utf-8') as stream:
        corners = {row['corner']: row for row in csv.DictReader(stream)}
    assert set(corners) == {'sensing-optimal', 'illumination-optimal', 'communication-optimal'}
    assert float(corners['sensing-optimal']['sum_crb_m2']) == pytest.approx(
        float(rows[0]['sum_crb_m2']), rel=1e-5)
    assert float(corners['communication-optimal']['sinr_db']) == pytest.approx(
        float(rows[-1]['sinr_db']), abs=1e-9)
    assert (float(corners['sensing-optimal']['line_search_sinr_db'])
            <= float(corners['sensing-optimal']['sinr_db']) + 1e-9)
    lit = {name: float(row['illumination_w']) for name, row in corners.items()}
    assert lit['illumination-optimal'] == max(lit.values())


@pytest.mark.parametrize('options, line', [
    (['--sinr-db', '30:0:2'], "--sinr-db: is '30:0:2'; must hold at least one value"),
    (['--sinr-db', '0:max:200'], None),
    (['--sinr-db', '95:max:1'], "--sinr-db: is '95:max:1'; must hold at least one value"),
    (['--sinr-db', '0:1'], "--sinr-db: is '0:1'; must have three parts, first:last:step"),
    (['--sinr-db', 'loud'], "--sinr-db: is 'loud'; must be first:last:step or a list"),
    (['--sinr-db', 'max'], "--sinr-db: is 'max'; must be first:last:step or a list"),
    (['--sinr-db', ''], "--sinr-db: is ''; must be first:last:step or a list"),
    (['--sinr-db', '0:9:0'], "--sinr-db: is '0:9:0'; must have finite limits and a positive"),
    (['--sinr-db', '0:inf:1'], "--sinr-db: is '0:inf:1'; must have finite limits"),
    (['--sinr-db', '0:9:1e-9'], "--sinr-db: is '0:9:1e-9'; must hold at most 10000 values"),
    (['--offset-db', '120'], "--offset-db: is '120'; must lie between -100 and 100 dB"),
    (['--sinr-db', '0', '--gap', '2'], "--gap: is '2'; must be a number between 0 and 1"),
    (['--sinr-db', '0', '--design', 'crb'], "--design: is 'crb'"),
    (['--sinr-db', '0', '--design', 'extended-crb-min'], 'scene.json: targets: '),
    (['--sinr-db', '0', '--end-points', 'nowhere/x.csv'], '--end-points: is '),
    (['--sinr-db', '0', '--end-points', 'c.csv'], 'scene has 1 targets and 2 users, must have'),
])
def test_bad_options(options, line, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code = main(['tradeoff', str(written(tmp_path, SCENE)), *options])
    captured = capsys.readouterr()
    if line is None:
        assert code == 0
        return
    assert code == 2 and captured.out == ''
    assert captured.err.count('\n') == 1 and line in captured.err


@pytest.mark.parametrize('role', ['targets', 'users'])
def test_a_scene_without_targets_or_users_is_refused(role, tmp_path, capsys):
    path = written(tmp_path, changed((role, [])))
    assert main(['tradeoff', str(path), '--sinr-db', '0']) == 2
    assert f'{role}: are empty, must hold at least one' in capsys.readouterr().err
