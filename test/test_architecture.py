"""The arrows of docs/architecture.md; import-linter checks the rest of them in `make lint`."""

import subprocess
import sys

ROS = ('rclpy', 'nf_isac_msgs', 'geometry_msgs', 'matplotlib', 'rosbags', 'cvxpy', 'rich')


def modules_after(statement: str) -> set[str]:
    code = f'import sys\n{statement}\nprint(" ".join(sorted(sys.modules)))'
    out = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
    return set(out.stdout.split())


def test_a_design_needs_no_ros():
    loaded = modules_after(
        'import nf_isac_ros.core.cycle, nf_isac_ros.core.tracking, nf_isac_ros.core.beampattern')
    assert 'nf_isac_ros.core.cycle' in loaded
    assert not loaded.intersection(ROS)


def test_the_command_line_starts_without_ros_and_solvers():
    loaded = modules_after('import nf_isac_ros.cli\n'
                           'try:\n    nf_isac_ros.cli.main(["--version"])\n'
                           'except SystemExit:\n    pass')
    assert not loaded.intersection((*ROS, 'clarabel', 'scipy'))
