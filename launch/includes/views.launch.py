"""What people look at: markers and beam pattern, and rviz2 if asked for."""

from pathlib import Path

from ament_index_python.packages import get_package_share_directory
from launch.actions import DeclareLaunchArgument
from launch.conditions import IfCondition
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

from launch import LaunchDescription

ARGUMENTS = [
    DeclareLaunchArgument(
        'namespace', default_value='', description='Namespace of nodes and topics; empty: none'),
    DeclareLaunchArgument(
        'params_file', description='ROS parameter file, keyed by node name'),
    DeclareLaunchArgument(
        'deployment', description='Deployment file: arrays, radio, design, bodies'),
    DeclareLaunchArgument(
        'use_sim_time', default_value='false', choices=['true', 'false'],
        description='Follow /clock'),
    DeclareLaunchArgument(
        'rviz', default_value='false', choices=['true', 'false'],
        description='Start rviz2'),
    DeclareLaunchArgument(
        'rviz_config',
        default_value=str(
            Path(get_package_share_directory('nf_isac_ros')) / 'rviz' / 'nf_isac.rviz'),
        description='Displays of rviz2'),
    DeclareLaunchArgument(
        'fixed_frame', default_value='map',
        description='Fixed frame of rviz2: the world frame of the deployment'),
    DeclareLaunchArgument(
        'log_level', default_value='info', choices=['debug', 'info', 'warn', 'error', 'fatal'],
        description='Least severity that is logged'),
    DeclareLaunchArgument(
        'respawn', default_value='true', choices=['true', 'false'],
        description='Restart the markers if they die'),
]


def generate_launch_description():
    """Return rviz2 and the markers node."""
    use_sim_time = ParameterValue(LaunchConfiguration('use_sim_time'), value_type=bool)
    markers = Node(
        package='nf_isac_ros', executable='markers', name='markers',
        namespace=LaunchConfiguration('namespace'),
        parameters=[
            LaunchConfiguration('params_file'),
            {'deployment_file': ParameterValue(LaunchConfiguration('deployment'), value_type=str),
             'use_sim_time': use_sim_time}],
        ros_arguments=['--log-level', LaunchConfiguration('log_level')],
        additional_env={'OMP_NUM_THREADS': '1', 'OPENBLAS_NUM_THREADS': '1'},
        output='screen',
        respawn=LaunchConfiguration('respawn'),
        respawn_delay=2.0,
        respawn_max_retries=5)
    rviz = Node(
        package='rviz2', executable='rviz2', name='rviz2',
        # In the same namespace: the topics in the display file are relative.
        namespace=LaunchConfiguration('namespace'),
        arguments=['-d', LaunchConfiguration('rviz_config'),
                   '-f', LaunchConfiguration('fixed_frame')],
        parameters=[{'use_sim_time': use_sim_time}],
        output='screen',
        condition=IfCondition(LaunchConfiguration('rviz')))
    return LaunchDescription([*ARGUMENTS, rviz, markers])
