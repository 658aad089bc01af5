"""Start everything: beamformer, radio, a source of poses, views and, if asked for, a recorder."""

from pathlib import Path

from ament_index_python.packages import get_package_share_directory
from launch.actions import (
    DeclareLaunchArgument,
    IncludeLaunchDescription,
    OpaqueFunction,
    SetLaunchConfiguration,
)
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration
import yaml

from launch import LaunchDescription

SHARE = Path(get_package_share_directory('nf_isac_ros'))

ARGUMENTS = [
    DeclareLaunchArgument(
        'namespace', default_value='',
        description='Namespace of all nodes and topics; empty: none'),
    DeclareLaunchArgument(
        'params_file', default_value=str(SHARE / 'config' / 'nf_isac.yaml'),
        description='ROS parameter file of all nodes, keyed by node name'),
    DeclareLaunchArgument(
        'scenario', default_value='crossing',
        description='Made-up scene to run: a file name in config/scenarios without .yaml; '
                    'not used with bag'),
    DeclareLaunchArgument(
        'bag', default_value='',
        description='Recording whose poses are played instead of a scenario: folder of a bag; '
                    'empty: the scenario'),
    DeclareLaunchArgument(
        'source', default_value='true', choices=['true', 'false'],
        description='Start a source of poses; false: they come from elsewhere, and deployment '
                    'says on which topics'),
    DeclareLaunchArgument(
        'deployment', default_value='',
        description='Deployment file (arrays, radio, design, bodies); empty: that of the '
                    'scenario, or config/recordings/<folder of the bag>.yaml'),
    DeclareLaunchArgument(
        'use_sim_time', default_value='false', choices=['true', 'false'],
        description='Follow /clock; with bag, the player then publishes it and keeps the stamps '
                    'of the recording'),
    DeclareLaunchArgument(
        'rviz', default_value='false', choices=['true', 'false'],
        description='Start rviz2'),
    DeclareLaunchArgument(
        'fixed_frame', default_value='',
        description='Fixed frame of rviz2; empty: the world frame of the deployment'),
    DeclareLaunchArgument(
        'record', default_value='',
        description='Folder to be made for an MCAP recording of all topics; empty: none'),
    DeclareLaunchArgument(
        'log_level', default_value='info', choices=['debug', 'info', 'warn', 'error', 'fatal'],
        description='Least severity that the nodes log'),
    DeclareLaunchArgument(
        'autostart', default_value='true', choices=['true', 'false'],
        description='Configure and activate the lifecycle nodes; false: they wait, muted, for '
                    'somebody who does'),
    DeclareLaunchArgument(
        'arm', default_value='true', choices=['true', 'false'],
        description='Arm the radio as soon as its driver is active, also after a restart; false: '
                    'it stays muted until somebody calls the service radio/arm'),
    DeclareLaunchArgument(
        'respawn', default_value='true', choices=['true', 'false'],
        description='Restart beamformer, radio driver, markers and scenario if they die; they '
                    'come up muted and, with autostart and arm, go on'),
]


def choose_deployment(context):
    """Find the deployment file that belongs to the scenario or the bag if none was given."""
    given, bag, scenario, source = (
        LaunchConfiguration(name).perform(context)
        for name in ('deployment', 'bag', 'scenario', 'source'))
    if given:
        path = Path(given).expanduser().resolve()
    elif source != 'true':
        raise RuntimeError('source:=false needs deployment:=FILE')
    elif bag:
        path = SHARE / 'config' / 'recordings' / f'{Path(bag).resolve().name}.yaml'
    else:
        path = SHARE / 'config' / 'scenarios' / f'{scenario}.yaml'
    if not path.is_file():
        beside = sorted(file.stem for file in path.parent.glob('*.yaml'))
        raise RuntimeError(
            f'deployment file {path} does not exist; give deployment:=FILE'
            + (f' or one of {", ".join(beside)}' if beside else ''))
    frame = LaunchConfiguration('fixed_frame').perform(context)
    if not frame:
        content = yaml.safe_load(path.read_text(encoding='utf-8'))
        # What is wrong with the file, the nodes say better.
        frame = content.get('world_frame', 'map') if isinstance(content, dict) else 'map'
    return [SetLaunchConfiguration('deployment', str(path)),
            SetLaunchConfiguration('fixed_frame', frame)]


def generate_launch_description():
    """Return the launch description of the whole graph."""
    def include(name, *handed_on, **arguments):
        arguments.update((key, LaunchConfiguration(key)) for key in handed_on)
        return IncludeLaunchDescription(
            PythonLaunchDescriptionSource(str(SHARE / 'launch' / 'includes' / name)),
            launch_arguments=arguments.items())

    common = ('namespace', 'params_file', 'deployment', 'use_sim_time', 'log_level')
    return LaunchDescription([
        *ARGUMENTS,
        OpaqueFunction(function=choose_deployment),
        # The first one: if rviz2 is not installed, nothing has been started yet.
        include('views.launch.py', *common, 'rviz', 'fixed_frame', 'respawn'),
        *(include('lifecycle_node.launch.py', *common, 'autostart', 'arm', 'respawn', node=node)
          for node in ('radio_driver', 'beamformer')),
        include('recorder.launch.py', *common, 'record'),
        # The last one: whoever listens is there before the first pose.
        include('source.launch.py', *common, 'source', 'bag', 'respawn'),
    ])
