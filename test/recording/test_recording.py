"""Recordings: what is written can be read, whatever happened to the disk or to the recorder."""

import os
from pathlib import Path
import resource
import signal
import struct
import subprocess
import sys

from mcap.reader import make_reader
from mcap.writer import CompressionType
from mcap.writer import Writer as McapWriter
import numpy as np
import pytest
from rosbags.highlevel import AnyReader
from rosbags.rosbag2 import StoragePlugin, Writer

from nf_isac_ros.recording.exceptions import RecordingError
from nf_isac_ros.recording.reader import Recording
from nf_isac_ros.recording.types import standard_store
from nf_isac_ros.recording.writer import PENDING_LIMIT, PatientFile, RecordingWriter

SHARED = Path(__file__).parents[2].parent / 'shared' / 'data' / 'recordings'
POSE = 'geometry_msgs/msg/PoseStamped'
CHANNELS = 'nf_isac_msgs/msg/UserChannelArray'

needs_messages = pytest.mark.skipif(
    CHANNELS not in standard_store().fielddefs, reason='nf_isac_msgs is not built and sourced')


def pose(store, x, stamp=0):
    """Serialise a PoseStamped at x."""
    types = store.types
    time = types['builtin_interfaces/msg/Time'](stamp // 10 ** 9, stamp % 10 ** 9)
    return bytes(store.serialize_cdr(types[POSE](
        types['std_msgs/msg/Header'](time, 'map'),
        types['geometry_msgs/msg/Pose'](
            types['geometry_msgs/msg/Point'](x, 2.0, 3.0),
            types['geometry_msgs/msg/Quaternion'](0.0, 0.0, 0.0, 1.0))), POSE))


@pytest.fixture(scope='module')
def store():
    return standard_store()


@pytest.fixture
def bag(tmp_path, store):
    """A closed recording of two topics, 50 messages each, in turn."""
    with RecordingWriter(tmp_path / 'bag') as writer:
        writer.add_topic('/a', POSE)
        writer.add_topic('/b', POSE)
        for index in range(50):
            writer.write('/a', pose(store, float(index)), 1000 + 20 * index)
            writer.write('/b', pose(store, -float(index)), 1010 + 20 * index)
            if index % 10 == 9:
                writer.flush()
    assert writer.written == {'/a': 50, '/b': 50}
    assert not writer.lost and not writer.errors
    return tmp_path / 'bag'


def xs(recording, topic):
    return [m.message.pose.position.x for m in recording.messages([topic])]


@pytest.mark.parametrize('storage', ['mcap', 'sqlite3'])
def test_written_bytes_come_back_in_time_order(tmp_path, store, storage):
    sent = [('/a', 5, pose(store, 1.0)), ('/b', 3, pose(store, 2.0)), ('/a', 9, pose(store, 3.0))]
    with RecordingWriter(tmp_path / 'bag', storage) as writer:
        writer.add_topic('/a', POSE)
        writer.add_topic('/b', POSE)
        for topic, time, data in sent:
            assert writer.write(topic, data, time)
    with Recording(tmp_path / 'bag') as recording:
        raw = list(recording.raw_messages())
    assert [(m.topic, m.log_time, m.data) for m in raw] == sorted(sent, key=lambda m: m[1])
    assert (recording.start, recording.end) == (3, 10)
    assert not recording.notes


def test_recording_is_read_by_rosbags_itself(bag):
    with AnyReader([bag]) as reader:
        found = [(c.topic, c.msgtype, reader.deserialize(raw, c.msgtype).pose.position.x)
                 for c, _, raw in reader.messages()]
    assert len(found) == 100
    assert found[:3] == [('/a', POSE, 0.0), ('/b', POSE, 0.0), ('/a', POSE, 1.0)]


def test_topics_are_listed_with_type_and_count(bag):
    with Recording(bag) as recording:
        assert [(t.name, t.type_name, t.count) for t in recording.topics] == [
            ('/a', POSE, 50), ('/b', POSE, 50)]
        assert recording.type_of('/b') == POSE
        assert recording.type_of('/c') is None
        assert list(recording.messages([])) == []


@needs_messages
def test_own_messages_need_no_installation_to_be_read(tmp_path, store, monkeypatch):
    types = store.types
    header = types['std_msgs/msg/Header'](types['builtin_interfaces/msg/Time'](1, 2), 'array')
    channel = types['nf_isac_msgs/msg/UserChannel'](
        header, 'u1', 'layout', 1, np.array([3.0, -4.0], np.float32), np.nan)
    message = types[CHANNELS](header, [channel])
    with RecordingWriter(tmp_path / 'bag') as writer:
        writer.add_topic('/channels', CHANNELS)
        writer.write('/channels', bytes(store.serialize_cdr(message, CHANNELS)), 1)
    monkeypatch.setenv('AMENT_PREFIX_PATH', '')
    with Recording(tmp_path / 'bag') as recording:
        (found,) = recording.messages()
    read, = found.message.channels
    assert (read.id, read.n_elements) == ('u1', 1)
    np.testing.assert_array_equal(read.channel, [3.0, -4.0])
    assert np.isnan(read.min_sinr_db)


def test_folder_without_metadata_is_read(bag):
    (bag / 'metadata.yaml').unlink()
    with Recording(bag) as recording:
        assert xs(recording, '/a') == [float(i) for i in range(50)]
        assert 'metadata' in recording.notes[0]


@pytest.mark.parametrize('storage', ['mcap', 'sqlite3'])
def test_single_file_is_read(tmp_path, store, storage):
    with RecordingWriter(tmp_path / 'bag', storage) as writer:
        writer.add_topic('/a', POSE)
        writer.write('/a', pose(store, 4.0), 1)
    (file,) = (p for p in (tmp_path / 'bag').iterdir() if p.name != 'metadata.yaml')
    with Recording(file) as recording:
        assert xs(recording, '/a') == [4.0]


@pytest.mark.parametrize('keep', [0.3, 0.55, 0.8])
def test_torn_file_is_read_as_far_as_it_goes(bag, keep):
    file = bag / 'bag.mcap'
    os.truncate(file, int(keep * file.stat().st_size))
    with Recording(bag) as recording:
        found = xs(recording, '/a')
        assert found == [float(i) for i in range(len(found))]
        assert 0 < len(found) <= 50
        assert recording.topics[0].count == len(found)
        assert any('torn' in note for note in recording.notes)


def mcap(path, store, xs, write=None, **options):
    """Write poses on /a into an MCAP file, in small chunks."""
    definition, _ = store.generate_msgdef(POSE, ros_version=2)
    with path.open('wb') as stream:
        writer = McapWriter(stream, **{'chunk_size': 500, **options})
        writer.start('ros2', 'test')
        if write is not None:
            write(writer)
        schema = writer.register_schema(POSE, 'ros2msg', definition.encode())
        channels = [writer.register_channel('/a', 'cdr', schema) for _ in range(2)]
        for k, x in enumerate(xs):
            writer.add_message(channels[k % 2], 10 * k, pose(store, x), 10 * k)
        writer.finish()
    return path


def test_all_channels_of_a_topic_are_read(tmp_path, store):
    with Recording(mcap(tmp_path / 'two.mcap', store, np.arange(20.0))) as recording:
        assert xs(recording, '/a') == list(range(20))
        assert [(topic.name, topic.count) for topic in recording.topics] == [('/a', 20)]
        assert not recording.notes


def test_chunks_that_overlap_in_time_are_put_in_order(tmp_path, store):
    def late(writer):
        schema = writer.register_schema('std_msgs/msg/UInt8', 'ros2msg', b'uint8 data')
        channel = writer.register_channel('/b', 'cdr', schema)
        for k in (195, 3, 77):
            writer.add_message(channel, k, bytes([0, 1, 0, 0, k]), k)
    with Recording(mcap(tmp_path / 'mixed.mcap', store, np.arange(20.0), late)) as recording:
        times = [message.log_time for message in recording.raw_messages()]
        assert len(times) == 23 and times == sorted(times)


@pytest.mark.parametrize('compression', list(CompressionType), ids=lambda each: each.name)
def test_chunk_cut_off_gives_what_is_before_the_cut(tmp_path, store, compression):
    path = mcap(tmp_path / 'cut.mcap', store, np.random.default_rng(1).standard_normal(3000),
                chunk_size=2 ** 20, compression=compression)
    with Recording(path) as recording:
        whole = xs(recording, '/a')
    with path.open('rb') as stream:
        chunk, = make_reader(stream).get_summary().chunk_indexes
    os.truncate(path, chunk.chunk_start_offset + int(0.9 * chunk.chunk_length))
    with Recording(path) as recording:
        found = xs(recording, '/a')
        assert 500 < len(found) < 3000 and found == whole[:len(found)]
        assert recording.notes == [f'cut.mcap: torn, {len(found)} messages recovered']


@pytest.mark.parametrize('torn', [False, True], ids=['whole', 'torn'])
def test_damaged_chunk_costs_no_other_one(tmp_path, store, torn):
    path = mcap(tmp_path / 'bad.mcap', store, np.arange(40.0), compression=CompressionType.NONE)
    content = bytearray(path.read_bytes())
    at = content.index(struct.pack('<d', 17.0))
    content[at] ^= 0xff
    path.write_bytes(content[:content.index(struct.pack('<d', 35.0))] if torn else content)
    with Recording(path) as recording:
        found = xs(recording, '/a')
        assert 17.0 not in found and len(found) >= 30
        assert set(found) <= set(range(40)) and found == sorted(found)
        assert 'bad.mcap: 1 damaged chunks left out' in recording.notes


def test_channels_of_other_systems_are_passed_over(tmp_path, store):
    def others(writer):
        schema = writer.register_schema('foxglove.Log', 'protobuf', b'\x00\xff')
        for channel in (writer.register_channel('/log', 'protobuf', schema),
                        writer.register_channel('/note', 'json', 0)):
            writer.add_message(channel, 1, b'{}', 1)
    with Recording(mcap(tmp_path / 'mixed.mcap', store, [1.0, 2.0], others)) as recording:
        assert [topic.name for topic in recording.topics] == ['/a']
        assert xs(recording, '/a') == [1.0, 2.0]
        assert not recording.notes


@pytest.mark.parametrize('damage', ['short', 'hole'])
def test_database_with_missing_pages_gives_the_others(tmp_path, store, damage):
    with RecordingWriter(tmp_path / 'bag', 'sqlite3') as writer:
        writer.add_topic('/a', POSE)
        for k in range(1000):
            writer.write('/a', pose(store, float(k)), k)
    file, = (tmp_path / 'bag').glob('*.db3')
    content = bytearray(file.read_bytes())
    middle = len(content) // 2
    if damage == 'short':
        del content[middle:]
    else:
        content[middle:middle + 8192] = bytes(8192)
    file.write_bytes(content)
    with Recording(tmp_path / 'bag') as recording:
        found = xs(recording, '/a')
        assert found == sorted(set(found)) and set(found) <= set(range(1000))
        assert len(found) > (300 if damage == 'short' else 900)
        assert any('damaged' in note for note in recording.notes)
        assert recording.topics[0].count == len(found)


KILLED = '''
import sys, time
from pathlib import Path
from nf_isac_ros.recording.writer import RecordingWriter
writer = RecordingWriter(Path(sys.argv[1]))
writer.add_topic('/a', 'std_msgs/msg/UInt8')
for i in range(100):
    writer.write('/a', bytes([0, 1, 0, 0, i]), i)
writer.flush()
writer.write('/a', bytes([0, 1, 0, 0, 100]), 100)
print('flushed', flush=True)
time.sleep(60)
'''


def test_recorder_killed_after_a_flush_leaves_all_that_was_flushed(tmp_path):
    process = subprocess.Popen([sys.executable, '-c', KILLED, str(tmp_path / 'bag')],
                               stdout=subprocess.PIPE)
    try:
        assert process.stdout.readline() == b'flushed\n'
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait(10)
    with Recording(tmp_path / 'bag') as recording:
        assert [m.message.data for m in recording.messages()] == list(range(100))


@pytest.fixture
def file_limit():
    """Let the test limit the size of files, as a full disk does; lifted at the end."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    yield lambda size: resource.setrlimit(
        resource.RLIMIT_FSIZE, (soft if size is None else size, hard))
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    signal.signal(signal.SIGXFSZ, handler)


def test_full_disk_is_counted_and_writing_goes_on_when_there_is_room(
        tmp_path, store, file_limit):
    with RecordingWriter(tmp_path / 'bag') as writer:
        writer.add_topic('/a', POSE)
        writer.write('/a', pose(store, 0.0), 0)
        assert writer.flush()
        file_limit((tmp_path / 'bag' / 'bag.mcap').stat().st_size + 100)
        writer.write('/a', pose(store, 1.0), 1)
        assert not writer.flush()
        assert writer.errors == {'disk-full': 1}
        assert writer.behind
        assert writer.last_error
        file_limit(None)
        assert writer.flush()
        assert not writer.behind
        writer.write('/a', pose(store, 2.0), 2)
    with Recording(tmp_path / 'bag') as recording:
        assert xs(recording, '/a') == [0.0, 1.0, 2.0]
        assert not recording.notes
    assert not writer.lost


def test_full_disk_bounds_what_is_kept_in_memory(tmp_path, file_limit):
    big = bytes([0, 1, 0, 0]) + (2 ** 20).to_bytes(4, 'little') + bytes(2 ** 20)
    with RecordingWriter(tmp_path / 'bag') as writer:
        writer.add_topic('/a', 'std_msgs/msg/UInt8MultiArray')
        file_limit(10)
        taken = sum(writer.write('/a', big, i) for i in range(40))
        assert taken < 40
        assert taken * len(big) < PENDING_LIMIT + 3 * len(big)
        assert writer.lost['/a'] == 40 - taken
        file_limit(None)
        assert writer.write('/a', big, 50)
    with Recording(tmp_path / 'bag') as recording:
        assert len(list(recording.raw_messages())) == taken + 1
        assert not recording.notes


def test_closing_on_a_full_disk_leaves_what_was_flushed(tmp_path, store, file_limit):
    writer = RecordingWriter(tmp_path / 'bag')
    writer.add_topic('/a', POSE)
    writer.write('/a', pose(store, 7.0), 0)
    assert writer.flush()
    file_limit((tmp_path / 'bag' / 'bag.mcap').stat().st_size)
    writer.close()
    writer.close()
    file_limit(None)
    assert writer.errors['disk-full'] >= 1
    assert not writer.write('/a', pose(store, 8.0), 1)
    with Recording(tmp_path / 'bag') as recording:
        assert xs(recording, '/a') == [7.0]


def test_failed_commit_leaves_the_file_as_it_was(tmp_path, file_limit):
    path = tmp_path / 'file'
    file = PatientFile(open(path, 'wb'))
    file.write(b'abc')
    file.commit()
    file_limit(5)
    file.write(b'defgh')
    with pytest.raises(OSError):
        file.commit()
    assert path.read_bytes() == b'abc'
    assert file.tell() == 8
    file_limit(None)
    file.close()
    assert path.read_bytes() == b'abcdefgh'


def test_damaged_messages_are_skipped_and_counted(tmp_path, store):
    with RecordingWriter(tmp_path / 'bag') as writer:
        writer.add_topic('/a', POSE)
        writer.write('/a', pose(store, 1.0), 1)
        writer.write('/a', pose(store, 2.0)[:20], 2)
        writer.write('/a', pose(store, 3.0), 3)
    with Recording(tmp_path / 'bag') as recording:
        assert xs(recording, '/a') == [1.0, 3.0]
        assert recording.skipped == {POSE: 1}


@pytest.mark.parametrize('definition', ['', 'alien_msgs/Gun gun', '~~~'],
                         ids=['none', 'incomplete', 'nonsense'])
def test_unknown_type_in_a_recording_is_skipped_and_counted(tmp_path, store, definition):
    with Writer(tmp_path / 'bag', version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        alien = writer.add_connection(
            '/x', 'alien_msgs/msg/Ray', msgdef=definition, rihs01='RIHS01_0')
        known = writer.add_connection('/a', POSE, typestore=store)
        writer.write(alien, 1, b'\0\1\0\0')
        writer.write(known, 2, pose(store, 5.0))
    with Recording(tmp_path / 'bag') as recording:
        assert [m.topic for m in recording.messages()] == ['/a']
        assert recording.skipped == {'alien_msgs/msg/Ray': 1}


@pytest.mark.parametrize('make', [
    lambda path: None,
    lambda path: path.mkdir(),
    lambda path: path.write_bytes(b''),
    lambda path: (path.mkdir(), (path / 'a.mcap').write_bytes(b'nonsense')),
], ids=['missing', 'empty folder', 'empty file', 'nonsense'])
def test_unreadable_recording_is_named(tmp_path, make):
    make(tmp_path / 'thing.mcap')
    with pytest.raises(RecordingError, match=r'thing\.mcap'):
        Recording(tmp_path / 'thing.mcap')


def test_writer_names_what_is_wrong(tmp_path):
    (tmp_path / 'there').mkdir()
    with pytest.raises(RecordingError, match='there'):
        RecordingWriter(tmp_path / 'there')
    with pytest.raises(RecordingError, match='storage'):
        RecordingWriter(tmp_path / 'bag', 'tape')
    with RecordingWriter(tmp_path / 'bag') as writer:
        with pytest.raises(RecordingError, match='alien_msgs/msg/Ray'):
            writer.add_topic('/x', 'alien_msgs/msg/Ray')
        writer.add_topic('/a', POSE)
        with pytest.raises(RecordingError, match='/a'):
            writer.add_topic('/a', POSE)


@pytest.mark.skipif(not SHARED.is_dir(), reason='../shared/data/recordings is not there')
def test_real_recording_is_read():
    with Recording(SHARED / 'citr_bidirection_normal_driving_01') as recording:
        assert len(recording.topics) == 9
        messages = list(recording.messages(['/citr/vehicle/odom']))
    assert len(messages) == 345
    assert messages[0].message.pose.pose.position.x == pytest.approx(34.6, abs=0.05)
    assert all(a.log_time < b.log_time for a, b in zip(messages, messages[1:], strict=False))


def test_recording_package_needs_no_ros():
    code = ('import sys, nf_isac_ros.recording.reader, nf_isac_ros.recording.writer; '
            'sys.exit("rclpy" in sys.modules)')
    assert subprocess.run([sys.executable, '-c', code], check=False).returncode == 0
