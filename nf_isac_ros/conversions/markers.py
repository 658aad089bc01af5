"""What rviz2 shows of arrays, bodies, beams and bounds: Marker and PointCloud2 messages."""

from __future__ import annotations

import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
import math
from unicodedata import combining, normalize

from builtin_interfaces.msg import Duration, Time
from geometry_msgs.msg import Point, Quaternion, Vector3
import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import PointCloud2, PointField
from std_msgs.msg import ColorRGBA, Header
from transforms3d.quaternions import mat2quat
from visualization_msgs.msg import Marker

from nf_isac_msgs.msg import (
    CrbArray,
    CrbEntry,
    DesignStatus,
    RadioStatus,
    TrackStatus,
    UserStatus,
)
from nf_isac_ros.core.arrays import AntennaArray
from nf_isac_ros.core.extended.outline import Outline

Vector = NDArray[np.float64]

# Colours that colour-blind people can tell apart (Okabe and Ito).
TARGET_COLOUR = (0.835, 0.369, 0.0)
USER_COLOUR = (0.0, 0.447, 0.698)
BOUND_COLOUR = (0.8, 0.475, 0.655)
MET_COLOUR = (0.0, 0.62, 0.451)
MISSED_COLOUR = (0.902, 0.624, 0.0)
ARRAY_COLOUR = (0.45, 0.45, 0.45)
TRUTH_COLOUR = (0.75, 0.75, 0.75)
TEXT_COLOUR = (0.95, 0.95, 0.95)
# Neighbouring sections of an outline, so that they can be told apart.
SECTION_COLOURS = ((0.941, 0.894, 0.259), (0.902, 0.624, 0.0))

# An array is drawn with at most so many of its elements: a marker of 16384 points takes longer
# to send than the rest of the scene together.
MOST_ELEMENTS = 1024

# Diameter of a target, of that of a user.
TARGET_SHARE = 0.5

# A design misses a requirement if it is short of it by more than this [dB].
SINR_TOLERANCE = 0.01

# Diameter of the smallest ellipsoid that is drawn [m]; rviz2 refuses a scale of zero.
LEAST_DIAMETER = 1e-3


@dataclass(frozen=True)
class Style:
    """
    How markers look.

    Attributes
    ----------
    frame : str
        World frame, in which all positions are given.
    body_size : float
        Diameter of a body without a contour [m].
    text_height : float
        Height of capital letters [m].
    bound_scale : float
        Factor by which the ellipsoids of the bounds are enlarged.
    lifetime : float
        After which a marker vanishes unless it is sent again [s].

    """

    frame: str
    body_size: float = 0.3
    text_height: float = 0.25
    bound_scale: float = 100.0
    lifetime: float = 1.0


@dataclass(frozen=True)
class BodyView:
    """
    A target or a user to be drawn.

    Attributes
    ----------
    id : str
    position : ndarray, shape (3,)
        In the world frame [m].
    label : str
        Text above it.
    faded : bool
        The pose is old.

    """

    id: str
    position: Vector
    label: str
    faded: bool = False


@dataclass(frozen=True)
class BoundView:
    """
    The Cramér-Rao bound of one target, to be drawn.

    Attributes
    ----------
    id : str
    position : ndarray, shape (3,)
        In the world frame [m].
    covariance : ndarray, shape (3, 3)
        [m^2]; infinite where the position cannot be estimated.

    """

    id: str
    position: Vector
    covariance: Vector

    @property
    def drawable(self) -> bool:
        """Tell whether there is an ellipsoid at all."""
        return bool(np.isfinite(self.covariance).all())


