"""The recorder: everything that the graph publishes, into an MCAP file."""

from launch.actions import DeclareLaunchArgument
from launch.conditions import IfCondition
from launch.substitutions import LaunchConfiguration, NotEqualsSubstitution
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

from launch import LaunchDescription

ARGUMENTS = [
    DeclareLaunchArgument(
        'record', default_value='',
        description='Folder to be made for the recording; empty: no recording'),
    DeclareLaunchArgument(
        'namespace', default_value='', description='Namespace of node and topics; empty: none'),
    DeclareLaunchArgument(
        'params_file', description='ROS parameter file, keyed by node name'),
    DeclareLaunchArgument(
        'deployment', description='Deployment file: the topics of its bodies are recorded too'),
    DeclareLaunchArgument(
        'use_sim_time', default_value='false', choices=['true', 'false'],
        description='Follow /clock'),
    DeclareLaunchArgument(
        'log_level', default_value='info', choices=['debug', 'info', 'warn', 'error', 'fatal'],
        description='Least severity that is logged'),
]


def generate_launch_description():
    """Return the recorder, which is not restarted: it would find its folder taken."""
    record = LaunchConfiguration('record')
    recorder = Node(
        package='nf_isac_ros', executable='bag_recorder', name='bag_recorder',
        namespace=LaunchConfiguration('namespace'),
        parameters=[
            LaunchConfiguration('params_file'),
            {'output': ParameterValue(record, value_type=str),
             'deployment_file': ParameterValue(LaunchConfiguration('deployment'), value_type=str),
             'use_sim_time': ParameterValue(LaunchConfiguration('use_sim_time'),
                                            value_type=bool)}],
        ros_arguments=['--log-level', LaunchConfiguration('log_level')],
        additional_env={'OMP_NUM_THREADS': '1', 'OPENBLAS_NUM_THREADS': '1'},
        output='screen',
        # A recording is closed in good order only if there is time for it.
        sigterm_timeout='10',
        condition=IfCondition(NotEqualsSubstitution(record, '')))
    return LaunchDescription([*ARGUMENTS, recorder])
