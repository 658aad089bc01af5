"""IQ streams over ZeroMQ, as GNU Radio's ZMQ source blocks read them."""

from __future__ import annotations

from collections import deque
import struct
from typing import Annotated, Any, Literal

from pydantic import Field

from nf_isac_ros.files.models import between
from nf_isac_ros.radio.base import BackendError
from nf_isac_ros.radio.options import Options, Site
from nf_isac_ros.radio.pump import PumpedBackend
from nf_isac_ros.radio.waveform import SampleBlock, Samples


class ZmqOptions(Options):
    """Where samples are offered, and how."""

    address: Annotated[str, Field(pattern=r'^(tcp|ipc|inproc)://\S+$')] = 'tcp://127.0.0.1:5555'
    pattern: Literal['pub', 'push', 'rep'] = 'pub'
    queue_blocks: Annotated[int, between(1, 1000)] = 8


DEFAULTS = ZmqOptions()


class ZmqBackend(PumpedBackend):
    """
    Raw complex64 samples over PUB, PUSH or REP sockets, without tags.

    An item of the stream is a vector with one complex number for each row of samples: set the
    vector length of GNU Radio's source block to that number. While mute the stream goes on with
    zeros, so that time at the receiver goes on. A receiver that is too slow, or absent, loses
    blocks (`lost`); it never holds the radio up.

    Parameters
    ----------
    site : Site
    options : ZmqOptions

    Raises
    ------
    BackendError
        If the address cannot be used, or pyzmq is not there.

    """

    OPTIONS = ZmqOptions

    def __init__(self, site: Site, options: ZmqOptions = DEFAULTS) -> None:
        super().__init__(site)
        try:
            # Here: nodes that have another radio start without the library.
            import zmq
        except ImportError as error:
            raise BackendError('pyzmq is not installed; pip install pyzmq') from error
        self.lost = 0
        self._zmq = zmq
        self._context = zmq.Context()
        kinds = {'pub': zmq.PUB, 'push': zmq.PUSH, 'rep': zmq.REP}
        self._socket: Any = self._context.socket(kinds[options.pattern])
        self._socket.setsockopt(zmq.SNDHWM, options.queue_blocks)
        # What has not been taken when the radio ends is not for anybody.
        self._socket.setsockopt(zmq.LINGER, 0)
        try:
            self._socket.bind(options.address)
        except zmq.ZMQError as error:
            self._release()
            raise BackendError(f'radio_backend.zmq.address: is {options.address!r}; cannot be '
                               f'bound ({error}), must be a free address') from error
        self.address = self._socket.getsockopt_string(zmq.LAST_ENDPOINT)
        self._requests = (_Requests(self._socket, options.queue_blocks)
                          if options.pattern == 'rep' else None)
        self.start()

    def diagnostics(self) -> dict[str, str | int | float]:
        """Blocks that nobody took, besides what `PumpedBackend` tells."""
        return {**super().diagnostics(), 'address': self.address, 'blocks lost': self.lost}

    def mute(self) -> None:
        """Go on with zeros; what is waiting for requests is dropped."""
        super().mute()
        if self._requests is not None:
            self._requests.drop()

    def hand_over(self, block: SampleBlock) -> None:
        """Send a block, or keep it for the next request."""
        try:
            if self._requests is not None:
                self.lost += self._requests.add(block.samples)
                self._requests.answer()
            else:
                self._socket.send(block.samples.data, self._zmq.NOBLOCK)
        except self._zmq.Again:
            self.lost += 1
        except self._zmq.ZMQError as error:
            raise BackendError(f'cannot send: {error}') from error

    def wait(self, seconds: float) -> None:
        """Look after requests until the next block is due."""
        if self._requests is not None and self._requests.wait(seconds):
            self._requests.answer()
        else:
            super().wait(seconds)

    def finish(self) -> None:
        """Close socket and context."""
        self._release()

    def _release(self) -> None:
        self._socket.close()
        self._context.term()


class _Requests:
    """
    Blocks that wait for requests, and the request that waits for blocks.

    A request of GNU Radio is one int32: how many items it has room for. Anything else is answered
    with no items.
    """

    def __init__(self, socket: Any, length: int) -> None:
        self._socket = socket
        self._blocks: deque[Samples] = deque(maxlen=length)
        self._room: int | None = None

    def add(self, samples: Samples) -> int:
        """Append a block; return how many were lost for it."""
        lost = int(len(self._blocks) == self._blocks.maxlen)
        self._blocks.append(samples)
        return lost

    def drop(self) -> None:
        """Forget what waits; from any thread."""
        self._blocks.clear()

    def answer(self) -> None:
        """Answer what has been requested, as far as there is something to send."""
        while self._room is not None or self._socket.poll(0):
            if self._room is None:
                request = self._socket.recv()
                self._room = struct.unpack('=i', request)[0] if len(request) == 4 else 0
            if self._room <= 0:
                self._reply(b'')
                continue
            try:
                samples = self._blocks.popleft()
            except IndexError:
                return
            if len(samples) > self._room:
                self._blocks.appendleft(samples[self._room:])
                samples = samples[:self._room]
            self._reply(samples.data)

    def _reply(self, content: Any) -> None:
        self._room = None
        self._socket.send(content)

    def wait(self, seconds: float) -> bool:
        """Wait for a request; tell whether there can be one."""
        if self._room is not None:
            return False
        # Whole milliseconds; a block more or less early is none the worse.
        self._socket.poll(max(1, int(1e3 * seconds)))
        return True
