"""What is to be designed for: arrays, radio, targets and users at one instant."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import pi
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from nf_isac_ros.core.arrays import AntennaArray, Pose
from nf_isac_ros.core.exceptions import SceneError
from nf_isac_ros.core.extended.contour import Contour
from nf_isac_ros.core.extended.sections import Lengths, Split

Vector = NDArray[np.float64]
ComplexVector = NDArray[np.complex128]

Model = Literal['far-field', 'near-field']
Motion = Literal['plane', 'space']
Shape = Literal['known', 'unknown']
Geometry = Literal['far', 'exact']
Coupling = Literal['real', 'complex']

# How far a covariance may be from symmetric and positive semidefinite, against its largest entry.
ROUNDING = 1e-9
# More sections than this only cost time: the polygon behind them has 1440 edges.
MAX_SECTIONS = 360


def _finite_point(value: object, key: str, body: str) -> Vector:
    point = np.array(value, dtype=float)
    if point.shape != (3,) or not np.isfinite(point).all():
        raise SceneError(
            f'{key} of {body!r} is {np.array2string(point, separator=", ")}, '
            'must be three finite numbers [m]', 'not-finite', body)
    point.setflags(write=False)
    return point


@dataclass(frozen=True)
class PointTarget:
    """
    A point scatterer.

    Attributes
    ----------
    id : str
        Unique among the targets.
    position : ndarray, shape (3,)
        In the scene frame [m].
    reflection : complex
        Complex reflection coefficient b; dimensionless.
    weight : float
        Weight of the target's bound in the objective.
    coordinate_weights : ndarray, shape (3,)
        Further weights of the bounds on x, y and z of the scene frame.
    position_covariance : ndarray, shape (3, 3)
        How well the position is known beforehand, as from a track [m^2]; zero: exactly. Only
        designs for a region look at it.

    """

    id: str
    position: Vector
    reflection: complex = 1.0 + 0.0j
    weight: float = 1.0
    coordinate_weights: Vector = field(default_factory=lambda: np.ones(3))
    position_covariance: Vector = field(default_factory=lambda: np.zeros((3, 3)))

    def __post_init__(self) -> None:
        """Check the values."""
        object.__setattr__(self, 'position', _finite_point(self.position, 'position', self.id))
        if not np.isfinite(self.reflection):
            raise SceneError(f'reflection of {self.id!r} is {self.reflection}, must be finite',
                             'not-finite', self.id)
        if not (np.isfinite(self.weight) and self.weight > 0):
            raise SceneError(f'weight of {self.id!r} is {self.weight}, must be positive',
                             'bad-weight', self.id)
        weights = np.array(self.coordinate_weights, dtype=float)
        if weights.shape != (3,) or not (np.isfinite(weights) & (weights > 0)).all():
            raise SceneError(f'coordinate weights of {self.id!r} are {weights}, must be three '
                             'positive numbers', 'bad-weight', self.id)
        weights.setflags(write=False)
        object.__setattr__(self, 'coordinate_weights', weights)
        covariance = np.array(self.position_covariance, dtype=float)
        scale = np.abs(covariance).max(initial=0.0)
        if (covariance.shape != (3, 3) or not np.isfinite(covariance).all()
                or np.abs(covariance - covariance.T).max() > ROUNDING * scale
                or np.linalg.eigvalsh(covariance)[0] < -ROUNDING * scale):
            raise SceneError(
                f'position covariance of {self.id!r} is {covariance.tolist()}, must be 3 x 3, '
                'symmetric and positive semidefinite [m^2]', 'bad-covariance', self.id)
        covariance.setflags(write=False)
        object.__setattr__(self, 'position_covariance', covariance)

    @property
    def weights(self) -> Vector:
        """Weights of the bounds on x, y and z in the objective, shape (3,)."""
        return self.weight * self.coordinate_weights


def _one_of(value: object, kind: object, key: str, body: str) -> None:
    allowed = get_args(kind)
    if value not in allowed:
        raise SceneError(f'{key} of {body!r} is {value!r}, must be one of {", ".join(allowed)}',
                         'bad-option', body)


@dataclass(frozen=True)
class ExtendedTarget:
    """
    A body that is more than a point: the visible sections of its contour scatter.

    Attributes
    ----------
    id : str
        Unique among the targets.
    contour : Contour
        In the x-y plane of the body; x is the heading.
    pose : Pose
        Of the body's frame in the scene frame.
    path_power : float or None
        beta^2: power of an echo from one metre of contour at the range of the centre, between one
        transmit and one receive element, over the transmitted power; None: from the radar
        equation with a cross section of 1 m^2 for each metre.
    model : str
        'far-field': plane waves, by directions; 'near-field': spherical waves.
    sections : int
        K.
    split : str
        Sections of equal width in the contour's 'parameter', or of equal 'arc' length.
    lengths : str
        'metres', or 'normalised' to a sum of one.
    motion : str
        What is unknown: the pose in the 'plane' of the contour, or the centre in 'space' and the
        orientation about the body's z axis (near-field model only).
    weight : float
        Weight of the target's bound in the objective.
    shape : str
        Whether the coefficients of the contour are 'known', or 'unknown' parameters beside the
        pose; that takes about as many sections as there are harmonics.

    """

    id: str
    contour: Contour
    pose: Pose
    path_power: float | None = None
    model: Model = 'far-field'
    sections: int = 8
    split: Split = 'parameter'
    lengths: Lengths = 'metres'
    motion: Motion = 'plane'
    weight: float = 1.0
    shape: Shape = 'known'

    def __post_init__(self) -> None:
        """Check the values."""
        for key, kind in (('model', Model), ('split', Split), ('lengths', Lengths),
                          ('motion', Motion), ('shape', Shape)):
            _one_of(getattr(self, key), kind, key, self.id)
        if self.motion == 'space' and self.model != 'near-field':
            raise SceneError(
                f'motion of {self.id!r} is {self.motion!r} with the model {self.model!r}, must be '
                "'plane': directions in one plane tell nothing about its third axis",
                'bad-option', self.id)
        if not 1 <= self.sections <= MAX_SECTIONS:
            raise SceneError(f'sections of {self.id!r} is {self.sections}, must be from 1 to '
                             f'{MAX_SECTIONS}', 'bad-sections', self.id)
        if self.path_power is not None and not (
                np.isfinite(self.path_power) and self.path_power > 0):
            raise SceneError(f'path_power of {self.id!r} is {self.path_power}, must be positive',
                             'zero-reflection', self.id)
        if not (np.isfinite(self.weight) and self.weight > 0):
            raise SceneError(f'weight of {self.id!r} is {self.weight}, must be positive',
                             'bad-weight', self.id)

    @property
    def position(self) -> Vector:
        """Centre in the scene frame, shape (3,) [m]."""
        return self.pose.position

    def path_power_at(self, distance: float, wavelength: float) -> float:
        """beta^2 with the centre at a range [m]."""
        if self.path_power is not None:
            return self.path_power
        return wavelength ** 2 / ((4 * pi) ** 3 * distance ** 4)


@dataclass(frozen=True)
class BoundWeights:
    """Weights of the three bounds of an extended target in a design's objective."""

    range: float = 0.0
    direction: float = 1.0
    orientation: float = 0.0

    def __post_init__(self) -> None:
        """Check the values."""
        values = (self.range, self.direction, self.orientation)
        if not (np.isfinite(values).all() and min(values) >= 0 and max(values) > 0):
            raise SceneError(
                f'weights of range, direction and orientation are {values}, must not be negative, '
                'and one must be positive', 'bad-weight')


