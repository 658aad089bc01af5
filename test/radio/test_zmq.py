"""IQ streams as others read them: GNU Radio where it is installed, and pyzmq."""

import struct
import subprocess
import time

import numpy as np
import pytest
from radio_sites import UPDATE, expected_block, random_beams, site
import zmq

from nf_isac_ros.radio.base import BackendError
from nf_isac_ros.radio.options import OptionError, read_options
from nf_isac_ros.radio.zmq_backend import ZmqBackend, ZmqOptions

LENGTH, ROWS = 200, 3
# Of the interpreter that Debian's package gnuradio is for.
PYTHON = '/usr/bin/python3'


def has_gnuradio():
    try:
        return subprocess.run([PYTHON, '-c', 'from gnuradio import zeromq'], timeout=60,
                              capture_output=True).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


@pytest.fixture
def radio(request):
    made = []

    def make(pattern='pub', where=None, **options):
        made.append(ZmqBackend(where or site(), ZmqOptions(
            address='tcp://127.0.0.1:*', pattern=pattern, **options)))
        return made[-1]
    yield make
    for backend in made:
        backend.close()


class Peer:
    """What GNU Radio's source blocks do, with pyzmq."""

    def __init__(self, backend, pattern, room=10_000):
        kinds = {'pub': zmq.SUB, 'push': zmq.PULL, 'rep': zmq.REQ}
        self.context = zmq.Context()
        self.socket = self.context.socket(kinds[pattern])
        self.socket.setsockopt(zmq.LINGER, 0)
        self.socket.setsockopt(zmq.RCVTIMEO, 10_000)
        self.socket.connect(backend.address)
        self.pattern, self.room = pattern, room
        if pattern == 'pub':
            self.socket.setsockopt(zmq.SUBSCRIBE, b'')

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.socket.close()
        self.context.term()

    def items(self):
        """Next message, shape (L, ROWS)."""
        if self.pattern == 'rep':
            self.socket.send(struct.pack('=i', self.room))
        return np.frombuffer(self.socket.recv(), np.complex64).reshape(-1, ROWS)

    def first_signal(self, limit=2000):
        for _ in range(limit):
            items = self.items()
            if items.any():
                return items
        raise AssertionError('nothing but zeros')


def place(samples, blocks):
    """Number of the block that these samples begin with."""
    for index, block in blocks.items():
        if np.allclose(samples[:20], block[:20], atol=1e-6):
            return index
    raise AssertionError('samples of no block')


@pytest.mark.parametrize('pattern', ['pub', 'push', 'rep'])
def test_streams_are_the_samples_block_by_block(radio, pattern):
    backend = radio(pattern)
    beams = random_beams()
    blocks = {i: expected_block(backend.site, beams, ('u1', 'u2'), i) for i in range(2000)}
    with Peer(backend, pattern) as peer:
        assert not peer.items().any(), 'boots mute'
        backend.transmit(beams, ('u1', 'u2'), UPDATE)
        received = [peer.first_signal(), *(peer.items() for _ in range(4))]
    assert all(items.shape == (LENGTH, ROWS) for items in received)
    start = place(received[0], blocks)
    for offset, items in enumerate(received):
        assert items == pytest.approx(blocks[start + offset], abs=1e-6)


@pytest.mark.skipif(not has_gnuradio(), reason='GNU Radio is not installed')
@pytest.mark.parametrize('pattern', ['pub', 'push', 'rep'])
def test_gnuradio_reads_the_samples_bit_by_bit(radio, tmp_path, pattern):
    backend = radio(pattern)
    beams = random_beams()
    backend.transmit(beams, ('u1', 'u2'), UPDATE)
    file = tmp_path / 'samples'
    subprocess.run([PYTHON, 'test/radio/gnuradio_receiver.py', backend.address, pattern,
                    str(ROWS), str(10 * LENGTH), str(file)], check=True, timeout=120,
                   capture_output=True)
    received = np.fromfile(file, np.complex64).reshape(-1, ROWS)
    assert len(received) == 10 * LENGTH
    feed = backend.waveform.feed(backend._feed.on_air)
    blocks = {i: backend.waveform.block(feed, i).samples
              for i in range(int(60 / backend.period))}
    # Whole blocks in a row: messages may be lost before the first one, not within.
    if pattern == 'rep':
        # The first block may have been read in parts: begin with the next one.
        pass
    start = place(received, blocks)
    whole = np.concatenate([blocks[start + i] for i in range(10)])
    assert received.tobytes() == whole.tobytes()
