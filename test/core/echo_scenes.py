"""Sensing scenes in front of small arrays: white and coloured noise, one array or two."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nf_isac_ros.core.arrays import AntennaArray, Pose, planar_elements
from nf_isac_ros.core.cycle import DesignCycle, DesignSettings
from nf_isac_ros.core.localisation.echoes import (
    EchoSamples,
    Sensor,
    qpsk_symbols,
    simulate_echo_samples,
)
from nf_isac_ros.core.scene import PointTarget, Radio, Scene, SensingNoise

WAVELENGTH = 0.0107
POSITIONS = np.array([[0.3, 0.2, 1.2], [-0.4, -0.1, 1.5]])
REFLECTIONS = np.array([1.0, 0.6 + 0.8j])
SYMBOLS = 200


@dataclass(frozen=True)
class EchoScene:
    """Arrays, targets, and beams that were designed for them."""

    sensor: Sensor
    positions: np.ndarray
    reflections: np.ndarray
    beams: np.ndarray
    bounds: np.ndarray   # of the design, shape (K, 3, 3)

    @property
    def names(self) -> list[str]:
        return [f't{k}' for k in range(len(self.positions))]

    def echoes(self, rng: np.random.Generator, scale: float = 1.0) -> EchoSamples:
        """Echoes of new symbols and noise, with all reflections times a factor."""
        return simulate_echo_samples(
            self.sensor, self.positions, scale * self.reflections, self.beams,
            qpsk_symbols(rng, self.beams.shape[1], SYMBOLS), rng)


def coloured(n: int, power: float) -> SensingNoise:
    rng = np.random.default_rng(5)
    root = rng.normal(size=(n, 2 * n)).view(complex)
    return SensingNoise(covariance=power * (root @ root.conj().T / (2 * n) + 0.3 * np.eye(n)))


def echo_scene(n_targets: int, *, monostatic: bool = True, noise: str = 'white', side: int = 12,
               power: float = 1e-11, positions: np.ndarray = POSITIONS) -> EchoScene:
    transmit = AntennaArray(planar_elements(side, side, WAVELENGTH / 2))
    receive = transmit if monostatic else AntennaArray(
        planar_elements(side, side - 2, WAVELENGTH / 2),
        Pose(np.array([0.3, 0.1, 0.05]), (0.0, 0.05, 0.0, np.sqrt(1 - 0.05 ** 2))))
    n = len(receive)
    given = {'white': lambda: SensingNoise(power=power),
             'diagonal': lambda: SensingNoise(diagonal=power * np.linspace(0.5, 2.0, n)),
             'full': lambda: coloured(n, power)}[noise]()
    positions, reflections = positions[:n_targets], REFLECTIONS[:n_targets]
    scene = Scene(
        transmit, receive, Radio(WAVELENGTH, 1.0, SYMBOLS, 1e-8, given),
        tuple(PointTarget(f't{k}', place, complex(b))
              for k, (place, b) in enumerate(zip(positions, reflections, strict=True))))
    solution = DesignCycle(DesignSettings()).step(scene)
    beams = solution.weights
    return EchoScene(
        Sensor(transmit, receive, WAVELENGTH, given), positions, reflections,
        beams[:, np.abs(beams).sum(axis=0) > 0], np.array([t.crb for t in solution.targets]))
