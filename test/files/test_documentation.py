"""The pages about the file formats say what the code does."""

from __future__ import annotations

from pathlib import Path
import re
import typing

import pytest

from nf_isac_ros.core.designs import DESIGNS
from nf_isac_ros.files.deployment import DeploymentModel, load_deployment
from nf_isac_ros.files.parsing import StrictModel
from nf_isac_ros.files.scene_file import SceneModel, load_scene

DOCS = Path(__file__).parents[2] / 'docs'
SCENES, DEPLOYMENT = DOCS / 'scenes.md', DOCS / 'deployment.md'


def example(page: Path, folder: Path) -> Path:
    """Return the file that the only YAML block of a page makes."""
    block, = re.findall(r'```yaml\n(.*?)```', page.read_text(), re.S)
    path = folder / 'example.yaml'
    path.write_text(block)
    return path


def keys(annotation: object) -> set[str]:
    """Return all keys of a model and of the models in it."""
    if isinstance(annotation, type) and issubclass(annotation, StrictModel):
        fields = annotation.model_fields
        return set(fields).union(*(keys(field.annotation) for field in fields.values()))
    return set().union(*(keys(inner) for inner in typing.get_args(annotation)))


def test_example_scene(tmp_path):
    scene = load_scene(example(SCENES, tmp_path))
    assert len(scene.transmit_array) == len(scene.receive_array) == 256
    assert scene.radio.wavelength == 299792458 / 28e9
    assert [user.noise_power for user in scene.users] == [1e-8, 2e-8]
    assert scene.users[1].scattered[0].target == 't1'
    assert scene.targets[0].reflection == 0.8 - 0.6j


def test_example_deployment(tmp_path):
    testbed = load_deployment(example(DEPLOYMENT, tmp_path))
    assert [body.id for body in testbed.bodies] == ['u1', 't1', 't2', 'u2']
    assert testbed.design.budget == 0.01 and len(testbed.transmit_array) == 2304


@pytest.mark.parametrize('pages, model', [
    ([SCENES], SceneModel), ([DEPLOYMENT, SCENES], DeploymentModel)], ids=['scene', 'deployment'])
def test_every_key_is_explained(pages, model):
    text = ''.join(page.read_text() for page in pages)
    explained = set(re.findall(r'\w+', ' '.join(re.findall(r'`([^`\n]+)`', text))))
    assert keys(model) - explained == set()


def test_every_design_is_explained():
    named = set(re.findall(r'`([^`\n]+)`', SCENES.read_text()))
    assert set(DESIGNS) <= named
