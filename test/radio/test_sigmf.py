"""Recordings, read back by the library that defines the format."""

import json
import os
from pathlib import Path
import subprocess
import sys
import time

import numpy as np
import pytest
from radio_sites import ARRAY, UPDATE, WAVELENGTH, expected_block, random_beams, site
import sigmf

from nf_isac_ros.radio.base import BackendError
from nf_isac_ros.radio.options import OptionError, read_options
from nf_isac_ros.radio.sigmf_backend import SigmfBackend, SigmfOptions

LENGTH, ROWS = 200, 3


def wait_for(condition, seconds=20):
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.002)
    assert condition()


def record(backend, blocks):
    """Let so many blocks go by."""
    end = backend.next_block + blocks
    wait_for(lambda: backend.next_block > end)


@pytest.fixture
def radio(tmp_path):
    made = []

    def make(where=None, **options):
        made.append(SigmfBackend(where or site(), SigmfOptions(
            **{'path': str(tmp_path / 'take'), **options})))
        return made[-1]
    yield make
    for backend in made:
        backend.close()


def read(path):
    """Recording that the library has found valid, checksum and all."""
    recording = sigmf.fromfile(path)
    recording.validate()
    return recording


def test_recording_is_valid_and_says_what_it_is(radio):
    backend = radio(description='first light', author='somebody')
    backend.transmit(random_beams(1), ('u1', 'u2'), UPDATE)
    record(backend, 10)
    backend.close()
    recording = read(backend.path)
    told = recording.get_global_info()
    assert told['core:datatype'] == 'cf32_le'
    assert told['core:sample_rate'] == 1e5
    assert told['core:num_channels'] == ROWS
    assert told['core:description'] == 'first light'
    assert told['core:extensions'] == [{'name': 'nf_isac', 'version': '0.1.0', 'optional': True}]
    assert told['nf_isac:layout_hash'] == ARRAY.layout_hash
    assert told['nf_isac:rows'] == [0, 5, 7]
    assert told['nf_isac:element_positions'] == pytest.approx(ARRAY.elements[[0, 5, 7]])
    assert told['nf_isac:phase_bits'] == 0
    capture, = recording.get_captures()
    assert capture['core:frequency'] == pytest.approx(299792458 / WAVELENGTH)
    made = time.mktime(time.strptime(capture['core:datetime'][:19], '%Y-%m-%dT%H:%M:%S'))
    assert abs(time.mktime(time.gmtime()) - made) < 60
    beams, muted = recording.get_annotations()
    assert beams['core:label'] == 'beams'
    assert beams['core:comment'] == 'crb-min 41'
    assert beams['nf_isac:sequence'] == 41
    assert beams['nf_isac:valid_until'] == UPDATE.valid_until
    assert beams['nf_isac:calibration_epoch'] == 3
    assert beams['nf_isac:user_ids'] == ['u1', 'u2']
    assert beams['nf_isac:n_sensing'] == 2
    assert beams['nf_isac:power'] == pytest.approx(np.linalg.norm(random_beams(1)) ** 2)
    assert beams['core:sample_count'] == recording.sample_count
    assert muted['core:label'] == 'muted'
    assert muted['core:sample_start'] == recording.sample_count


def test_samples_are_those_of_the_beams_in_time(radio):
    backend = radio()
    backend.transmit(random_beams(1), ('u1', 'u2'), UPDATE)
    record(backend, 5)
    backend.transmit(random_beams(2), ('u2',))
    record(backend, 5)
    backend.mute()
    record(backend, 5)
    backend.transmit(random_beams(1), ('u1', 'u2'))
    record(backend, 5)
    backend.close()
    recording = read(backend.path)
    samples = recording.read_samples()
    first, second = recording.get_captures()
    labels = [a['core:label'] for a in recording.get_annotations()]
    assert labels == ['beams', 'beams', 'muted', 'beams', 'muted']
    kinds = [(random_beams(1), ('u1', 'u2')), (random_beams(2), ('u2',)), None,
             (random_beams(1), ('u1', 'u2'))]
    for annotation, kind in zip(recording.get_annotations(), kinds):
        start, count = annotation['core:sample_start'], annotation['core:sample_count']
        if kind is None:
            assert count == 0 and start == second['core:sample_start']
            continue
        assert count and count % LENGTH == 0
        capture = second if start >= second['core:sample_start'] else first
        for place in range(start, start + count, LENGTH):
            index = capture['nf_isac:block'] + (place - capture['core:sample_start']) // LENGTH
            assert samples[place:place + LENGTH] == pytest.approx(
                expected_block(backend.site, *kind, index), abs=1e-6)
    assert second['nf_isac:block'] > first['nf_isac:block'] + second['core:sample_start'] / LENGTH


