"""One of the two lifecycle nodes, brought to active: the beamformer or the radio driver."""

from launch.actions import DeclareLaunchArgument, EmitEvent, RegisterEventHandler
from launch.conditions import IfCondition
from launch.event_handlers import OnProcessStart
from launch.events import matches_action
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import LifecycleNode
from launch_ros.event_handlers import OnStateTransition
from launch_ros.events.lifecycle import ChangeState
from launch_ros.parameter_descriptions import ParameterValue
from lifecycle_msgs.msg import Transition

from launch import LaunchDescription

ARGUMENTS = [
    DeclareLaunchArgument(
        'node', choices=['beamformer', 'radio_driver'], description='Executable and node name'),
    DeclareLaunchArgument(
        'namespace', default_value='', description='Namespace of node and topics; empty: none'),
    DeclareLaunchArgument(
        'params_file', description='ROS parameter file, keyed by node name'),
    DeclareLaunchArgument(
        'deployment', description='Deployment file: arrays, radio, design, bodies'),
    DeclareLaunchArgument(
        'use_sim_time', default_value='false', choices=['true', 'false'],
        description='Follow /clock'),
    DeclareLaunchArgument(
        'log_level', default_value='info', choices=['debug', 'info', 'warn', 'error', 'fatal'],
        description='Least severity that is logged'),
    DeclareLaunchArgument(
        'autostart', default_value='true', choices=['true', 'false'],
        description='Configure and activate the node; false: it waits for somebody who does'),
    DeclareLaunchArgument(
        'respawn', default_value='true', choices=['true', 'false'],
        description='Restart the node if it dies'),
]


def generate_launch_description():
    """Return the node and the handlers that bring it to active, also after a restart."""
    node = LifecycleNode(
        package='nf_isac_ros',
        executable=LaunchConfiguration('node'),
        name=LaunchConfiguration('node'),
        namespace=LaunchConfiguration('namespace'),
        parameters=[
            LaunchConfiguration('params_file'),
            {'deployment_file': ParameterValue(LaunchConfiguration('deployment'), value_type=str),
             'use_sim_time': ParameterValue(LaunchConfiguration('use_sim_time'),
                                            value_type=bool)}],
        ros_arguments=['--log-level', LaunchConfiguration('log_level')],
        # Each node computes in one thread; more BLAS threads would fight for the same cores.
        additional_env={'OMP_NUM_THREADS': '1', 'OPENBLAS_NUM_THREADS': '1'},
        output='screen',
        respawn=LaunchConfiguration('respawn'),
        respawn_delay=2.0,
        respawn_max_retries=5)

    def change(transition):
        return EmitEvent(event=ChangeState(
            lifecycle_node_matcher=matches_action(node), transition_id=transition))

    autostart = IfCondition(LaunchConfiguration('autostart'))
    # Registered before the node starts, so that none of its events is missed; a process that is
    # started again raises the same events.
    configure = RegisterEventHandler(
        OnProcessStart(target_action=node, on_start=[change(Transition.TRANSITION_CONFIGURE)]),
        condition=autostart)
    activate = RegisterEventHandler(
        OnStateTransition(
            target_lifecycle_node=node, start_state='configuring', goal_state='inactive',
            entities=[change(Transition.TRANSITION_ACTIVATE)]),
        condition=autostart)
    return LaunchDescription([*ARGUMENTS, configure, activate, node])