@dataclass(frozen=True)
class ExtendedOptions:
    """
    How extended targets are designed for.

    Attributes
    ----------
    coverage_ratio : float or None
        Largest over smallest illumination of the sections; None: not limited.
    geometry : str
        Of the far-field model. 'far': sections at the range and in the direction of the centre as
        far as derivatives go, as in the paper; 'exact'.
    coupling : str
        Of the far-field model: the common path gain is an unknown 'real' amplitude or 'complex'.
    sensing_stream : bool
        Beams that carry no data may be added.
    objective : str or BoundWeights
        'direction': bound of the direction [rad^2]; 'centre': trace of the bound of the centre's
        position [m^2]; or a weighted sum of the three bounds.

    """

    coverage_ratio: float | None = 2.0
    geometry: Geometry = 'exact'
    coupling: Coupling = 'real'
    sensing_stream: bool = True
    objective: Literal['direction', 'centre'] | BoundWeights = 'direction'

    def __post_init__(self) -> None:
        """Check the values."""
        _one_of(self.geometry, Geometry, 'geometry', 'options')
        _one_of(self.coupling, Coupling, 'coupling', 'options')
        if not isinstance(self.objective, BoundWeights):
            _one_of(self.objective, Literal['direction', 'centre'], 'objective', 'options')
        ratio = self.coverage_ratio
        if ratio is not None and not (np.isfinite(ratio) and ratio >= 1):
            raise SceneError(f'coverage_ratio is {ratio}, must be at least 1', 'bad-option')