class MarkerIds:
    """
    Gives each marker a number that stays, and tells which markers are gone.

    rviz2 knows a marker by namespace and number. A body keeps its number for as long as the node
    runs, so that nothing flickers when bodies come and go.
    """

    def __init__(self) -> None:
        self._numbers: dict[str, dict[str, int]] = {}
        self._shown: dict[tuple[str, int], Header] = {}

    def number(self, namespace: str, name: str) -> int:
        """Return the number of a thing within a namespace."""
        numbers = self._numbers.setdefault(namespace, {})
        return numbers.setdefault(name, len(numbers))

    def with_deletions(self, markers: Sequence[Marker]) -> list[Marker]:
        """Return the markers, and a deletion for each that was there the last time only."""
        present = {(marker.ns, marker.id): marker.header for marker in markers}
        gone = [
            Marker(header=header, ns=namespace, id=number, action=Marker.DELETE)
            for (namespace, number), header in self._shown.items()
            if (namespace, number) not in present]
        self._shown = present
        return [*markers, *gone]


def aperture_outline(array_: AntennaArray, reach: float = 0.0) -> tuple[Vector, Vector]:
    """
    What there is to draw of an array besides its elements.

    Parameters
    ----------
    array_ : AntennaArray
    reach : float
        Least length of the boresight [m].

    Returns
    -------
    corners : ndarray, shape (5, 3)
        Of the rectangle around the elements, closed, in the world frame [m].
    boresight : ndarray, shape (2, 3)
        From its centre to twice the aperture ahead or more, in the world frame [m].

    """
    low, high = array_.elements.min(axis=0), array_.elements.max(axis=0)
    depth = float(array_.elements[:, 2].mean())
    corners = np.array([
        [low[0], low[1], depth], [high[0], low[1], depth], [high[0], high[1], depth],
        [low[0], high[1], depth], [low[0], low[1], depth]])
    centre = np.array([(low[0] + high[0]) / 2, (low[1] + high[1]) / 2, depth])
    boresight = centre + np.array([[0, 0, 0], [0, 0, max(2.0 * _size(array_), reach)]])
    return array_.pose.to_outer(corners), array_.pose.to_outer(boresight)


def _size(array_: AntennaArray) -> float:
    return max(array_.aperture, 1e-3)


