"""`nf-isac demo`: its command line. What it starts is in session.py."""

from __future__ import annotations

import argparse
from contextlib import closing
import math
import os
from pathlib import Path
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nf_isac_ros.demo.session import Plan

# A window must go on for a while after the second in which the radio is not judged [s].
SHORTEST = 2.0
# So long after the start of a recording the first beams are there, at the latest [s].
FIRST_BEAMS = 0.5

USAGE_ERROR = 2


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command `demo` to a parser."""
    parser = subparsers.add_parser(
        'demo', help='run the whole chain on a built-in scene or a recording',
        description='Starts all nodes, shows live what they do, and writes a recording, '
                    'summary.json, scene.png and timeline.png. The exit code is 0 only if all '
                    'went well.')
    parser.add_argument('--duration', type=float, default=20.0, metavar='S',
                        help='seconds to measure (default: %(default)g)')
    parser.add_argument('--out', type=Path, default=Path('out/demo'), metavar='DIR',
                        help='folder of the results (default: %(default)s)')
    source = parser.add_mutually_exclusive_group()
    source.add_argument('--scenario', metavar='NAME',
                        help='built-in scene: a file name in config/scenarios without .yaml')
    source.add_argument('--bag', metavar='PATH',
                        help='recording to play instead: folder of a rosbag2')
    parser.add_argument('--config', type=Path, metavar='FILE',
                        help='deployment file (default: that of the scenario, or '
                             'config/recordings/<folder of the recording>.yaml)')
    parser.add_argument('--cut', action='append', default=[], metavar='TOPIC:START:LENGTH',
                        help='leave out a topic of the recording for a while [s]; repeatable')
    parser.add_argument('--rate', type=float, default=1.0, metavar='FACTOR',
                        help='pace of the recording (default: %(default)g)')
    parser.add_argument('--repeat', action='store_true',
                        help='play the recording again when it ends; otherwise the demo ends')
    parser.add_argument('--loop', choices=('open', 'closed'), default='open',
                        help='closed: targets are tracked by the echoes of the beams alone, and '
                             'designs are compared (default: %(default)s)')
    parser.add_argument('--soak', action='store_true',
                        help='fail if the memory of a node grows')
    parser.add_argument('--seed', type=int, metavar='N', help="seed of the scenario's noise")
    parser.add_argument('--set', action='append', default=[], dest='settings',
                        metavar='NODE.PARAM=VALUE', help='set a node parameter; repeatable')
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """
    Run the command.

    Parameters
    ----------
    args : argparse.Namespace
        As the parser of add_parser makes it.

    Returns
    -------
    int
        0: all went well; 1: something did not, and was said; 2: wrong usage; 128 + number of the
        signal that ended it, 130 for Ctrl-C.

    """
    # Before numpy comes in: this process shares the cores with the nodes.
    for name in ('OMP_NUM_THREADS', 'OPENBLAS_NUM_THREADS'):
        os.environ.setdefault(name, '1')
    from nf_isac_ros.core.exceptions import NfIsacError
    from nf_isac_ros.demo.graph import environment, programs, reserved_domain
    from nf_isac_ros.demo.output import open_output
    try:
        from nf_isac_ros.demo.session import run_session
        plan = plan_from(args, shared_domain=bool(os.environ.get('ROS_DOMAIN_ID')))
        with reserved_domain() as domain, closing(open_output(args.out)) as out:
            os.environ.update(environment(os.environ, domain))
            return run_session(
                plan, programs(plan.source, out.recording, plan.settings,
                               plan.deployment.design.rate), out)
    except NfIsacError as error:
        print(f'nf-isac demo: {error}', file=sys.stderr)
    except ImportError as error:
        print(f'nf-isac demo: {error}: build the workspace, and source it or use '
              '.venv/bin/nf-isac', file=sys.stderr)
    return USAGE_ERROR


def plan_from(args: argparse.Namespace, shared_domain: bool) -> Plan:
    """
    Check the options and everything that they name.

    Parameters
    ----------
    args : argparse.Namespace
        As the parser of add_parser makes it.
    shared_domain : bool
        The user has named the ROS domain.

    Returns
    -------
    Plan

    Raises
    ------
    NfIsacError
        One line that says what is wrong.

    """
    from nf_isac_ros.demo.graph import (
        CLOSED,
        CLOSED_SCENARIO,
        DEFAULT_SCENARIO,
        Source,
        UsageError,
        bag_folder,
        parse_cut,
        parse_setting,
        recording_file,
        scenario_file,
    )
    from nf_isac_ros.demo.session import Plan
    from nf_isac_ros.files.deployment import load_deployment
    from nf_isac_ros.recording.reader import Recording
    if not SHORTEST <= args.duration < math.inf:
        raise UsageError(f'--duration {args.duration:g}: must be at least {SHORTEST:g} s')
    if not 0 < args.rate < math.inf:
        raise UsageError(f'--rate {args.rate:g}: must be above 0')
    duration = args.duration
    config = args.config.expanduser().resolve() if args.config is not None else None
    if args.bag is None:
        for option, given in (('--cut', args.cut), ('--rate', args.rate != 1.0),
                              ('--repeat', args.repeat)):
            if given:
                raise UsageError(f'{option} needs --bag')
        default = CLOSED_SCENARIO if args.loop == CLOSED else DEFAULT_SCENARIO
        name = args.scenario or ('' if config is not None else default)
        source = Source(config or scenario_file(name), scenario=name, seed=args.seed,
                        loop=args.loop)
    else:
        if args.seed is not None:
            raise UsageError('--seed is for scenarios; a recording has no random numbers')
        bag = bag_folder(args.bag)
        cuts = tuple(parse_cut(text) for text in args.cut)
        source = Source(config or recording_file(bag), bag=bag, cuts=cuts, rate=args.rate,
                        repeat=args.repeat, loop=args.loop)
        with Recording(bag) as recording:
            topics = [topic.name for topic in recording.topics]
            length = 1e-9 * (recording.end - recording.start) / args.rate
        if not args.repeat:
            if length < SHORTEST + FIRST_BEAMS:
                raise UsageError(f'the recording {bag.name} lasts {length:.1f} s at this pace, '
                                 f'must be {SHORTEST + FIRST_BEAMS:g} s; --repeat plays it again')
            duration = min(duration, length - FIRST_BEAMS)
        for cut in cuts:
            if cut.topic not in topics:
                raise UsageError(f'--cut {cut}: the recording has no topic {cut.topic}; it has '
                                 f'{", ".join(topics) or "none"}')
    deployment = load_deployment(source.deployment)
    if source.loop == CLOSED and not any(
            body.role == 'target' and body.kind == 'point' for body in deployment.bodies):
        raise UsageError(f'--loop closed: {source.deployment} has no point target')
    return Plan(source=source, deployment=deployment, duration=duration,
                settings=tuple(parse_setting(text) for text in args.settings),
                shared_domain=shared_domain)