@dataclass(frozen=True)
class ScatteredPath:
    """
    A path from the array to a user by way of a target, Eq. (51) of Hua, Xu, Zhang.

    Attributes
    ----------
    target : str
        Id of the target.
    coefficient : complex
        Dimensionless factor eta on the target's conjugate transmit response.

    """

    target: str
    coefficient: complex


@dataclass(frozen=True)
class User:
    """
    A single-antenna receiver with a guaranteed SINR.

    Attributes
    ----------
    id : str
        Unique among the users.
    min_sinr_db : float
        Required SINR [dB].
    position : ndarray, shape (3,), or None
        In the scene frame [m]; None if the user is known by its channel.
    channel : ndarray, shape (N,), or None
        Channel h of a user without a position; it receives h^H x.
    noise_power : float or None
        Receiver noise [W]; None: that of the radio.
    scattered : tuple of ScatteredPath
        Further paths, added to the line of sight.

    """

    id: str
    min_sinr_db: float
    position: Vector | None = None
    channel: ComplexVector | None = None
    noise_power: float | None = None
    scattered: tuple[ScatteredPath, ...] = ()

    def __post_init__(self) -> None:
        """Check the values."""
        if (self.position is None) == (self.channel is None):
            raise SceneError(
                f'user {self.id!r} must have either a position or a channel',
                'no-channel', self.id)
        if self.position is not None:
            object.__setattr__(
                self, 'position', _finite_point(self.position, 'position', self.id))
        if self.channel is not None:
            channel = np.array(self.channel, dtype=complex)
            if channel.ndim != 1 or not np.isfinite(channel).all():
                raise SceneError(f'channel of {self.id!r} must be a finite vector',
                                 'not-finite', self.id)
            if not channel.any():
                raise SceneError(f'channel of {self.id!r} is zero', 'no-channel', self.id)
            channel.setflags(write=False)
            object.__setattr__(self, 'channel', channel)
        if not np.isfinite(self.min_sinr_db):
            raise SceneError(f'min_sinr_db of {self.id!r} is {self.min_sinr_db}, must be finite',
                             'not-finite', self.id)
        if self.noise_power is not None and not (
                np.isfinite(self.noise_power) and self.noise_power > 0):
            raise SceneError(
                f'noise power of {self.id!r} is {self.noise_power} W, must be positive',
                'bad-noise', self.id)


@dataclass(frozen=True)
class SensingNoise:
    """
    Covariance Q of noise and interference at the receive array.

    Exactly one of the three is given; the first is the power of white noise.

    Attributes
    ----------
    power : float or None
        Per element [W].
    diagonal : ndarray, shape (M,), or None
        Per element [W].
    covariance : ndarray, shape (M, M), or None
        Hermitian, positive definite [W].

    """

    power: float | None = None
    diagonal: Vector | None = None
    covariance: NDArray[np.complex128] | None = None

    def __post_init__(self) -> None:
        """Check that exactly one form is given and that it is positive definite."""
        given = [x is not None for x in (self.power, self.diagonal, self.covariance)]
        if sum(given) != 1:
            raise SceneError('sensing noise: give one of power, diagonal, covariance', 'bad-noise')
        if self.power is not None and not (np.isfinite(self.power) and self.power > 0):
            raise SceneError(f'sensing noise power is {self.power} W, must be positive',
                             'bad-noise')
        if self.diagonal is not None:
            diagonal = np.array(self.diagonal, dtype=float)
            if diagonal.ndim != 1 or not (np.isfinite(diagonal) & (diagonal > 0)).all():
                raise SceneError('sensing noise diagonal: every entry must be positive [W]',
                                 'bad-noise')
            object.__setattr__(self, 'diagonal', diagonal)
        if self.covariance is not None:
            covariance = np.array(self.covariance, dtype=complex)
            scale = np.abs(covariance).max() if covariance.size else 0.0
            if (covariance.ndim != 2 or covariance.shape[0] != covariance.shape[1]
                    or not np.isfinite(covariance).all()
                    or np.abs(covariance - covariance.conj().T).max() > 1e-9 * scale):
                raise SceneError('sensing noise covariance must be square, finite and Hermitian',
                                 'bad-noise')
            try:
                np.linalg.cholesky(covariance)
            except np.linalg.LinAlgError:
                raise SceneError('sensing noise covariance must be positive definite',
                                 'bad-noise') from None
            object.__setattr__(self, 'covariance', covariance)

    def check_size(self, n_elements: int) -> None:
        """Raise SceneError unless the noise fits a receive array of so many elements."""
        given = self.diagonal if self.diagonal is not None else self.covariance
        if given is not None and len(given) != n_elements:
            raise SceneError(
                f'sensing noise is given for {len(given)} elements, the receive array has '
                f'{n_elements}', 'bad-noise')


