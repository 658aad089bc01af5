"""Calibration files: both formats, and everything that can be wrong with them."""

import numpy as np
import pytest

from nf_isac_ros.radio.calibration import Calibration, CalibrationError, load_calibration

GAINS = np.array([1, 1j, -0.5, 0, 2 - 1j], dtype=np.complex64)


def write_csv(path, gains=GAINS, head='# epoch: 7\n# layout_hash: abc\nelement,re,im\n'):
    rows = [f'{n},{g.real:.9g},{g.imag:.9g}' for n, g in enumerate(gains)]
    path.write_text(head + '\n'.join(reversed(rows)) + '\n')
    return path


def write_npz(path, **changes):
    np.savez(path, **{'gains': GAINS, 'epoch': 7, 'layout_hash': 'abc', **changes})
    return path


@pytest.mark.parametrize('write', [write_csv, write_npz], ids=['csv', 'npz'])
def test_round_trip(tmp_path, write):
    path = write(tmp_path / ('cal.csv' if write is write_csv else 'cal.npz'))
    read = load_calibration(path, 5, 'abc')
    assert read.gains == pytest.approx(GAINS)
    assert read.epoch == 7
    assert read.working.tolist() == [True, True, True, False, True]
    assert read.inverse[[0, 1, 3]] == pytest.approx([1, -1j, 0])


def test_decibels_and_degrees(tmp_path):
    path = tmp_path / 'cal.csv'
    path.write_text('element,gain_db,phase_deg\n# epoch: 1\n0,-20,90\n1,0,180\n')
    assert load_calibration(path, 2).gains == pytest.approx([0.1j, -1], abs=1e-7)


@pytest.mark.parametrize(('text', 'message'), [
    ('', r'has no epoch, must have one line "# epoch: NUMBER"'),
    ('# epoch: x\nelement,re,im\n0,1,0\n', r"has \['x'\] epoch"),
    ('# epoch: 0\nelement,re,im\n0,1,0\n', 'epoch is 0, must be at least 1'),
    ('# epoch: 99999999999999999999\nelement,re,im\n0,1,0\n', 'epoch is 9+, must be'),
    ('# epoch: 1\n', "has the header '', must be 'element,re,im' or"),
    ('# epoch: 1\nre,im\n1,0\n', "has the header 're,im'"),
    ('# epoch: 1\nelement,re,im\n0,1\n', "has the line '0,1'"),
    ('# epoch: 1\nelement,re,im\n0,one,0\n', "has the line '0,one,0'"),
    ('# epoch: 1\nelement,re,im\n1,1,0\n', 'has element 1 twice or out of place'),
    ('# epoch: 1\nelement,re,im\n0,nan,0\n', 'gain of element 0 is .*must be finite'),
    ('# epoch: 1\nelement,re,im\n0,0,0\n', 'every gain is 0'),
    ('# epoch: 1\nelement,re,im\n0,1,0\n1,1,0\n', 'has 2 elements, must have 1'),
    ('# epoch: 1\n# layout_hash: zzz\nelement,re,im\n0,1,0\n', 'layout_hash is zzz, must be abc'),
], ids=range(13))
def test_wrong_csv_is_named(tmp_path, text, message):
    path = tmp_path / 'cal.csv'
    path.write_text(text)
    with pytest.raises(CalibrationError, match=message) as error:
        load_calibration(path, 1, 'abc')
    assert str(path) in str(error.value)


@pytest.mark.parametrize(('changes', 'message'), [
    ({'epoch': 1.5}, 'epoch is 1.5, must be a whole number'),
    ({'epoch': -3}, 'epoch is -3'),
    ({'gains': np.ones((5, 2))}, r'of the shape \(5, 2\)'),
    ({'gains': np.array(['a'] * 5)}, 'gains are <U1'),
    ({'gains': np.array([1, 1, 1, 1, 1e-4])}, 'gain of element 4 is -80.0 dB from the median'),
    ({'gains': np.array([{}] * 5)}, 'is no NPZ file of plain arrays'),
])
def test_wrong_npz_is_named(tmp_path, changes, message):
    path = write_npz(tmp_path / 'cal.npz', **changes)
    with pytest.raises(CalibrationError, match=message):
        load_calibration(path, 5, 'abc')


def test_missing_and_foreign_files_are_named(tmp_path):
    with pytest.raises(CalibrationError, match='No such file'):
        load_calibration(tmp_path / 'none.csv', 5)
    for name, content in (('a.npz', b'no zip'), ('a.csv', b'\xff\xfe\x00')):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(CalibrationError, match='is no'):
            load_calibration(tmp_path / name, 5)
    np.savez(tmp_path / 'b.npz', gains=GAINS)
    with pytest.raises(CalibrationError, match='must have gains and epoch'):
        load_calibration(tmp_path / 'b.npz', 5)


def test_constructor_checks_too():
    with pytest.raises(CalibrationError, match='shape'):
        Calibration(np.ones((2, 2)))
