"""One version number, and a package that installs everything it ships."""

import ast
from pathlib import Path
import re
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).resolve().parents[1]

pytestmark = pytest.mark.skipif(
    not (ROOT / 'setup.py').is_file(), reason='only the source tree has all the files')


def setup_argument(name):
    tree = ast.parse((ROOT / 'setup.py').read_text())
    call = next(
        node for node in ast.walk(tree)
        if isinstance(node, ast.Call) and getattr(node.func, 'id', '') == 'setup')
    return next(ast.literal_eval(k.value) for k in call.keywords if k.arg == name)


def manifest(folder):
    return ElementTree.parse(ROOT / folder / 'package.xml').getroot()


def version_of_module():
    text = (ROOT / 'nf_isac_ros' / '__init__.py').read_text()
    return re.search(r"^__version__ = '([^']+)'", text, re.MULTILINE).group(1)


def version_of_changelog():
    """Of the newest entry that has a number; [Unreleased] may stand above it."""
    text = (ROOT / 'CHANGELOG.md').read_text()
    return re.search(r'^## \[(\d[^\]]*)\]', text, re.MULTILINE).group(1)


@pytest.mark.parametrize('version', [
    pytest.param(lambda: manifest('.').findtext('version'), id='package.xml'),
    pytest.param(lambda: manifest('nf_isac_msgs').findtext('version'), id='nf_isac_msgs'),
    pytest.param(lambda: setup_argument('version'), id='setup.py'),
    pytest.param(version_of_changelog, id='CHANGELOG.md'),
])
def test_version_is_that_of_the_module(version):
    assert version() == version_of_module()


@pytest.mark.parametrize('folder', ['.', 'nf_isac_msgs'])
def test_manifest_is_format_3_under_apache_2(folder):
    root = manifest(folder)
    assert root.get('format') == '3'
    assert root.findtext('license') == 'Apache-2.0'


def test_every_shipped_file_is_installed():
    prefix = ROOT / 'install' / 'nf_isac_ros' / 'share' / 'nf_isac_ros'
    if not prefix.is_dir():
        pytest.skip('not built in this source tree')
    shipped = [
        path.relative_to(ROOT)
        for pattern in ('launch/**/*.py', 'config/**/*.yaml', 'rviz/**/*.rviz')
        for path in ROOT.glob(pattern)]
    missing = [str(path) for path in shipped if not (prefix / path).is_file()]
    assert missing == []


def test_every_console_script_names_an_existing_function():
    """Entry points are strings: nothing else notices one that leads nowhere."""
    text = (ROOT / 'setup.py').read_text()
    nodes = ast.literal_eval(
        re.search(r'^NODES = (\(.*?\))$', text, re.MULTILINE | re.DOTALL).group(1))
    modules = [ROOT / 'nf_isac_ros' / 'cli.py']
    modules += [ROOT / 'nf_isac_ros' / 'nodes' / f'{node}.py' for node in nodes]
    for module in modules:
        functions = {
            node.name for node in ast.parse(module.read_text()).body
            if isinstance(node, ast.FunctionDef)}
        assert 'main' in functions, module
