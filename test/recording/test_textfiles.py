"""Trajectories in text files: what people write is understood, what is wrong is counted."""

import pytest

from nf_isac_ros.recording.exceptions import RecordingError
from nf_isac_ros.recording.textfiles import TextFile


def read(tmp_path, name, text):
    path = tmp_path / name
    path.write_text(text, encoding='utf-8')
    file = TextFile(path)
    return list(file.poses()), file.rejected


def test_tum_lines_are_time_place_and_quaternion(tmp_path):
    poses, rejected = read(
        tmp_path, 'robot1.tum',
        '# time x y z qx qy qz qw\n1.5 1 2 3 0 0 0.6 0.8\n\n2.5 4 5 6 0 0 0 1\n')
    assert [pose.stamp for pose in poses] == [1.5, 2.5]
    assert poses[0].body == 'robot1'
    assert poses[0].position == (1.0, 2.0, 3.0)
    assert poses[0].orientation == (0.0, 0.0, 0.6, 0.8)
    assert not rejected


def test_bad_lines_are_counted_and_the_rest_is_read(tmp_path):
    poses, rejected = read(tmp_path, 'a.txt', '1 0 0 0\nx y\n2 0 0\n3 0 0 0 1\n4 nan 0 0\n5 1 1 1')
    assert [pose.stamp for pose in poses] == [1.0, 5.0]
    assert poses[0].orientation is None
    assert rejected == {'bad-line': 3, 'not-finite': 1}


@pytest.mark.parametrize('header, line', [
    ('time_s,x_m,y_m,z_m', '1.25,1,2,3'),
    ('y,x,stamp_s,z', '2,1,1.25,3'),
    ('#timestamp [ns],p_RS_R_x [m],p_RS_R_y [m],p_RS_R_z [m],q_RS_w [],q_RS_x [],q_RS_y [],'
     'q_RS_z []', '1250000000,1,2,3,1,0,0,0'),
    ('Time, X, Y, Z, note', '1.25,1,2,3,hello'),
], ids=['own', 'any order', 'EuRoC', 'spaces and more'])
def test_csv_columns_are_found_by_name(tmp_path, header, line):
    (pose,), rejected = read(tmp_path, 'b.csv', f'{header}\n{line}\n')
    assert (pose.body, pose.stamp, pose.position) == ('b', 1.25, (1.0, 2.0, 3.0))
    assert pose.orientation in (None, (0.0, 0.0, 0.0, 1.0))
    assert not rejected


@pytest.mark.parametrize('stamp', ['1403636580.5', '1403636580500', '1403636580500000',
                                   '1403636580500000000'], ids=['s', 'ms', 'us', 'ns'])
def test_a_time_without_unit_is_since_1970(tmp_path, stamp):
    # As in the ground truth of EuRoC, whose header has no unit for its nanoseconds.
    found, rejected = read(tmp_path, 'data.csv', '#timestamp, p_RS_R_x [m], p_RS_R_y [m]\n'
                           f'{stamp},1.5,2\n{stamp},3,4\n')
    assert [pose.stamp for pose in found] == pytest.approx([1403636580.5] * 2, abs=1e-6)
    assert found[0].position == (1.5, 2.0, 0.0) and not rejected


@pytest.mark.parametrize('text', [
    'time_s;x_m;y_m\n0,5;1,25;-2\n', 'time_s\tx_m\ty_m\n0.5\t1.25\t-2',
], ids=['semicolons', 'tabs'])
def test_other_separators_are_understood(tmp_path, text):
    (pose,), rejected = read(tmp_path, 'data.csv', text)
    assert (pose.stamp, pose.position) == (0.5, (1.25, -2.0, 0.0)) and not rejected


def test_csv_may_hold_several_bodies_and_no_height(tmp_path):
    poses, rejected = read(tmp_path, 'all.csv',
                           '\ufefftime_s,id,x_m,y_m\n1,u1,0,1\n1,t1,2,3\n2,u1,,\n2,t1\n')
    assert [(pose.body, pose.position) for pose in poses] == [
        ('u1', (0.0, 1.0, 0.0)), ('t1', (2.0, 3.0, 0.0))]
    assert rejected == {'bad-line': 2}


@pytest.mark.parametrize('header', ['a,b,c', 'time_s,x_m', 'time_s,x_m,y_m,qx,qw', ''])
def test_missing_columns_are_named(tmp_path, header):
    with pytest.raises(RecordingError, match='must have time_s') as error:
        read(tmp_path, 'c.csv', header + '\n')
    assert 'c.csv' in str(error.value)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(RecordingError, match='nowhere.tum'):
        TextFile(tmp_path / 'nowhere.tum')
