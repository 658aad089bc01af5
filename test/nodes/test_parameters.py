"""Parameter tables on a real node."""

from __future__ import annotations

import math

import pytest

pytest.importorskip('rclpy', reason='no ROS environment')

import rclpy  # noqa: E402
from rclpy.node import Node  # noqa: E402
from rclpy.parameter import Parameter as RosParameter  # noqa: E402

from nf_isac_ros.nodes.parameters import (  # noqa: E402
    Parameter,
    ParameterError,
    declare,
    values,
    watch,
)

TABLE = (
    Parameter('rate_hz', 50.0, 'Designs per second', 'Hz', minimum=0.1, maximum=1000.0),
    Parameter('group.lease_s', math.nan, 'Lease', 's', minimum=0.0),
    Parameter('count', 3, 'How many', minimum=1),
    Parameter('loop', False, 'Again and again'),
    Parameter('design', 'crb-min', 'Name', choices=('crb-min', 'isotropic')),
    Parameter('topics', ('a', 'b'), 'Topics'),
    Parameter('file', '', 'Path', read_only=True),
)


@pytest.fixture
def make_node(domain):
    context = rclpy.Context()
    rclpy.init(context=context)
    nodes = []

    def make(**overrides):
        node = Node('parameters', context=context, parameter_overrides=[
            RosParameter(name.replace('__', '.'), value=value)
            for name, value in overrides.items()])
        nodes.append(node)
        declare(node, TABLE)
        return node

    yield make
    for node in nodes:
        node.destroy_node()
    context.try_shutdown()


def change(node, **changes):
    return node.set_parameters_atomically(
        [RosParameter(name.replace('__', '.'), value=value) for name, value in changes.items()])


def test_defaults(make_node):
    found = values(make_node(), TABLE)
    assert math.isnan(found.group_lease_s)
    assert (found.rate_hz, found.count, found.loop, found.design, found.topics, found.file) == (
        50.0, 3, False, 'crb-min', ('a', 'b'), '')


def test_overrides_and_whole_numbers_for_floats(make_node):
    found = values(make_node(rate_hz=20, group__lease_s=1, topics=['x'], file='here'), TABLE)
    assert (found.rate_hz, found.group_lease_s, found.topics, found.file) == (
        20.0, 1.0, ('x',), 'here')
    assert isinstance(found.rate_hz, float)


@pytest.mark.parametrize(('name', 'value', 'words'), [
    ('rate_hz', 'fast', ["rate_hz is 'fast'", 'a number from 0.1 to 1000 [Hz]']),
    ('rate_hz', -3.0, ['rate_hz', '-3.0', '0.1', '1000']),
    ('rate_hz', math.nan, ['rate_hz', 'nan', '0.1', '1000']),
    ('rate_hz', True, ['rate_hz is True', 'a number']),
    ('group__lease_s', -1.0, ['group.lease_s is -1.0', 'at least 0 [s]']),
    ('count', 0, ['count', '0', '1']),
    ('count', 2.5, ['count is 2.5', 'a whole number of at least 1']),
    ('loop', 1, ['loop is 1', 'true or false']),
    ('design', 'best', ["design is 'best'", "one of 'crb-min', 'isotropic'"]),
    ('topics', 'a', ["topics is 'a'", 'a list of texts']),
])
def test_value_that_is_not_allowed_is_named(make_node, name, value, words):
    with pytest.raises(ParameterError) as caught:
        make_node(**{name: value})
    assert all(word in str(caught.value) for word in words)
    node = make_node()
    before = vars(values(node, TABLE))
    result = change(node, **{name: value})
    assert not result.successful
    assert all(word in result.reason for word in words)
    assert str(vars(values(node, TABLE))) == str(before)


def test_parameter_cannot_be_removed_and_read_only_cannot_be_changed(make_node):
    node = make_node()
    assert not node.set_parameters_atomically([RosParameter('count')]).successful
    assert not change(node, file='elsewhere').successful


def test_descriptors(make_node):
    node = make_node()
    rate = node.describe_parameter('rate_hz')
    assert rate.description == 'Designs per second [Hz]'
    assert (rate.floating_point_range[0].from_value, rate.floating_point_range[0].to_value) == (
        0.1, 1000.0)
    assert node.describe_parameter('count').integer_range[0].from_value == 1
    assert node.describe_parameter('file').read_only
    assert "'isotropic'" in node.describe_parameter('design').additional_constraints


def test_request_is_accepted_or_rejected_whole(make_node):
    node = make_node()
    applied = []

    def check(proposed):
        if proposed.rate_hz * proposed.count > 100:
            raise ParameterError(f'{proposed.rate_hz} times {proposed.count} is more than 100')

    watch(node, TABLE, check, applied.append)
    result = change(node, rate_hz=40.0, count=2, design='best')
    assert not result.successful
    result = change(node, rate_hz=60.0, count=2)
    assert result.reason == '60.0 times 2 is more than 100'
    assert applied == []
    assert (values(node, TABLE).rate_hz, values(node, TABLE).count) == (50.0, 3)
    assert change(node, rate_hz=60, count=1).successful
    assert [(found.rate_hz, found.count) for found in applied] == [(60.0, 1)]