@dataclass(frozen=True)
class Radio:
    """
    What the radio can do.

    Attributes
    ----------
    wavelength : float
        [m].
    power : float
        Power budget P_T [W].
    symbols : int
        Snapshot count L: symbols per sensing period.
    user_noise : float
        Noise power at each user that names none of its own [W].
    sensing_noise : SensingNoise
        Noise covariance at the receive array.
    bandwidth : float or None
        [Hz]; used by range bounds of extended targets.

    """

    wavelength: float
    power: float
    symbols: int
    user_noise: float
    sensing_noise: SensingNoise
    bandwidth: float | None = None

    def __post_init__(self) -> None:
        """Check the values."""
        for key in ('wavelength', 'power', 'symbols', 'user_noise'):
            value = getattr(self, key)
            if not (np.isfinite(value) and value > 0):
                raise SceneError(f'radio {key} is {value}, must be positive', 'bad-radio')


@dataclass(frozen=True)
class Scene:
    """
    One instant to be designed for.

    Attributes
    ----------
    transmit_array, receive_array : AntennaArray
        The same object for a monostatic radio.
    radio : Radio
    targets : tuple of PointTarget
        Without any target, of either kind, the users' SINR is maximised.
    users : tuple of User
        May be empty: then all power goes to sensing.
    stamp : float
        Time that the scene is for [s], in the caller's clock; 0 where time plays no role.
    extended : tuple of ExtendedTarget
        Their ids differ from those of the point targets too.
    options : ExtendedOptions
        For the extended targets.

    """

    transmit_array: AntennaArray
    receive_array: AntennaArray
    radio: Radio
    targets: tuple[PointTarget, ...] = ()
    users: tuple[User, ...] = ()
    stamp: float = field(default=0.0, compare=False)
    extended: tuple[ExtendedTarget, ...] = ()
    options: ExtendedOptions = ExtendedOptions()

    def __post_init__(self) -> None:
        """Check ids, sizes and references."""
        for role, ids in (
                ('target', [target.id for target in self.targets]
                 + [target.id for target in self.extended]),
                ('user', [user.id for user in self.users])):
            for body_id in ids:
                if ids.count(body_id) > 1:
                    raise SceneError(f'{role} id {body_id!r} is there {ids.count(body_id)} times, '
                                     'must be unique', 'duplicate-id', body_id)
        self.radio.sensing_noise.check_size(len(self.receive_array))
        target_ids = {target.id for target in self.targets}
        for user in self.users:
            if user.channel is not None and len(user.channel) != len(self.transmit_array):
                raise SceneError(
                    f'channel of {user.id!r} has {len(user.channel)} entries, the transmit array '
                    f'has {len(self.transmit_array)} elements', 'bad-channel', user.id)
            for path in user.scattered:
                if path.target not in target_ids:
                    raise SceneError(
                        f'scattered path of {user.id!r} names target {path.target!r}, must be '
                        f'one of the point targets {sorted(target_ids)}', 'unknown-target',
                        user.id)

    @property
    def senses(self) -> bool:
        """Tell whether there is a target, of either kind."""
        return bool(self.targets or self.extended)

    @property
    def monostatic(self) -> bool:
        """Tell whether transmit and receive elements coincide."""
        return self.transmit_array.same_elements(self.receive_array)
