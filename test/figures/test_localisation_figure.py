import csv
from dataclasses import replace

import numpy as np

from nf_isac_ros.figures import loc1_localisation
from nf_isac_ros.figures.command import main


def test_errors_are_those_of_the_bound_and_below_the_threshold_nothing_is_seen():
    p = replace(loc1_localisation.Parameters(), side=8, symbols=50, trials=80, track_m=0.02)
    loud, quiet = (loc1_localisation.at_point(p, noise, 1.0, 0) for noise in (1e-11, 1e-3))
    assert loud['missed'] == 0.0
    assert 0.85 < loud['rmse_m'] / loud['root_crb_m'] < 1.15
    assert quiet['missed'] > 0.95


def test_panels_have_tables_and_pictures(tmp_path):
    options = [word for pair in ('side=4', 'symbols=20', 'trials=5', 'noises=2', 'distances=2')
               for word in ('--set', pair)]
    assert main(['loc1', '--out', str(tmp_path), '--workers', '0', *options]) == 0
    for panel in ('loc1a', 'loc1b'):
        with open(tmp_path / f'{panel}.csv', newline='', encoding='utf-8') as stream:
            rows = list(csv.DictReader(stream))
        assert tuple(rows[0]) == loc1_localisation.COLUMNS
        assert np.isfinite([float(row['root_crb_m']) for row in rows]).all()
        assert (tmp_path / f'{panel}.png').read_bytes().startswith(b'\x89PNG')
