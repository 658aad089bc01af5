"""Compilation where nothing can be cached."""

import os
from pathlib import Path
import shutil
import subprocess
import sys

import pytest

import nf_isac_ros


@pytest.mark.skipif(os.geteuid() == 0 and shutil.which('setpriv') is None,
                    reason='root writes to read-only folders too')
def test_functions_work_where_no_folder_can_be_written(tmp_path):
    package = tmp_path / 'nf_isac_ros'
    source = Path(nf_isac_ros.__file__).parent
    shutil.copytree(source / 'core', package / 'core',
                    ignore=shutil.ignore_patterns('__pycache__'))
    shutil.copy(source / '__init__.py', package)
    script = ('import numpy as np\n'
              'from nf_isac_ros.core.small_matrices import cholesky\n'
              'assert cholesky(np.eye(2)) == 1.0\n'
              'assert not list(__import__("pathlib").Path(".").rglob("*.nb*"))\n')
    # Neither owner nor root: a file where the cache of the user would be.
    (tmp_path / 'home').write_text('')
    environment = {key: value for key, value in os.environ.items()
                   if key not in ('NUMBA_CACHE_DIR', 'XDG_CACHE_HOME')}
    environment |= {'PYTHONPATH': str(tmp_path), 'HOME': str(tmp_path / 'home'),
                    'PYTHONDONTWRITEBYTECODE': '1'}
    command = [sys.executable, '-c', script]
    for folder in (tmp_path, *(path for path in tmp_path.rglob('*') if path.is_dir())):
        folder.chmod(0o555)
    if os.geteuid() == 0:
        nobody = '65534'
        command = ['setpriv', '--reuid', nobody, '--regid', nobody, '--clear-groups', *command]
        for folder in (tmp_path.parent, tmp_path.parent.parent):
            folder.chmod(0o755)
    try:
        result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True,
                                text=True, timeout=120, check=False)
    finally:
        for folder in (tmp_path, *(path for path in tmp_path.rglob('*') if path.is_dir())):
            folder.chmod(0o755)
    assert result.returncode == 0, result.stderr