def test_muted_radio_records_nothing(radio):
    backend = radio()
    record(backend, 10)
    backend.close()
    assert backend.path.stat().st_size == 0
    assert json.loads(backend.path.with_suffix('.sigmf-meta').read_text())['annotations'] == []


def test_recording_ends_at_its_limit_and_the_radio_goes_on(radio):
    backend = radio(max_bytes=3 * LENGTH * ROWS * 8 + 5)
    backend.transmit(random_beams(1), ('u1', 'u2'), UPDATE)
    record(backend, 10)
    assert backend.path.stat().st_size == 3 * LENGTH * ROWS * 8
    assert backend.diagnostics()['recording ended']
    assert backend.fault() == ''
    assert read(backend.path).sample_count == 3 * LENGTH


@pytest.mark.skipif(not os.path.exists('/dev/full'), reason='no device that is always full')
def test_full_disk_is_a_fault_and_the_recording_stays_valid(radio):
    backend = radio()
    backend.transmit(random_beams(1), ('u1', 'u2'), UPDATE)
    record(backend, 5)
    # From now on the file is one on a full disk.
    full = os.open('/dev/full', os.O_WRONLY)
    os.dup2(full, backend._recording._data.fileno())
    os.close(full)
    wait_for(lambda: backend.fault() != '')
    assert 'No space left on device' in backend.fault()
    with pytest.raises(BackendError, match='No space left'):
        backend.transmit(random_beams(1), ('u1', 'u2'))
    backend.mute()
    recording = sigmf.fromfile(backend.path)
    recording.validate()
    assert recording.sample_count % LENGTH == 0


CRASH = '''
import os, sys, time
sys.path.insert(0, sys.argv[2])
from radio_sites import UPDATE, random_beams, site
from nf_isac_ros.radio import sigmf_backend
sigmf_backend.METADATA_PERIOD, sigmf_backend.METADATA_SHARE = 0.01, 0.5
backend = sigmf_backend.SigmfBackend(site(), sigmf_backend.SigmfOptions(path=sys.argv[1]))
started = time.monotonic()
backend.transmit(random_beams(1), ('u1', 'u2'), UPDATE)
while backend._recording.bytes < 100_000 or backend._recording._written_at < started + 0.1:
    time.sleep(0.01)
os.kill(os.getpid(), 9)
'''


def test_killed_process_leaves_a_valid_recording(tmp_path):
    subprocess.run([sys.executable, '-c', CRASH, str(tmp_path / 'take'),
                    str(Path(__file__).parent)], timeout=60)
    meta, = tmp_path.glob('*.sigmf-meta')
    recording = read(meta)
    assert recording.get_annotations()[0]['nf_isac:sequence'] == 41
    assert recording.sample_count >= LENGTH


def test_streams_can_be_recorded(radio):
    backend = radio(site(rows='streams', streams=5))
    backend.transmit(random_beams(1), ('u1', 'u2'), UPDATE)
    record(backend, 5)
    backend.close()
    recording = read(backend.path)
    assert recording.get_global_info()['nf_isac:rows'] == 'streams'
    samples = recording.read_samples()
    assert samples.shape[1] == 5 and samples[:, :4].any(axis=0).all()
    assert not samples[:, 4].any()


def test_place_that_cannot_be_written_is_named(tmp_path):
    with pytest.raises(BackendError, match=r"sigmf.path: is '.*'; cannot write .*No such file"):
        SigmfBackend(site(), SigmfOptions(path=str(tmp_path / 'none' / 'take')))


@pytest.mark.parametrize(('values', 'message'), [
    ({'path': 'folder/'}, r'radio_backend.sigmf.path: is "folder/"'),
    ({'max_bytes': 0}, r'sigmf.max_bytes: is 0; must be from 1'),
    ({'size': 3}, r'sigmf.size: is 3; no such key'),
], ids=['path', 'max_bytes', 'unknown'])
def test_wrong_options_are_named(values, message):
    with pytest.raises(OptionError, match=message):
        read_options(SigmfOptions, values, 'sigmf')
