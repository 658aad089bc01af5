"""Saleh-Valenzuela channels: mean power, line of sight, what is refused."""

from extended_scenes import WAVELENGTH
import numpy as np
import pytest

from nf_isac_ros.core.arrays import AntennaArray, linear_elements
from nf_isac_ros.core.exceptions import SceneError
from nf_isac_ros.core.extended.channels import saleh_valenzuela

ARRAY = AntennaArray(linear_elements(16, WAVELENGTH / 2))


def draw(rng, share, paths=4, direction=0.5):
    return saleh_valenzuela(ARRAY, direction, WAVELENGTH, 100.0, share, paths, rng)


@pytest.mark.parametrize('share, paths', [(0.8, 4), (0.0, 3), (1.0, 1), (0.2, 2)])
def test_mean_power_is_the_path_loss(share, paths):
    rng = np.random.default_rng(0)
    power = np.mean([np.abs(draw(rng, share, paths)) ** 2 for _ in range(4000)])
    assert power == pytest.approx(1e-10, rel=0.06)


def test_a_line_of_sight_alone_is_the_response_of_the_field():
    """A user receives h^H x; the physical field in direction phi is sum x_n exp(j pi x_n sin)."""
    channel = draw(np.random.default_rng(1), 1.0, 1)
    field = np.exp(1j * np.pi * (np.arange(16) - 7.5) * np.sin(0.5))
    assert np.abs(field @ channel) == pytest.approx(16e-5, rel=1e-9)


@pytest.mark.parametrize('share', [0.0, 0.3, 0.8])
def test_share_of_the_sight_is_what_stays_in_its_direction(share):
    rng = np.random.default_rng(2)
    field = np.exp(1j * np.pi * (np.arange(16) - 7.5) * np.sin(0.5))
    got = np.mean([np.abs(field @ draw(rng, share)) ** 2 for _ in range(4000)]) / 1e-10
    # Scattered paths give 16 on the mean, whatever their directions (uniform sines).
    assert got == pytest.approx(256 * share + 16 * (1 - share), rel=0.12)


def test_seed_decides():
    np.testing.assert_array_equal(draw(np.random.default_rng(5), 0.8),
                                  draw(np.random.default_rng(5), 0.8))


@pytest.mark.parametrize('share, paths', [(-0.1, 4), (1.1, 4), (0.8, 1), (0.0, 0), (np.nan, 4)])
def test_impossible_channels_are_refused(share, paths):
    with pytest.raises(SceneError) as caught:
        draw(np.random.default_rng(0), share, paths)
    assert caught.value.reason == 'bad-channel'
