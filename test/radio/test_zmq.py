"""IQ streams as others read them: GNU Radio where it is installed, and pyzmq."""

from pathlib import Path
import struct
import subprocess
import time

import numpy as np
import pytest
from radio_sites import UPDATE, expected_block, random_beams, site
import zmq

from nf_isac_ros.radio.base import BackendError
from nf_isac_ros.radio.options import OptionError, read_options
from nf_isac_ros.radio.waveform import OnAir
from nf_isac_ros.radio.zmq_backend import ZmqBackend, ZmqOptions

LENGTH, ROWS = 200, 3
# What Debian's package gnuradio installs, and the interpreter that it is for.
GNURADIO, PYTHON = Path('/usr/lib/python3/dist-packages/gnuradio/zeromq'), '/usr/bin/python3'


@pytest.fixture
def radio():
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


def places(received, backend, kinds):
    """
    Kind of beams and number of each block: a busy machine may lose some, but none in parts.

    Numbers rise; a block is found by its first symbols, and compared to the last bit that matters.
    """
    found = []
    for items in received:
        first = found[-1][1] + 1 if found else 0
        found.append(next(
            (kind, index) for index in range(first, backend.next_block + 1)
            for kind, expected in kinds.items()
            if np.allclose(items, expected(index), rtol=0, atol=1e-6)))
    return found


def blocks_of(where, beams, user_ids):
    return lambda index: expected_block(where, beams, user_ids, index)


@pytest.mark.parametrize('pattern', ['pub', 'push', 'rep'])
def test_streams_are_the_samples_block_by_block(radio, pattern):
    backend = radio(pattern)
    with Peer(backend, pattern) as peer:
        assert not peer.items().any(), 'boots mute'
        backend.transmit(random_beams(), ('u1', 'u2'), UPDATE)
        received = [peer.first_signal(), *(peer.items() for _ in range(4))]
    assert all(items.shape == (LENGTH, ROWS) for items in received)
    assert len(places(received, backend, {
        1: blocks_of(backend.site, random_beams(), ('u1', 'u2'))})) == 5


def test_beams_change_between_blocks(radio):
    backend = radio('push')
    with Peer(backend, 'push') as peer:
        backend.transmit(random_beams(1), ('u1', 'u2'), UPDATE)
        received = [peer.first_signal()]
        backend.transmit(random_beams(2), ('u2',), UPDATE)
        received += [peer.items() for _ in range(20)]
    seen = [kind for kind, _ in places(received, backend, {
        1: blocks_of(backend.site, random_beams(1), ('u1', 'u2')),
        2: blocks_of(backend.site, random_beams(2), ('u2',))})]
    assert seen == sorted(seen) and set(seen) == {1, 2}


@pytest.mark.parametrize('pattern', ['pub', 'push', 'rep'])
def test_mute_turns_the_stream_to_zeros_at_once(radio, pattern):
    backend = radio(pattern)
    with Peer(backend, pattern) as peer:
        backend.transmit(random_beams(), ('u1', 'u2'), UPDATE)
        peer.first_signal()
        started = time.perf_counter()
        backend.mute()
        took = time.perf_counter() - started
        muted = backend.next_block
        # What is on its way: at most the queue, and the block that was being handed over.
        received = [peer.items() for _ in range(30)]
        assert backend.next_block > muted + 5, 'the stream goes on'
    # A millisecond on a quiet machine; the test must live on a busy one.
    assert took < 0.05
    signal = [items.any() for items in received]
    assert sum(signal) <= 9
    assert signal == sorted(signal, reverse=True), 'nothing comes back after the mute'


def test_requests_are_answered_with_what_fits(radio):
    backend = radio('rep')
    beams = random_beams()
    backend.transmit(beams, ('u1', 'u2'), UPDATE)
    with Peer(backend, 'rep', room=70) as peer:
        first = peer.first_signal()
        parts = [first, *(peer.items() for _ in range(8))]
    assert max(map(len, parts)) == 70
    assert {len(items) for items in parts} <= {70, LENGTH - 140}


@pytest.mark.parametrize('request_', [b'', b'12345', struct.pack('=i', -4), struct.pack('=i', 0)],
                         ids=['empty', 'five-bytes', 'negative', 'zero'])
def test_foolish_requests_get_nothing_and_do_no_harm(radio, request_):
    backend = radio('rep')
    with Peer(backend, 'rep') as peer:
        peer.socket.send(request_)
        assert peer.socket.recv() == b''
        assert len(peer.items()) == LENGTH
    assert backend.fault() == ''


def test_nobody_listening_holds_nothing_up(radio):
    backend = radio('push', queue_blocks=2)
    backend.transmit(random_beams(), ('u1', 'u2'), UPDATE)
    deadline = time.monotonic() + 20
    while backend.lost < 5 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert backend.lost >= 5
    assert backend.fault() == ''
    assert backend.diagnostics()['blocks lost'] >= 5


def test_address_in_use_is_named(radio):
    backend = radio()
    with pytest.raises(BackendError, match=rf"zmq.address: is '{backend.address}'.* free address"):
        ZmqBackend(site(), ZmqOptions(address=backend.address))


def test_closed_radio_gives_its_address_back(radio):
    backend = radio()
    backend.close()
    ZmqBackend(site(), ZmqOptions(address=backend.address)).close()


@pytest.mark.parametrize(('values', 'message'), [
    ({'address': 'localhost:5555'}, r'radio_backend.zmq.address: is "localhost:5555"; must'),
    ({'pattern': 'sub'}, "zmq.pattern: is \"sub\"; must be 'pub', 'push' or 'rep'"),
    ({'queue_blocks': 0}, r'zmq.queue_blocks: is 0; must be from 1 to 1000'),
    ({'adress': 'tcp://*:1'}, r'zmq.adress: is .*no such key, did you mean address'),
], ids=lambda value: next(iter(value)) if isinstance(value, dict) else '')
def test_wrong_options_are_named(values, message):
    with pytest.raises(OptionError, match=message):
        read_options(ZmqOptions, values, 'zmq')


@pytest.mark.skipif(not GNURADIO.is_dir(), reason='GNU Radio is not installed')
@pytest.mark.parametrize('pattern', ['pub', 'push', 'rep'])
def test_gnuradio_reads_the_samples_bit_by_bit(radio, tmp_path, pattern):
    # Blocks of 10 ms, so that none is lost while the machine is busy.
    backend = radio(pattern, site(sample_rate_hz=2e4), queue_blocks=500)
    on_air = OnAir(random_beams(), ('u1', 'u2'), UPDATE)
    backend.transmit(on_air.beams, on_air.user_ids, UPDATE)
    file = tmp_path / 'samples'
    subprocess.run(
        [PYTHON, str(Path(__file__).with_name('gnuradio_receiver.py')), backend.address, pattern,
         str(ROWS), str(10 * LENGTH), str(file)], check=True, timeout=120, capture_output=True)
    received = np.fromfile(file, np.complex64).reshape(-1, ROWS)
    assert len(received) == 10 * LENGTH
    feed = backend.waveform.feed(on_air)
    # Replies begin with the blocks that waited, the first one from before the beams.
    signal = received[np.argmax(received.any(axis=1)):]
    count = len(signal) // LENGTH
    assert len(signal) == count * LENGTH and count >= 9
    found = places(signal.reshape(count, LENGTH, ROWS), backend, {
        1: lambda index: backend.waveform.block(feed, index).samples})
    whole = np.concatenate([backend.waveform.block(feed, index).samples for _, index in found])
    assert signal.tobytes() == whole.tobytes()
