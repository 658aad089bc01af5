"""Packaging of nf_isac_ros for colcon (ament_python)."""

from collections import defaultdict
from pathlib import Path

from setuptools import find_packages, setup

PACKAGE = 'nf_isac_ros'
NODES = ('beamformer', 'scenario', 'bag_player', 'radio_driver', 'bag_recorder', 'markers',
         'localizer', 'tracker')


def shared(pattern):
    """
    Install specifications of the files that match a pattern, sub-folders kept.

    The paths are relative, as colcon wants them, and sorted, so that two builds are alike.
    """
    folders = defaultdict(list)
    for path in sorted(Path().glob(pattern)):
        if path.is_file():
            folders[f'share/{PACKAGE}/{path.parent.as_posix()}'].append(path.as_posix())
    return list(folders.items())


setup(
    name=PACKAGE,
    version='0.1.0',
    description='Near-field integrated sensing and communication: tracked poses to radio beams',
    license='Apache-2.0',
    maintainer='nf_isac_ros maintainers',
    maintainer_email='maintainers@nf-isac-ros.example.org',
    packages=find_packages(include=[PACKAGE, f'{PACKAGE}.*']),
    package_data={PACKAGE: ['py.typed'], f'{PACKAGE}.watch': ['page/*'],
                  f'{PACKAGE}.replay': ['page/*']},
    data_files=[
        ('share/ament_index/resource_index/packages', [f'resource/{PACKAGE}']),
        (f'share/{PACKAGE}', ['package.xml']),
        *shared('launch/**/*.py'),
        *shared('config/**/*.yaml'),
        *shared('rviz/**/*.rviz'),
    ],
    # The scripts look their entry point up by name; every other requirement is in package.xml.
    install_requires=['setuptools'],
    # Without this extra `colcon test` finds no test runner and runs no test.
    extras_require={'test': ['pytest']},
    zip_safe=True,
    entry_points={
        'console_scripts': [
            *(f'{node} = {PACKAGE}.nodes.{node}:main' for node in NODES),
            f'nf-isac = {PACKAGE}.cli:main',
        ],
    },
)
