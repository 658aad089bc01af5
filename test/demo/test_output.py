from __future__ import annotations

import pytest

from nf_isac_ros.demo.graph import UsageError
from nf_isac_ros.demo.output import open_output


def fill(path) -> None:
    """Write what a demo writes."""
    for name in ('summary.json', 'scene.png', 'timeline.png', 'recording/recording.mcap',
                 'recording/metadata.yaml', 'logs/beamformer.log'):
        (path / name).parent.mkdir(exist_ok=True)
        (path / name).write_text('old')


def names(path) -> set[str]:
    return {str(file.relative_to(path)) for file in path.rglob('*')
            if not file.name.startswith('.')}


def test_what_an_earlier_demo_wrote_is_replaced(tmp_path):
    open_output(tmp_path / 'out').close()
    fill(tmp_path / 'out')
    open_output(tmp_path / 'out').close()
    assert names(tmp_path / 'out') == set()


def test_foreign_files_stay(tmp_path):
    open_output(tmp_path).close()
    fill(tmp_path)
    foreign = {'notes.txt', 'logs/mine.txt', 'other/summary.json'}
    (tmp_path / 'other').mkdir()
    for name in foreign:
        (tmp_path / name).write_text('mine')
    open_output(tmp_path).close()
    assert names(tmp_path) == foreign | {'logs', 'other'}
    assert all((tmp_path / name).read_text() == 'mine' for name in foreign)


@pytest.mark.parametrize('name', ['summary.json', 'recording', 'logs'])
def test_a_folder_with_such_names_that_no_demo_wrote_is_refused(tmp_path, name):
    (tmp_path / name).mkdir()
    with pytest.raises(UsageError, match=f'{name} exists and was not written by a demo'):
        open_output(tmp_path)
    assert names(tmp_path) == {name}


def test_a_foreign_file_in_the_recording_is_refused(tmp_path):
    open_output(tmp_path).close()
    (tmp_path / 'recording').mkdir()
    (tmp_path / 'recording' / 'thesis.txt').write_text('mine')
    with pytest.raises(UsageError, match='thesis.txt was not written by a demo'):
        open_output(tmp_path)
    assert (tmp_path / 'recording' / 'thesis.txt').exists()


def test_a_link_is_not_followed(tmp_path):
    out, elsewhere = tmp_path / 'out', tmp_path / 'elsewhere'
    open_output(out).close()
    elsewhere.mkdir()
    (elsewhere / 'precious.mcap').write_text('mine')
    (out / 'recording').symlink_to(elsewhere)
    with pytest.raises(UsageError, match='not written by a demo'):
        open_output(out)
    assert (elsewhere / 'precious.mcap').exists()


def test_two_demos_cannot_share_a_folder(tmp_path):
    first = open_output(tmp_path)
    with pytest.raises(UsageError, match='another demo is writing there'):
        open_output(tmp_path)
    first.close()
    open_output(tmp_path).close()


@pytest.mark.parametrize('name', ['file', 'file/out'])
def test_a_file_in_the_way_is_said(tmp_path, name):
    (tmp_path / 'file').write_text('mine')
    with pytest.raises(UsageError, match='is not a folder'):
        open_output(tmp_path / name)
