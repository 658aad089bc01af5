"""Launch files, parameter file and displays fit together and fit the nodes."""

import ast
import importlib
from pathlib import Path
import re

import pytest
import yaml

from nf_isac_ros.demo.graph import DEFAULT_SCENARIO

ROOT = Path(__file__).parents[2]
LAUNCH = ROOT / 'launch'
FILES = sorted(LAUNCH.rglob('*.launch.py'))
PARAMETERS = yaml.safe_load((ROOT / 'config' / 'nf_isac.yaml').read_text())
DISPLAYS = yaml.safe_load(
    (ROOT / 'rviz' / 'nf_isac.rviz').read_text())['Visualization Manager']['Displays']


def node_names():
    """Names of the executables, as setup.py lists them."""
    for statement in ast.parse((ROOT / 'setup.py').read_text()).body:
        if isinstance(statement, ast.Assign) and (
                getattr(statement.targets[0], 'id', '') == 'NODES'):
            return ast.literal_eval(statement.value)
    raise AssertionError('setup.py has no NODES')


def calls(path, name):
    """Keyword arguments, and the first positional one as 'first', of all calls of a name."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and getattr(node.func, 'id', '') == name:
            keywords = {keyword.arg: keyword.value for keyword in node.keywords}
            if node.args:
                keywords['first'] = node.args[0]
            found.append(keywords)
    return found


def arguments(path):
    """Declared launch arguments of a file by name."""
    return {call['first'].value: call for call in calls(path, 'DeclareLaunchArgument')}


def name_of(path):
    return path.relative_to(LAUNCH).as_posix()


@pytest.mark.parametrize('path', FILES, ids=name_of)
def test_every_argument_says_what_it_does(path):
    declared = arguments(path)
    assert declared
    for name, call in declared.items():
        description = ast.literal_eval(call['description'])
        assert len(description.split()) >= 2, f'{name}: {description!r}'


def test_top_file_has_the_arguments_that_people_expect():
    expected = {'namespace', 'params_file', 'deployment', 'use_sim_time', 'scenario', 'bag',
                'rviz', 'record', 'log_level', 'autostart'}
    assert expected <= set(arguments(LAUNCH / 'nf_isac.launch.py'))


def test_every_included_file_exists_and_every_file_is_included():
    text = (LAUNCH / 'nf_isac.launch.py').read_text()
    included = set(re.findall(r"'(\w+\.launch\.py)'", text))
    assert included == {path.name for path in (LAUNCH / 'includes').iterdir()
                        if path.name.endswith('.launch.py')}


def test_includes_get_arguments_that_they_declare_and_all_that_they_need():
    top = ast.parse((LAUNCH / 'nf_isac.launch.py').read_text())
    common = next(ast.literal_eval(node.value) for node in ast.walk(top)
                  if isinstance(node, ast.Assign)
                  and getattr(node.targets[0], 'id', '') == 'common')
    own = set(arguments(LAUNCH / 'nf_isac.launch.py'))
    for node in ast.walk(top):
        if not (isinstance(node, ast.Call) and getattr(node.func, 'id', '') == 'include'):
            continue
        declared = arguments(LAUNCH / 'includes' / node.args[0].value)
        handed_on = {argument.value for argument in node.args[1:]
                     if isinstance(argument, ast.Constant)} | set(common)
        given = handed_on | {keyword.arg for keyword in node.keywords}
        needed = {name for name, call in declared.items() if 'default_value' not in call}
        assert given <= set(declared)
        assert needed <= given
        assert handed_on <= own


@pytest.mark.parametrize('path', FILES, ids=name_of)
def test_every_executable_is_installed_by_setup_py(path):
    for call in calls(path, 'Node'):
        package = call.get('package')
        if package is None or package.value == 'nf_isac_ros':
            assert call['executable'].value in node_names()
            # The name that the parameter file knows it by.
            assert call['name'].value == call['executable'].value


def test_lifecycle_nodes_are_installed_by_setup_py():
    choices = arguments(LAUNCH / 'includes' / 'lifecycle_node.launch.py')['node']['choices']
    assert set(ast.literal_eval(choices)) <= set(node_names())


@pytest.mark.parametrize('path', FILES, ids=name_of)
def test_launch_files_need_nothing_but_launch(path):
    allowed = {'launch', 'launch_ros', 'lifecycle_msgs', 'ament_index_python', 'yaml', 'pathlib'}
    for node in ast.walk(ast.parse(path.read_text())):
        modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else (
            [node.module] if isinstance(node, ast.ImportFrom) else [])
        assert {module.partition('.')[0] for module in modules} <= allowed


def test_default_scenario_exists_and_is_that_of_the_demo():
    call = arguments(LAUNCH / 'nf_isac.launch.py')['scenario']
    name = ast.literal_eval(call['default_value'])
    assert name == DEFAULT_SCENARIO
    assert (ROOT / 'config' / 'scenarios' / f'{name}.yaml').is_file()


def test_every_process_has_one_thread_for_linear_algebra():
    for path in FILES:
        text = path.read_text()
        started = len(re.findall(r"'?package'?[:=] ?'nf_isac_ros'", text))
        assert text.count("{'OMP_NUM_THREADS': '1', 'OPENBLAS_NUM_THREADS': '1'}") == started


def test_parameter_file_is_keyed_by_node_name_in_any_namespace():
    assert set(PARAMETERS) == {f'/**/{name}' for name in node_names()}


@pytest.mark.parametrize('name', node_names())
def test_parameter_file_has_parameters_that_the_node_takes(name):
    pytest.importorskip('rclpy', reason='no ROS environment: the tables are beside the nodes')
    module = importlib.import_module(f'nf_isac_ros.nodes.{name}')
    table = {row.name: row for row in module.PARAMETERS}
    for key, value in PARAMETERS[f'/**/{name}']['ros__parameters'].items():
        table[key].checked(value)


def test_displays_show_the_topics_of_the_markers_node_in_its_range():
    shown = {display['Class'].rpartition('/')[2]: display for display in DISPLAYS}
    assert {'Grid', 'TF', 'MarkerArray', 'PointCloud2'} <= set(shown)
    # Relative: they follow the namespace that rviz2 is started in.
    assert shown['MarkerArray']['Topic']['Value'] == 'markers'
    cloud = shown['PointCloud2']
    assert cloud['Topic']['Value'] == 'beampattern'
    assert cloud['Channel Name'] == 'intensity'
    markers = PARAMETERS['/**/markers']['ros__parameters']
    assert cloud['Min Intensity'] == markers['floor_db']
    assert cloud['Max Intensity'] == markers['ceiling_db']
    assert not cloud['Autocompute Intensity Bounds']
