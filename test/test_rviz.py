"""The display file of rviz2, against what rviz2 of ROS 2 Jazzy reads."""

from pathlib import Path

import pytest
from ruamel.yaml import YAML

ROOT = Path(__file__).parents[1]
FILE = ROOT / 'rviz' / 'nf_isac.rviz'

# Names of properties as the C++ sources of rviz2 (branch jazzy) construct them. A key that is not
# among them would be passed over without a word. '*': any key below.
QOS = {'Depth': int, 'Durability Policy': ('System Default', 'Volatile', 'Transient Local'),
       'History Policy': ('System Default', 'Keep Last', 'Keep All'),
       'Reliability Policy': ('System Default', 'Reliable', 'Best Effort'), 'Value': str}
FILTERED = QOS | {'Filter size': int}
VECTOR = {'X': float, 'Y': float, 'Z': float}
DISPLAY = {'Class': str, 'Name': str, 'Enabled': bool, 'Value': bool}
VIEW = {'Class': str, 'Name': str, 'Value': str, 'Target Frame': str, 'Near Clip Distance': float,
        'Invert Z Axis': bool, 'Enable Stereo Rendering': {
            'Stereo Eye Separation': float, 'Stereo Focal Distance': float,
            'Swap Stereo Eyes': bool, 'Value': bool}}
KNOWN = {
    'rviz_default_plugins/Grid': DISPLAY | {
        'Alpha': float, 'Cell Size': float, 'Color': 'colour', 'Normal Cell Count': int,
        'Line Style': {'Line Width': float, 'Value': ('Lines', 'Billboards')}, 'Offset': VECTOR,
        'Plane': ('XY', 'XZ', 'YZ'), 'Plane Cell Count': int, 'Reference Frame': str},
    'rviz_default_plugins/TF': DISPLAY | {
        'Filter (blacklist)': str, 'Filter (whitelist)': str, 'Frame Timeout': float,
        'Frames': '*', 'Marker Scale': float, 'Show Arrows': bool, 'Show Axes': bool,
        'Show Names': bool, 'Tree': '*', 'Update Interval': float},
    'rviz_default_plugins/MarkerArray': DISPLAY | {'Namespaces': '*', 'Topic': QOS},
    'rviz_default_plugins/PointCloud2': DISPLAY | {
        'Alpha': float, 'Autocompute Intensity Bounds': bool,
        'Autocompute Value Bounds': {'Max Value': float, 'Min Value': float, 'Value': bool},
        'Axis': ('X', 'Y', 'Z'), 'Channel Name': str, 'Color': 'colour',
        'Color Transformer': ('Intensity', 'AxisColor', 'FlatColor', 'RGB8', 'RGBF32'),
        'Decay Time': float, 'Invert Rainbow': bool, 'Max Color': 'colour',
        'Max Intensity': float, 'Min Color': 'colour', 'Min Intensity': float,
        'Position Transformer': ('XYZ',), 'Selectable': bool, 'Size (Pixels)': float,
        'Size (m)': float, 'Style': ('Points', 'Squares', 'Flat Squares', 'Spheres', 'Boxes'),
        'Topic': FILTERED, 'Use Fixed Frame': bool, 'Use rainbow': bool},
    'rviz_default_plugins/Orbit': VIEW | {
        'Distance': float, 'Focal Point': VECTOR, 'Focal Shape Fixed Size': bool,
        'Focal Shape Size': float, 'Pitch': float, 'Yaw': float},
    'rviz_default_plugins/TopDownOrtho': VIEW | {
        'Angle': float, 'Scale': float, 'X': float, 'Y': float},
    'rviz_default_plugins/Interact': {'Class': str, 'Hide Inactive Objects': bool},
    'rviz_default_plugins/MoveCamera': {'Class': str},
    'rviz_default_plugins/Select': {'Class': str},
    'rviz_default_plugins/FocusCamera': {'Class': str},
    'rviz_default_plugins/Measure': {'Class': str, 'Line color': 'colour'},
    'rviz_common/Displays': {
        'Class': str, 'Name': str, 'Help Height': int, 'Tree Height': int,
        'Property Tree Widget': {'Expanded': list, 'Splitter Ratio': float}},
    'rviz_common/Selection': {'Class': str, 'Name': str},
    'rviz_common/Tool Properties': {
        'Class': str, 'Name': str, 'Expanded': '*', 'Splitter Ratio': float},
    'rviz_common/Views': {'Class': str, 'Name': str, 'Expanded': list, 'Splitter Ratio': float},
    'rviz_common/Time': {'Class': str, 'Name': str, 'Experimental': bool, 'SyncMode': int,
                         'SyncSource': str},
}
TREE = {
    'Panels': list,
    'Visualization Manager': {
        'Class': str, 'Name': str, 'Enabled': bool, 'Value': bool, 'Displays': list,
        'Global Options': {'Background Color': 'colour', 'Fixed Frame': str, 'Frame Rate': int},
        'Tools': list, 'Transformation': {'Current': {'Class': str}},
        'Views': {'Current': 'object', 'Saved': list}},
    'Window Geometry': {'Displays': {'collapsed': bool}, 'Height': int, 'Width': int},
}


