"""One of the two lifecycle nodes, brought to active: the beamformer or the radio driver."""

from launch.actions import (
    DeclareLaunchArgument,
    EmitEvent,
    OpaqueFunction,
    RegisterEventHandler,
    TimerAction,
)
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
        'arm', default_value='false', choices=['true', 'false'],
        description='Radio driver: arm as soon as it is active; false: the service radio/arm '
                    'does. Without meaning for the beamformer'),
    DeclareLaunchArgument(
        'respawn', default_value='true', choices=['true', 'false'],
        description='Restart the node if it dies'),
]


# How long a request may go without effect before it is made again [s], and how often. Even on a
# busy machine a node starts within this time; a second request, made while the first still waits
# for the service, would reach a node that has done it and cannot do it again.
PATIENCE = 30.0
TRIES = 3
# How long after a restart the first request is made [s].
PAUSE = 4.0


class Keeper:
    """
    Brings a lifecycle node to active, once per process.

    A request can get lost: the service of a process that was killed stays visible for some time,
    and takes the request that is meant for its successor. So the request waits until the
    successor is there, and is repeated if the node reports no transition. What the node refuses,
    and what others do with it later, stands.
    """

    def __init__(self, node):
        self._node = node
        self._state = 'unconfigured'
        self._done = False
        self._round = 0

    def on_start(self, event, context):
        """Begin with a new process."""
        restarted = self._round > 0
        self._state, self._done = 'unconfigured', False
        self._round += 1
        if not restarted:
            return self._request(context, self._round, TRIES)
        return [TimerAction(period=PAUSE, actions=[
            OpaqueFunction(function=self._request, args=[self._round, TRIES])])]

    def on_transition(self, context):
        """Follow the state, and go on from configured to active."""
        event = context.locals.event
        self._state = event.goal_state
        if (event.start_state, event.goal_state) == ('configuring', 'inactive'):
            self._round += 1
            return self._request(context, self._round, TRIES)
        # Active: arrived. Unconfigured, finalized: the node refused, or somebody else took over.
        self._done = self._done or event.goal_state in ('active', 'unconfigured', 'finalized')
        return []

    def _request(self, context, number, tries):
        if self._done or number != self._round or tries == 0:
            return []
        again = TimerAction(period=PATIENCE, actions=[
            OpaqueFunction(function=self._request, args=[number, tries - 1])])
        step = {'unconfigured': Transition.TRANSITION_CONFIGURE,
                'inactive': Transition.TRANSITION_ACTIVATE}.get(self._state)
        if step is None:
            return [again]   # on its way
        return [
            EmitEvent(event=ChangeState(
                lifecycle_node_matcher=matches_action(self._node), transition_id=step)),
            again]


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
                                            value_type=bool),
             'autoarm': ParameterValue(LaunchConfiguration('arm'), value_type=bool)}],
        ros_arguments=['--log-level', LaunchConfiguration('log_level')],
        # Each node computes in one thread; more BLAS threads would fight for the same cores.
        additional_env={'OMP_NUM_THREADS': '1', 'OPENBLAS_NUM_THREADS': '1'},
        output='screen',
        respawn=LaunchConfiguration('respawn'),
        respawn_delay=2.0,
        respawn_max_retries=5)

    keeper = Keeper(node)
    autostart = IfCondition(LaunchConfiguration('autostart'))
    # Registered before the node starts, so that none of its events is missed; a process that is
    # started again raises the same events.
    return LaunchDescription([
        *ARGUMENTS,
        RegisterEventHandler(
            OnProcessStart(target_action=node, on_start=keeper.on_start), condition=autostart),
        RegisterEventHandler(
            OnStateTransition(
                target_lifecycle_node=node,
                entities=[OpaqueFunction(function=keeper.on_transition)]),
            condition=autostart),
        node])
