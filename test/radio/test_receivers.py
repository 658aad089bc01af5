"""Measured SINR and EVM against what they should be, by Monte Carlo."""

import numpy as np
import pytest

from nf_isac_ros.radio.receivers import measure
from nf_isac_ros.radio.waveform import SymbolSource


def reception(rng, sinr, n, symbols):
    noise = np.sqrt(0.5 / sinr) * rng.standard_normal((n, 2)).view(complex)[:, 0]
    return measure((0.3 - 2j) * (symbols + noise), symbols)


@pytest.mark.parametrize('sinr_db', [-10, 0, 10, 25])
def test_estimate_has_no_bias_and_its_interval_covers(sinr_db):
    rng = np.random.default_rng(10)
    sinr, n = 10 ** (sinr_db / 10), 300
    symbols = SymbolSource('16qam', 1).block(['user a'], 0, n)[0].astype(complex)
    # The true SINR is that of these symbols, not of the constellation.
    true = sinr * np.mean(np.abs(symbols) ** 2)
    found = [reception(rng, sinr, n, symbols) for _ in range(3000)]
    estimates = np.array([r.sinr for r in found])
    error = estimates.std() / np.sqrt(len(found))
    assert estimates.mean() == pytest.approx(true, abs=4 * error)
    covered = np.mean([r.sinr_low <= true <= r.sinr_high for r in found])
    assert covered == pytest.approx(0.95, abs=0.02)


def test_error_falls_with_the_root_of_the_number_of_symbols():
    rng = np.random.default_rng(11)
    spread = []
    for n in (100, 400, 1600):
        symbols = SymbolSource('qpsk', 1).block(['user a'], 0, n)[0].astype(complex)
        spread.append(np.std([reception(rng, 10.0, n, symbols).sinr for _ in range(800)]))
    assert spread[0] / spread[1] == pytest.approx(2, rel=0.15)
    assert spread[1] / spread[2] == pytest.approx(2, rel=0.15)
    # Relative standard deviation sqrt((1 + 2 / SINR) / L).
    assert spread[2] / 10 == pytest.approx(np.sqrt(1.2 / 1600), rel=0.1)


@pytest.mark.parametrize('sinr_db', [5, 20, 40])
def test_evm_is_the_inverse_root_of_the_sinr(sinr_db):
    rng = np.random.default_rng(12)
    symbols = SymbolSource('64qam', 1).block(['user a'], 0, 5000)[0].astype(complex)
    found = reception(rng, 10 ** (sinr_db / 10), 5000, symbols)
    assert 20 * np.log10(found.evm) == pytest.approx(-sinr_db, abs=0.3)


def test_perfect_and_hopeless_reception():
    symbols = SymbolSource('qpsk', 1).block(['user a'], 0, 64)[0]
    perfect = measure(symbols, symbols)
    assert perfect.sinr > 1e12 or perfect.sinr == np.inf
    assert perfect.evm < 1e-6
    rng = np.random.default_rng(13)
    noise = rng.standard_normal((64, 2)).view(complex)[:, 0]
    hopeless = measure(noise, symbols)
    assert hopeless.sinr < 0.2 and hopeless.sinr_low == 0.0
    assert measure(np.zeros(64), symbols).evm == np.inf
