from __future__ import annotations

from pathlib import Path
import socket
import subprocess
import sys
import tempfile

import pytest

from nf_isac_ros import cli
from nf_isac_ros.demo.graph import (
    DEFAULT_SCENARIO,
    LIFECYCLE_NODES,
    Cut,
    Source,
    environment,
    parse_cut,
    parse_setting,
    programs,
    reserved_domain,
)

pytest.importorskip('ament_index_python')


@pytest.fixture
def bag(tmp_path) -> Path:
    folder = tmp_path / 'my_walk'
    folder.mkdir()
    return folder


def error_of(arguments: list[str], capsys, tmp_path) -> str:
    """Return the one line that a wrong command line gives."""
    code = cli.main(['demo', '--out', str(tmp_path / 'out'), *arguments])
    captured = capsys.readouterr()
    assert code == 2
    assert captured.out == ''
    assert not (tmp_path / 'out').exists()
    line, = captured.err.splitlines()
    assert line.startswith('nf-isac demo: ')
    return line


@pytest.mark.parametrize(('arguments', 'expected'), [
    (['--scenario', 'nope'], ["'nope'", DEFAULT_SCENARIO]),
    (['--bag', '/no/such/bag'], ['no recording /no/such/bag']),
    (['--config', '/no/such/file.yaml'], ['/no/such/file.yaml']),
    (['--cut', '/a:1:2'], ['--cut needs --bag']),
    (['--rate', '2'], ['--rate needs --bag']),
    (['--rate', '0'], ['--rate 0', 'above 0']),
    (['--repeat'], ['--repeat needs --bag']),
    (['--duration', '1'], ['--duration 1', 'at least 2 s']),
    (['--duration', 'nan'], ['--duration nan']),
    (['--duration', 'inf'], ['--duration inf']),
    (['--set', 'beamformer.rate_hz'], ['node.parameter=value']),
    (['--set', 'ghost.rate_hz=3'], ["'ghost'", 'beamformer']),
], ids=lambda value: '_'.join(value) if isinstance(value, list) else None)
def test_a_wrong_command_line_gives_one_line(arguments, expected, capsys, tmp_path):
    line = error_of(arguments, capsys, tmp_path)
    for part in expected:
        assert part in line


def test_a_recording_without_shipped_configuration_says_so(bag, capsys, tmp_path):
    line = error_of(['--bag', str(bag)], capsys, tmp_path)
    assert "'my_walk'" in line
    assert '--config FILE' in line


@pytest.mark.parametrize('text', ['', '/a', '/a:1', '/a:x:1', '/a:1:0', '/a:-1:2', '/a:1:nan',
                                  'a:1:2', '/a:1:inf'])
def test_a_bad_cut_is_refused(text, bag, capsys, tmp_path):
    config = Path('config/scenarios/crossing.yaml').resolve()
    line = error_of(['--bag', str(bag), '--config', str(config), '--cut', text],
                    capsys, tmp_path)
    assert 'TOPIC:START:LENGTH' in line


def test_a_broken_deployment_file_is_said_before_anything_starts(capsys, tmp_path):
    config = tmp_path / 'broken.yaml'
    config.write_text('world_frame: map\nsurprise: 3\n')
    line = error_of(['--config', str(config)], capsys, tmp_path)
    assert 'broken.yaml' in line


def test_a_setting_for_a_node_that_is_not_started_is_refused(capsys, tmp_path):
    assert cli.main(['demo', '--out', str(tmp_path), '--set', 'bag_player.rate=2.0']) == 2
    assert 'bag_player is not part of this demo' in capsys.readouterr().err


def test_scenario_and_bag_exclude_each_other(bag, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(['demo', '--scenario', 'crossing', '--bag', str(bag)])
    assert ended.value.code == 2
    assert 'not allowed with' in capsys.readouterr().err


def test_help_needs_neither_ros_nor_numpy():
    code = ('import sys; from nf_isac_ros import cli\n'
            'try: cli.main(["demo", "--help"])\n'
            'except SystemExit: pass\n'
            'print(sorted({"rclpy", "numpy", "rich", "rosbags"} & set(sys.modules)))')
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True,
                          check=True, timeout=60)
    assert done.stdout.splitlines()[-1] == '[]'


def test_a_cut_is_read_and_written():
    cut = parse_cut('/vicon/robot4/pose:5:0.5')
    assert cut == Cut('/vicon/robot4/pose', 5.0, 0.5)
    assert parse_cut(str(cut)) == cut


def test_a_setting_may_hold_dots_and_equal_signs():
    assert parse_setting('beamformer.a.b=c=d') == ('beamformer', 'a.b', 'c=d')


def test_each_node_is_started_with_parameter_file_and_deployment(tmp_path):
    started = {program.name: program.command for program in programs(
        Source(Path('/there/x.yaml'), scenario='x', seed=7), tmp_path / 'recording',
        (('beamformer', 'rate_hz', '9.0'),))}
    assert set(started) == {'scenario', *LIFECYCLE_NODES, 'markers', 'bag_recorder'}
    for name, command in started.items():
        assert Path(command[0]).name == name
        assert Path(command[command.index('--params-file') + 1]).name == 'nf_isac.yaml'
    assert 'deployment_file:="/there/x.yaml"' in started['beamformer']
    assert started['beamformer'][-2:] == ('-p', 'rate_hz:=9.0')
    assert 'seed:=7' in started['scenario']
    assert f'output:="{tmp_path / "recording"}"' in started['bag_recorder']


def test_a_recording_is_played_instead_of_a_scenario(tmp_path):
    started = {program.name: program.command for program in programs(
        Source(Path('/x.yaml'), bag=Path('/b'), cuts=(Cut('/a', 1.0, 0.5),), rate=2.0),
        tmp_path)}
    assert 'scenario' not in started
    assert {'bag:="/b"', 'rate:=2.0', 'cut:=["/a:1:0.5"]'} <= set(started['bag_player'])


@pytest.mark.parametrize(('asked', 'rate'), [(50.0, 10.0), (4.0, 4.0)])
def test_a_closed_loop_along_a_recording_is_no_faster_than_two_cores_are(tmp_path, asked, rate):
    started = {program.name: ' '.join(program.command) for program in programs(
        Source(Path('/x.yaml'), bag=Path('/b'), loop='closed'), tmp_path, rate=asked)}
    assert f'echo_rate_hz:={rate}' in started['radio_driver']
    assert 'target_topics:=false' in started['beamformer']
    assert ('rate_hz:=10.0' in started['beamformer']) == (asked > rate)


def test_a_domain_of_the_user_is_kept():
    kept = environment({'ROS_DOMAIN_ID': '5', 'ROS_AUTOMATIC_DISCOVERY_RANGE': 'SUBNET'}, 7)
    assert not {'ROS_DOMAIN_ID', 'ROS_AUTOMATIC_DISCOVERY_RANGE'} & set(kept)
    own = environment({}, 7)
    assert own['ROS_DOMAIN_ID'] == '7'
    assert own['ROS_AUTOMATIC_DISCOVERY_RANGE'] == 'LOCALHOST'
    assert own['OPENBLAS_NUM_THREADS'] == '1'


@pytest.fixture
def own_locks(monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, 'tempdir', str(tmp_path))


def test_two_at_a_time_get_different_domains(own_locks):
    with reserved_domain() as first, reserved_domain() as second:
        assert first != second
    assert {first, second} <= set(range(1, 102))


def test_a_domain_in_use_is_not_chosen(own_locks):
    with reserved_domain() as first:
        pass
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(('', 7410 + 250 * first))
        with reserved_domain() as other:
            assert other != first
