"""Checks of options that several commands have; FileError names option, value, what is allowed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from nf_isac_ros.files.parsing import FileError


def check_design(name: str) -> None:
    """Raise FileError unless there is a design of that name."""
    from nf_isac_ros.core.designs import DESIGNS
    from nf_isac_ros.files.models import unknown_design

    if name not in DESIGNS:
        raise FileError(f'--design: is {name!r}; {unknown_design(name)}')


def gap_of(text: str) -> float:
    """Gap that was asked for, as a number."""
    try:
        gap = float(text)
    except ValueError:
        gap = float('nan')
    if not 0 < gap < 1:
        raise FileError(f'--gap: is {text!r}; must be a number between 0 and 1')
    return gap


def check_outputs(scene: Path, outputs: Mapping[str, Path | None]) -> None:
    """
    Raise FileError unless each file can be written without overwriting another one.

    Before anything is designed, which may take a while.
    """
    written = [scene.absolute()]
    for key, given in outputs.items():
        if given is None:
            continue
        path = given.absolute()
        if not path.parent.is_dir():
            raise FileError(f'{key}: is {str(path)!r}; must lie in a folder that exists')
        if path in written:
            raise FileError(f'{key}: is {str(path)!r}; must differ from the other files')
        written.append(path)
