"""Recordings of all kinds, whole and damaged: the same poses come out, faults are said."""

from pathlib import Path

import numpy as np
import pytest
import replay_data as data
from rosbags.rosbag1 import Writer as Ros1Writer
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from nf_isac_ros.files.deployment import load_deployment
from nf_isac_ros.recording.exceptions import RecordingError
from nf_isac_ros.recording.writer import RecordingWriter
from nf_isac_ros.replay.errors import ReplayError
from nf_isac_ros.replay.inputs import Counts, open_inputs

START = data.START * 1e-9


@pytest.fixture
def deployment(tmp_path):
    return load_deployment(data.deployment_file(tmp_path))


def read(deployment, *paths):
    opened, = open_inputs(paths, deployment)
    counts = Counts()
    events = list(opened.events(counts))
    opened.close()
    return events, counts


def stamps(events, body):
    return np.array([pose.stamp for event in events for pose in event.poses if pose.id == body])


def ros1_bag(path):
    store = get_typestore(Stores.ROS1_NOETIC)
    types = store.types
    with Ros1Writer(path) as writer:
        links = {body: writer.add_connection(f'/{body}/pose', data.POSE, typestore=store)
                 for body in ('u1', 't1')}
        for k in range(100):
            stamp = data.START + k * data.PERIOD
            for body, link in links.items():
                message = types[data.POSE](
                    types['std_msgs/msg/Header'](k, types['builtin_interfaces/msg/Time'](
                        stamp // 10 ** 9, stamp % 10 ** 9), '/map'),
                    types['geometry_msgs/msg/Pose'](
                        types['geometry_msgs/msg/Point'](*data.place(body, k * 0.02)),
                        types['geometry_msgs/msg/Quaternion'](0.0, 0.0, 0.0, 1.0)))
                writer.write(link, stamp + 1_000_000, store.serialize_ros1(message, data.POSE))
    return path


def compressed_bag(path, mode, storage=StoragePlugin.SQLITE3):
    writer = Writer(path, version=9, storage_plugin=storage)
    if mode is not None:
        writer.set_compression(mode, CompressionFormat.ZSTD)
    with writer:
        links = {f'/{body}/pose': writer.add_connection(
            f'/{body}/pose', data.POSE, typestore=data.STORE) for body in ('u1', 't1')}
        for topic, time, raw in data.entries():
            writer.write(links[topic], time, raw)
    return path


def tum_files(folder):
    folder.mkdir()
    for body in ('u1', 't1'):
        lines = []
        for k in range(100):
            x, y, z = data.place(body, k * 0.02)
            lines.append(f'{START + k * 0.02:.6f} {x!r} {y!r} {z!r} 0 0 0 1\n')
        (folder / f'{body}.tum').write_text(''.join(lines))
    return folder


@pytest.mark.parametrize('make', [
    lambda folder: data.small_bag(folder),
    lambda folder: data.write_bag(folder / 'b', data.entries(), 'sqlite3'),
    lambda folder: compressed_bag(folder / 'b', CompressionMode.FILE),
    lambda folder: compressed_bag(folder / 'b', CompressionMode.MESSAGE),
    lambda folder: compressed_bag(folder / 'b', None, StoragePlugin.MCAP),
    lambda folder: ros1_bag(folder / 'b.bag'),
    lambda folder: tum_files(folder / 'tum'),
], ids=['mcap', 'sqlite3', 'zstd file', 'zstd message', 'rosbags mcap', 'rosbag1', 'tum'])
def test_the_same_poses_come_from_every_kind_of_recording(tmp_path, deployment, make):
    events, counts = read(deployment, make(tmp_path))
    assert counts.poses == 200 and not counts.rejected and not counts.notes
    for body in ('u1', 't1'):
        assert np.allclose(stamps(events, body), START + 0.02 * np.arange(100), atol=1e-6)
    last = [pose for event in events for pose in event.poses if pose.id == 'u1'][-1]
    assert np.allclose(last.position, data.place('u1', 1.98))
    assert all(a.time <= b.time for a, b in zip(events, events[1:]))


def test_a_torn_file_gives_what_is_before_the_tear(tmp_path, deployment):
    bag = data.small_bag(tmp_path)
    file, = bag.glob('*.mcap')
    file.write_bytes(file.read_bytes()[:file.stat().st_size * 6 // 10])
    events, counts = read(deployment, bag)
    assert 60 <= counts.poses < 200
    assert any('torn' in note for note in counts.notes)
    assert np.allclose(stamps(events, 'u1')[:30], START + 0.02 * np.arange(30), atol=1e-6)


@pytest.mark.parametrize('storage', ['mcap', 'sqlite3'])
def test_metadata_is_not_needed(tmp_path, deployment, storage):
    bag = data.write_bag(tmp_path / 'b', data.entries(), storage)
    (bag / 'metadata.yaml').unlink()
    _, counts = read(deployment, bag)
    assert counts.poses == 200
    assert any('file by file' in note for note in counts.notes)


def test_poses_in_another_frame_are_counted_and_shown(tmp_path, deployment):
    found = data.entries(1.0) + data.entries(1.0, frame='odom', begin=1.0)
    _, counts = read(deployment, data.write_bag(tmp_path / 'b', found))
    assert counts.poses == 100
    assert counts.rejected == {'unknown-frame': 100}
    assert 'odom' in counts.examples['unknown-frame']


def test_topics_without_a_message_are_named(tmp_path, deployment):
    with RecordingWriter(tmp_path / 'b') as writer:
        for topic in ('/u1/pose', '/t1/pose'):
            writer.add_topic(topic, data.POSE)
        for topic, time, raw in data.entries(1.0):
            assert topic != '/t1/pose' or writer.write(topic, raw, time)
    _, counts = read(deployment, tmp_path / 'b')
    assert counts.poses == 50 and not counts.rejected
    assert counts.notes == ["topic /u1/pose of user 'u1' is empty"]


def test_bytes_that_are_no_message_are_counted(tmp_path, deployment):
    found = data.entries(1.0)
    found[10] = (found[10][0], found[10][1], found[10][2][:20])
    _, counts = read(deployment, data.write_bag(tmp_path / 'b', found))
    assert counts.poses == 99 and counts.rejected == {'undecodable': 1}


@pytest.mark.parametrize('hours', [-24.0, 30.0])
def test_stamps_of_another_clock_are_taken_over(tmp_path, deployment, hours):
    lag = round(hours * 3600e9)
    events, counts = read(deployment, data.write_bag(tmp_path / 'b', data.entries(lag=lag)))
    assert any('another clock' in note for note in counts.notes)
    assert events[0].time == pytest.approx(START, abs=0.1)


def test_times_of_recording_without_meaning_are_passed_over(tmp_path, deployment):
    # A converter wrote everything within a millisecond.
    found = [(topic, data.START + k, raw) for k, (topic, _, raw) in enumerate(data.entries(5.0))]
    events, counts = read(deployment, data.write_bag(tmp_path / 'b', found))
    assert any('do not go with the stamps' in note for note in counts.notes)
    assert events[-1].time - events[0].time == pytest.approx(4.98, abs=1e-3)


def test_topics_are_found_in_a_namespace_and_with_another_type(tmp_path, deployment):
    found = [(f'/robots{topic}', time, raw) for topic, time, raw in data.entries(1.0)]
    _, counts = read(deployment, data.write_bag(tmp_path / 'b', found))
    assert counts.poses == 100


def test_a_recording_without_poses_says_in_one_line_what_it_has(tmp_path, deployment):
    found = [('/other/pose', time, raw) for _, time, raw in data.entries(0.2)]
    bag = data.write_bag(tmp_path / 'b', found)
    opened, = open_inputs([bag], deployment)
    counts = Counts()
    assert list(opened.events(counts)) == []
    line = opened.without_pose(counts)
    assert '/other/pose (geometry_msgs/msg/PoseStamped, 20)' in line and '\n' not in line
    opened.close()


def test_unknown_bodies_of_text_files_are_named(tmp_path, deployment):
    (tmp_path / 'ghost.tum').write_text('1 0 0 0\n')
    opened, = open_inputs([tmp_path / 'ghost.tum'], deployment)
    counts = Counts()
    assert list(opened.events(counts)) == []
    line = opened.without_pose(counts)
    assert "'ghost' is no body" in line and 'u1, t1' in line


def test_a_body_is_found_by_a_part_of_its_topic(tmp_path, deployment):
    (tmp_path / 'robot.csv').write_text('time_s,x_m,y_m\n1,0,2\n')
    text = data.DEPLOYMENT.replace('/u1/pose', '/mocap/robot/pose')
    events, counts = read(load_deployment(data.deployment_file(tmp_path, text)),
                          tmp_path / 'robot.csv')
    assert counts.poses == 1 and events[0].poses[0].id == 'u1'


@pytest.mark.parametrize('paths, words', [
    (['nothing'], 'nothing does not exist'),
    (['bag', 'bag'], 'must be different'),
    (['deployment.yaml'], 'cannot be read'),
])
def test_recordings_that_cannot_be_are_named(tmp_path, deployment, paths, words):
    data.small_bag(tmp_path)
    with pytest.raises((RecordingError, ReplayError), match=words):
        open_inputs([tmp_path / path for path in paths], deployment)


def test_several_recordings_have_names_of_their_own(tmp_path, deployment):
    (tmp_path / 'other').mkdir()
    paths = [data.small_bag(tmp_path), data.small_bag(tmp_path / 'other')]
    assert [each.name for each in open_inputs(paths, deployment)] == ['bag', 'bag (2)']


@pytest.mark.skipif(not data.HAS_MESSAGES, reason='nf_isac_msgs is not built and sourced')
def test_what_was_published_is_joined_by_sequence(tmp_path, deployment):
    opened, = open_inputs([data.full_bag(tmp_path)], deployment)
    recorded = list(opened.recorded(Counts()))
    assert len(recorded) == 30
    assert [each.bounds is None for each in recorded] == [k in (10, 11, 12) for k in range(30)]
    # A cycle began cycle_ms before its status.
    assert recorded[3].time == pytest.approx(START + 0.005 + 3 * 0.05, abs=1e-6)
    assert recorded[5].radio.users[0].sinr_db == 9.5
    opened.close()


@pytest.mark.skipif(not data.SHARED.is_dir(), reason=f'{data.SHARED} is absent')
@pytest.mark.parametrize('name, poses', [
    ('mrclam7_5robots_vicon', 50000), ('citr_bidirection_normal_driving_01', 1725)])
def test_shared_recordings_are_read(name, poses):
    config = Path(__file__).parents[2] / 'config' / 'recordings' / f'{name}.yaml'
    opened, = open_inputs([data.SHARED / name], load_deployment(config))
    counts = Counts()
    if name.startswith('citr'):
        assert len(list(opened.events(counts))) == poses
    else:
        assert opened.total > 40000
    assert not counts.rejected
    opened.close()