def array_markers(array_: AntennaArray, namespace: str, style: Style, stamp: Time) -> list[Marker]:
    """Draw an array: outline of the aperture, elements, boresight and name; four markers."""
    corners, boresight = aperture_outline(array_, 4.0 * style.text_height)
    step = -(-len(array_) // MOST_ELEMENTS)
    size = _size(array_)

    outline = _marker(f'{namespace}/outline', 0, Marker.LINE_STRIP, style, stamp, ARRAY_COLOUR)
    outline.scale.x = 0.01 * size + 0.002
    outline.points = _points(corners)
    elements = _marker(f'{namespace}/elements', 0, Marker.POINTS, style, stamp, ARRAY_COLOUR, 0.8)
    elements.scale.x = elements.scale.y = 0.005 * size + 0.001
    elements.points = _points(array_.positions[::step])
    arrow = _marker(f'{namespace}/boresight', 0, Marker.ARROW, style, stamp, ARRAY_COLOUR)
    length = float(np.linalg.norm(boresight[1] - boresight[0]))
    arrow.scale = Vector3(x=0.02 * length, y=0.07 * length, z=0.12 * length)
    arrow.points = _points(boresight)
    name = _text(f'{namespace}/name', 0, array_.name,
                 boresight[0] - [0, 0, size + style.text_height], style, stamp)
    return [outline, elements, arrow, name]


def body_markers(bodies: Iterable[BodyView], role: str, ids: MarkerIds, style: Style,
                 stamp: Time) -> list[Marker]:
    """
    Draw bodies with their labels; two markers each.

    Parameters
    ----------
    bodies : iterable of BodyView
    role : str
        `targets` (spheres) or `users` (upright cylinders).
    ids : MarkerIds
    style : Style
    stamp : Time

    """
    shape, colour = (
        (Marker.SPHERE, TARGET_COLOUR) if role == 'targets' else (Marker.CYLINDER, USER_COLOUR))
    markers = []
    for body in bodies:
        marker = _marker(role, ids.number(role, body.id), shape, style, stamp, colour,
                         0.35 if body.faded else 1.0)
        marker.pose.position = _point(body.position)
        # A target is drawn small, so that its bound can be seen around it.
        size = TARGET_SHARE * style.body_size if role == 'targets' else style.body_size
        marker.scale = Vector3(x=size, y=size, z=size)
        lines = body.label.count('\n') + 1
        height = style.body_size / 2 + 0.7 * lines * style.text_height
        label = _text(f'{role}/labels', ids.number(role, body.id), body.label,
                      body.position + [0, 0, height], style, stamp)
        markers += [marker, label]
    return markers


def outline_markers(outlines: Iterable[tuple[str, Vector, Outline]], ids: MarkerIds, style: Style,
                    stamp: Time) -> list[Marker]:
    """
    Draw outlines of extended targets, and thick upon them the sections that the array sees.

    Parameters
    ----------
    outlines : iterable of (str, ndarray, Outline)
        Id, and position of the centre in the world frame, shape (3,) [m].
    ids : MarkerIds
    style : Style
    stamp : Time

    """
    markers = []
    for name, centre, drawn in outlines:
        loop = _marker('targets/outlines', ids.number('targets/outlines', name),
                       Marker.LINE_STRIP, style, stamp, TARGET_COLOUR, 0.8)
        loop.scale.x = 0.06 * style.body_size
        loop.points = _points(centre + drawn.loop)
        markers.append(loop)
        if not len(drawn.sections):
            continue
        seen = _marker('targets/sections', ids.number('targets/sections', name),
                       Marker.LINE_LIST, style, stamp, TARGET_COLOUR)
        seen.scale.x = 0.25 * style.body_size
        # A line list takes points by twos.
        pairs = np.stack([drawn.sections[:, :-1], drawn.sections[:, 1:]], axis=2)
        seen.points = _points(centre + pairs.reshape(-1, 3))
        colours = [_colour(colour) for colour in SECTION_COLOURS]
        seen.colors = [colours[k % len(colours)] for k in range(len(pairs))
                       for _ in range(2 * pairs.shape[1])]
        markers.append(seen)
    return markers


def truth_markers(positions: Iterable[tuple[str, Vector]], role: str, ids: MarkerIds,
                  style: Style, stamp: Time) -> list[Marker]:
    """Draw where bodies truly are: small grey cubes."""
    markers = []
    for name, position in positions:
        marker = _marker(f'truth/{role}', ids.number(f'truth/{role}', name), Marker.CUBE, style,
                         stamp, TRUTH_COLOUR, 0.9)
        marker.pose.position = _point(position)
        size = 0.3 * style.body_size
        marker.scale = Vector3(x=size, y=size, z=size)
        markers.append(marker)
    return markers


def bound_markers(bounds: Iterable[BoundView], ids: MarkerIds, style: Style,
                  stamp: Time) -> list[Marker]:
    """
    Draw bounds as ellipsoids whose half axes are `bound_scale` root-CRBs.

    A bound with an infinite entry has no ellipsoid; the label of its target says so.
    """
    markers = []
    for bound in bounds:
        if not bound.drawable:
            continue
        half_axes, quaternion = ellipsoid(bound.covariance)
        diameters = np.maximum(2 * style.bound_scale * half_axes, LEAST_DIAMETER)
        marker = _marker('crb', ids.number('crb', bound.id), Marker.SPHERE, style, stamp,
                         BOUND_COLOUR, 0.4)
        marker.pose.position = _point(bound.position)
        marker.pose.orientation = quaternion
        marker.scale = Vector3(x=diameters[0], y=diameters[1], z=diameters[2])
        markers.append(marker)
    return markers


def ellipsoid(covariance: Vector) -> tuple[Vector, Quaternion]:
    """
    Principal axes of a covariance.

    Parameters
    ----------
    covariance : ndarray, shape (3, 3)
        Symmetric, finite [m^2].

    Returns
    -------
    half_axes : ndarray, shape (3,)
        Standard deviations along the axes, rising [m].
    orientation : Quaternion
        Rotation from the axes to the frame of the covariance.

    """
    variances, axes = np.linalg.eigh((covariance + covariance.T) / 2)
    if np.linalg.det(axes) < 0:
        axes[:, 0] = -axes[:, 0]   # a reflection is no rotation; the ellipsoid is the same
    w, x, y, z = (float(value) for value in mat2quat(axes))
    return np.sqrt(np.maximum(variances, 0.0)), Quaternion(x=x, y=y, z=z, w=w)


def beam_markers(origin: Vector, users: Iterable[tuple[BodyView, bool]], ids: MarkerIds,
                 style: Style, stamp: Time) -> list[Marker]:
    """
    Draw beams as lines from the array to the users.

    Parameters
    ----------
    origin : ndarray, shape (3,)
        Phase centre of the array in the world frame [m].
    users : iterable of (BodyView, bool)
        Who is served, and whether its SINR requirement is met.
    ids : MarkerIds
    style : Style
    stamp : Time

    """
    markers = []
    for user, met in users:
        marker = _marker('beams', ids.number('beams', user.id), Marker.LINE_STRIP, style, stamp,
                         MET_COLOUR if met else MISSED_COLOUR, 0.8)
        marker.scale.x = 0.1 * style.body_size
        marker.points = _points(np.array([origin, user.position]))
        markers.append(marker)
    return markers


def radio_marker(text: str, transmitting: bool, position: Vector, style: Style,
                 stamp: Time) -> Marker:
    """Draw the state of the radio as a text at a place in the world frame."""
    marker = _text('radio', 0, text, position, style, stamp)
    marker.color = _colour(MET_COLOUR if transmitting else MISSED_COLOUR)
    return marker


class MarkerScene:
    """
    The newest of everything that the graph says, as markers.

    Parameters
    ----------
    arrays : sequence of AntennaArray
        The transmit array, and the receive array if it is another.
    style : Style

    Attributes
    ----------
    bounds : CrbArray or None
    status : DesignStatus or None
    served : sequence of str
        Ids of the users that the present beams serve.
    radio : RadioStatus or None
        None: no driver, or one that has gone silent.
    tracked, truth : dict
        Position by (role, id), where role is `targets` or `users`: as the designer is told, and
        as it is. Whoever fills them in takes out what is too old.
    outlines : dict
        Outline by the id of the target, of extended targets.

    """

    def __init__(self, arrays: Sequence[AntennaArray], style: Style) -> None:
        self.style = style
        self.bounds: CrbArray | None = None
        self.status: DesignStatus | None = None
        self.served: Sequence[str] = ()
        self.radio: RadioStatus | None = None
        self.tracked: dict[tuple[str, str], Vector] = {}
        self.truth: dict[tuple[str, str], Vector] = {}
        self.outlines: dict[str, Outline] = {}
        self._arrays = arrays
        self._ids = MarkerIds()
        self._static: list[Marker] = []

    def restyle(self, style: Style) -> None:
        """Draw in another way from now on."""
        self.style = style
        self._static = []

    def static_markers(self, stamp: Time) -> list[Marker]:
        """Return the arrays, which do not move; to be sent more often than once a lifetime."""
        if not self._static:
            for array_, namespace in zip(self._arrays, ('array', 'receive_array'), strict=False):
                self._static += array_markers(array_, namespace, self.style, stamp)
        for marker in self._static:
            marker.header.stamp = stamp
        return self._static

    def markers(self, stamp: Time, live: bool) -> list[Marker]:
        """
        Return all that moves, and deletions of what was there the last time only.

        Parameters
        ----------
        stamp : Time
            Design time while the beams are live, else the present.
        live : bool
            The beams may be in use: their lease has not ended. Without beams there are no bounds.

        """
        targets, bounds = self._targets(live)
        users, beams = self._users(live)
        style, ids = self.style, self._ids
        origin = self._arrays[0].pose.position
        above = origin + [0, 0, self._arrays[0].aperture + 3 * style.text_height]
        text, transmitting = radio_text(self.radio)
        return ids.with_deletions([
            *body_markers(targets, 'targets', ids, style, stamp),
            *outline_markers(((view.id, view.position, self.outlines[view.id])
                              for view in targets if view.id in self.outlines), ids, style, stamp),
            *body_markers(users, 'users', ids, style, stamp),
            *bound_markers(bounds, ids, style, stamp),
            *beam_markers(origin, beams, ids, style, stamp),
            *(marker for role in ('targets', 'users') for marker in truth_markers(
                ((name, position) for (kind, name), position in self.truth.items()
                 if kind == role), role, ids, style, stamp)),
            radio_marker(text, transmitting, above, style, stamp)])

    def _targets(self, live: bool) -> tuple[list[BodyView], list[BoundView]]:
        views, bounds = {}, []
        states = self._states(TrackStatus.ROLE_TARGET)
        if live and self.bounds is not None:
            for entry in self.bounds.entries:
                place = entry.position
                position = np.array([place.x, place.y, place.z])
                bound = BoundView(entry.id, position, position_covariance(entry))
                bounds.append(bound)
                label, faded = with_age(bound_text(entry, bound), states.get(entry.id))
                views[entry.id] = BodyView(entry.id, position, label, faded)
        for (role, name), position in self.tracked.items():
            if role == 'targets' and name not in views:
                label, _ = with_age(f'{name}\nno bound', states.get(name))
                views[name] = BodyView(name, position, label, faded=True)
        return list(views.values()), bounds

    def _users(self, live: bool) -> tuple[list[BodyView], list[tuple[BodyView, bool]]]:
        views, beams = [], []
        states = self._states(TrackStatus.ROLE_USER)
        designed = {user.id: user for user in self.status.users} if self.status and live else {}
        seen = {user.id: user.sinr_db for user in self.radio.users} if self.radio else {}
        for (role, name), position in self.tracked.items():
            if role != 'users':
                continue
            served = live and name in self.served
            text = sinr_text(name, designed.get(name), seen.get(name, math.nan), served)
            label, faded = with_age(text, states.get(name))
            view = BodyView(name, position, label, faded or not served)
            views.append(view)
            if served:
                status = designed.get(name)
                beams.append((view, status is not None
                              and status.sinr_db >= status.required_sinr_db - SINR_TOLERANCE))
        return views, beams

    def _states(self, role: int) -> dict[str, TrackStatus]:
        if self.status is None:
            return {}
        return {track.id: track for track in self.status.tracks if track.role == role}


def position_covariance(entry: CrbEntry) -> Vector:
    """
    Position part of a bound.

    Returns
    -------
    ndarray, shape (3, 3)
        [m^2]; infinite if there are no coordinates among its parameters.

    """
    names = list(entry.parameters)
    covariance = np.array(entry.covariance, dtype=float).reshape(len(names), len(names))
    if not {'x', 'y', 'z'} <= set(names):
        return np.full((3, 3), np.inf)
    rows = [names.index(name) for name in ('x', 'y', 'z')]
    return covariance[np.ix_(rows, rows)]


def bound_text(entry: CrbEntry, bound: BoundView) -> str:
    """Label of a target: how well it can be localised."""
    if not bound.drawable:
        return f'{entry.id}\nposition not identifiable'
    text = f'{entry.id}\n{length_text(math.sqrt(max(entry.crb, 0.0)))}'
    if math.isfinite(entry.isotropic_crb) and entry.isotropic_crb >= 0:
        text += f' (isotropic {length_text(math.sqrt(entry.isotropic_crb))})'
    variances = dict(zip(entry.parameters, entry.covariance[::len(entry.parameters) + 1],
                         strict=True))
    angles = [f'{name} {angle_text(math.sqrt(variances[name]))}'
              for name in ('direction', 'orientation') if variances.get(name, -1.0) >= 0]
    return '\n'.join([text, ', '.join(angles)]) if angles else text


def sinr_text(name: str, designed: UserStatus | None, seen_db: float, served: bool) -> str:
    """Label of a user: designed SINR against the required one, and what the radio says."""
    if not served or designed is None:
        return f'{name}\nnot served'
    text = f'{name}\n{designed.sinr_db:.1f} dB of {designed.required_sinr_db:.1f} dB'
    return f'{text}, seen {seen_db:.1f} dB' if math.isfinite(seen_db) else text


def radio_text(radio: RadioStatus | None) -> tuple[str, bool]:
    """Return a line about the radio, and whether it transmits."""
    if radio is None:
        return 'radio: no status', False
    if not radio.armed:
        return 'radio: disarmed', False
    if radio.muted:
        return f'radio: muted ({radio.mute_reason})', False
    return f'radio: {radio.power:.3g} W of {radio.power_limit:.3g} W', True


def with_age(label: str, track: TrackStatus | None) -> tuple[str, bool]:
    """Add to a label that the pose is old; tell whether it is."""
    if track is None or track.state == TrackStatus.STATE_FRESH:
        return label, False
    word = 'held' if track.state == TrackStatus.STATE_HELD else 'dropped'
    return f'{label}\n{word}, pose {track.age:.2f} s old', True


def length_text(metres: float) -> str:
    """Length with three digits and a unit that suits it, in ASCII."""
    for factor, unit in ((1.0, 'm'), (1e-2, 'cm'), (1e-3, 'mm')):
        if metres >= factor:
            return f'{metres / factor:.3g} {unit}'
    return f'{metres * 1e6:.3g} um'


def angle_text(radians: float) -> str:
    """Angle with three digits and a unit that suits it, in ASCII."""
    if math.isinf(radians):
        return 'not identifiable'
    for factor, unit in ((1.0, 'rad'), (1e-3, 'mrad')):
        if radians >= factor:
            return f'{radians / factor:.3g} {unit}'
    return f'{radians * 1e6:.3g} urad'


def pattern_cloud(points: Vector, level: Vector, frame: str, stamp: Time) -> PointCloud2:
    """
    Turn a beam pattern into a point cloud with the fields x, y, z, intensity.

    Parameters
    ----------
    points : ndarray, shape (K, 3)
        In the frame [m].
    level : ndarray, shape (K,)
        [dB]; points whose level is NaN are left out.
    frame : str
        World frame.
    stamp : Time
        Design time.

    """
    known = np.isfinite(level)
    packed = np.empty((int(known.sum()), 4), dtype='<f4')
    packed[:, :3] = points[known]
    packed[:, 3] = level[known]
    return PointCloud2(
        header=Header(stamp=stamp, frame_id=frame), height=1, width=len(packed),
        fields=[PointField(name=name, offset=4 * index, datatype=PointField.FLOAT32, count=1)
                for index, name in enumerate(('x', 'y', 'z', 'intensity'))],
        is_bigendian=False, point_step=16, row_step=16 * len(packed),
        # rclpy iterates over anything but an array.array, which takes seconds.
        data=array.array('B', packed.tobytes()), is_dense=True)


def _marker(namespace: str, number: int, kind: int, style: Style, stamp: Time,
            colour: Sequence[float], alpha: float = 1.0) -> Marker:
    marker = Marker(header=Header(stamp=stamp, frame_id=style.frame), ns=namespace, id=number,
                    type=kind, action=Marker.ADD, color=_colour(colour, alpha))
    marker.lifetime = _duration(style.lifetime)
    return marker


def _text(namespace: str, number: int, text: str, position: Vector, style: Style,
          stamp: Time) -> Marker:
    marker = _marker(namespace, number, Marker.TEXT_VIEW_FACING, style, stamp, TEXT_COLOUR)
    marker.pose.position = _point(position)
    marker.scale.z = style.text_height
    # rviz2 draws a glyph for each byte: what is not ASCII would become two or three wrong ones.
    plain = ''.join(letter for letter in normalize('NFKD', text) if not combining(letter))
    marker.text = plain.encode('ascii', 'replace').decode()
    return marker


def _point(position: Vector) -> Point:
    x, y, z = (float(value) for value in position)
    return Point(x=x, y=y, z=z)


def _points(positions: Vector) -> list[Point]:
    return [_point(position) for position in positions]


def _colour(colour: Sequence[float], alpha: float = 1.0) -> ColorRGBA:
    red, green, blue = colour
    return ColorRGBA(r=red, g=green, b=blue, a=alpha)


def _duration(seconds: float) -> Duration:
    whole = math.floor(seconds)
    return Duration(sec=whole, nanosec=int((seconds - whole) * 1e9))
