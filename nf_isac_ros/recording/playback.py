"""When which message of a recording is due: pace, laps and cuts, without a clock."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
import math

from nf_isac_ros.recording.exceptions import RecordingError


@dataclass(frozen=True)
class Pace:
    """
    Recorded time as time since the start of playing.

    Laps follow each other with a gap, so that time goes on upwards and a body that ends one lap
    here and starts the next there has been dropped in between: it does not seem to jump.

    Attributes
    ----------
    start, end : int
        Of the recording [ns].
    rate : float
        How much faster than recorded.
    gap : int
        Time between two laps, in playing time [ns].

    """

    start: int
    end: int
    rate: float = 1.0
    gap: int = 0

    @property
    def lap_length(self) -> int:
        """Playing time from the start of a lap to that of the next [ns]."""
        return round((self.end - self.start) / self.rate) + self.gap

    def due(self, recorded: int, lap: int) -> int:
        """Playing time of a recorded time in a lap [ns]."""
        return round((recorded - self.start) / self.rate) + lap * self.lap_length

    def recorded(self, playing: int, laps: bool) -> int | None:
        """
        Recorded time at a playing time [ns]; None between laps, and before and after all.

        Parameters
        ----------
        playing : int
            Time since the start of playing [ns].
        laps : bool
            Whether there is more than one lap.

        """
        if playing < 0:
            return None
        lap, within = divmod(playing, self.lap_length) if laps else (0, playing)
        time = self.start + round(within * self.rate)
        return time if time <= self.end else None


@dataclass(frozen=True)
class Cut:
    """
    An interval in which a topic is silent.

    Attributes
    ----------
    topic : str
        Of the recording.
    start, length : float
        Since the start of the recording [s].

    """

    topic: str
    start: float
    length: float

    def hides(self, topic: str, since_start: float) -> bool:
        """Tell whether a message of a topic, so long after the start [s], is left out."""
        return topic == self.topic and self.start <= since_start < self.start + self.length


def parse_cuts(texts: Sequence[str], topics: Sequence[str]) -> tuple[Cut, ...]:
    """
    Read cuts as people write them.

    Parameters
    ----------
    texts : sequence of str
        'TOPIC:START:LENGTH', times in seconds.
    topics : sequence of str
        Those that can be cut.

    Raises
    ------
    RecordingError
        Names the text and what is allowed.

    """
    cuts = []
    for text in texts:
        parts = text.rsplit(':', 2)
        try:
            topic, start, length = parts[0], float(parts[1]), float(parts[2])
        except (IndexError, ValueError):
            raise RecordingError(
                f'cut {text!r} must be TOPIC:START:LENGTH with times in seconds') from None
        if not (0 <= start < math.inf and 0 < length < math.inf):
            raise RecordingError(
                f'cut {text!r}: the start must be at least 0 s, the length more than 0 s')
        if topic not in topics:
            raise RecordingError(
                f'cut {text!r}: the topic must be one of {", ".join(sorted(topics))}')
        cuts.append(Cut(topic, start, length))
    return tuple(cuts)