@pytest.fixture(scope='module')
def config():
    return YAML(typ='safe').load(FILE.read_text(encoding='utf-8'))


def faults(value, known, place):
    """Keys that rviz2 does not know, and values that it cannot take."""
    if known == '*':
        return
    if known == 'object':
        yield from faults(value, KNOWN[value['Class']], place)
    elif isinstance(known, dict):
        if not isinstance(value, dict):
            yield f'{place}: {value!r} has no parts'
            return
        for key, part in value.items():
            if key not in known:
                yield f'{place}: unknown key {key!r}'
            else:
                yield from faults(part, known[key], f'{place}/{key}')
    elif known is list:
        for k, item in enumerate(value or ()):
            if isinstance(item, dict):
                name = item.get('Class')
                if name not in KNOWN:
                    yield f'{place}/{k}: unknown class {name!r}'
                else:
                    yield from faults(item, KNOWN[name], f'{place}/{name}')
    elif known == 'colour':
        parts = str(value).split(';')
        if len(parts) != 3 or not all(0 <= int(part) <= 255 for part in parts):
            yield f'{place}: {value!r} is no colour'
    elif isinstance(known, tuple):
        if value not in known:
            yield f'{place}: {value!r} is none of {known}'
    elif known is float and not isinstance(value, bool) and isinstance(value, (int, float)):
        return
    elif not isinstance(value, known):
        yield f'{place}: {value!r} is no {known.__name__}'


def test_rviz2_knows_every_class_and_every_key(config):
    assert list(faults(config, TREE, '')) == []


def test_a_wrong_key_would_be_found(config):
    assert list(faults({'Panels': [{'Class': 'rviz_common/Time', 'Speed': 1}]}, TREE, '')) == [
        "/Panels/rviz_common/Time: unknown key 'Speed'"]
    assert list(faults({'Panels': [{'Class': 'rviz_common/Clock'}]}, TREE, ''))


def test_displays_follow_the_topics_of_the_markers_node(config):
    displays = {display['Name']: display
                for display in config['Visualization Manager']['Displays']}
    # Relative, so that they lie in the namespace that the launch file gives rviz2.
    assert displays['Scene']['Topic']['Value'] == 'markers'
    assert displays['Beam pattern']['Topic']['Value'] == 'beampattern'
    for name in ('Scene', 'Beam pattern'):
        assert displays[name]['Enabled']
        assert displays[name]['Topic']['Reliability Policy'] == 'Reliable'
        assert displays[name]['Topic']['Durability Policy'] == 'Volatile'


def test_colours_of_the_pattern_span_the_decibels_of_the_node(config):
    pytest.importorskip('rclpy', reason='no ROS environment')
    from nf_isac_ros.nodes.markers import PARAMETERS
    defaults = {parameter.name: parameter.default for parameter in PARAMETERS}
    pattern = next(display for display in config['Visualization Manager']['Displays']
                   if display['Name'] == 'Beam pattern')
    assert not pattern['Autocompute Intensity Bounds']
    assert (pattern['Min Intensity'], pattern['Max Intensity']) == (
        defaults['floor_db'], defaults['ceiling_db'])
