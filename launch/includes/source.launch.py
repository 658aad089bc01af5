"""Where the poses come from: a made-up scene, or a recording."""

from launch.actions import DeclareLaunchArgument, GroupAction
from launch.conditions import IfCondition
from launch.substitutions import (
    EqualsSubstitution,
    LaunchConfiguration,
    NotEqualsSubstitution,
    NotSubstitution,
)
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

from launch import LaunchDescription

ARGUMENTS = [
    DeclareLaunchArgument(
        'source', default_value='true', choices=['true', 'false'],
        description='Start a source; false: the poses come from elsewhere'),
    DeclareLaunchArgument(
        'bag', default_value='',
        description='Recording to play: folder of a bag; empty: the scenario of the deployment'),
    DeclareLaunchArgument(
        'namespace', default_value='', description='Namespace of node and topics; empty: none'),
    DeclareLaunchArgument(
        'params_file', description='ROS parameter file, keyed by node name'),
    DeclareLaunchArgument(
        'deployment', description='Deployment file: arrays, radio, design, bodies'),
    DeclareLaunchArgument(
        'use_sim_time', default_value='false', choices=['true', 'false'],
        description='The scenario follows /clock; the player publishes /clock and keeps the '
                    'stamps of the recording'),
    DeclareLaunchArgument(
        'log_level', default_value='info', choices=['debug', 'info', 'warn', 'error', 'fatal'],
        description='Least severity that is logged'),
    DeclareLaunchArgument(
        'respawn', default_value='true', choices=['true', 'false'],
        description='Restart the scenario if it dies'),
]


def generate_launch_description():
    """Return the scenario or the player, which is not restarted: a recording has an end."""
    common = {
        'package': 'nf_isac_ros',
        'namespace': LaunchConfiguration('namespace'),
        'ros_arguments': ['--log-level', LaunchConfiguration('log_level')],
        'additional_env': {'OMP_NUM_THREADS': '1', 'OPENBLAS_NUM_THREADS': '1'},
        'output': 'screen',
    }
    bag = LaunchConfiguration('bag')
    deployment = ParameterValue(LaunchConfiguration('deployment'), value_type=str)
    use_sim_time = LaunchConfiguration('use_sim_time')
    scenario = Node(
        executable='scenario', name='scenario',
        parameters=[
            LaunchConfiguration('params_file'),
            {'deployment_file': deployment,
             'use_sim_time': ParameterValue(use_sim_time, value_type=bool)}],
        respawn=LaunchConfiguration('respawn'), respawn_delay=2.0, respawn_max_retries=5,
        condition=IfCondition(EqualsSubstitution(bag, '')), **common)
    player = Node(
        executable='bag_player', name='bag_player',
        parameters=[
            LaunchConfiguration('params_file'),
            {'deployment_file': deployment,
             'bag': ParameterValue(bag, value_type=str),
             'restamp': ParameterValue(NotSubstitution(use_sim_time), value_type=bool),
             # The one who publishes /clock cannot follow it.
             'use_sim_time': False}],
        condition=IfCondition(NotEqualsSubstitution(bag, '')), **common)
    return LaunchDescription([
        *ARGUMENTS,
        GroupAction([scenario, player], condition=IfCondition(LaunchConfiguration('source')))])
