"""JSON and YAML 1.2 into validated models; errors name key, value and what is allowed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from nf_isac_ros.core.exceptions import NfIsacError


class FileError(NfIsacError, ValueError):
    """A file that cannot be used; the message is one line."""

    reason = 'bad-file'


class StrictModel(BaseModel):
    """Base of all file models: no unknown keys, no text for numbers, nothing infinite."""

    model_config = ConfigDict(
        extra='forbid', strict=True, allow_inf_nan=False, frozen=True)


Model = TypeVar('Model', bound=StrictModel)


def parse_file(path: Path, model: type[Model]) -> Model:
    """
    Read and validate a file.

    Parameters
    ----------
    path : Path
        Parsed as JSON first, whatever its suffix, then as YAML with YAML 1.2 number rules.
    model : type
        Model to validate against.

    Returns
    -------
    Model

    Raises
    ------
    FileError
        If the file cannot be read, parsed or validated; names the first key at fault.

    """
    try:
        text = Path(path).read_text(encoding='utf-8')
    except (OSError, UnicodeDecodeError) as error:
        what = error.strerror if isinstance(error, OSError) else 'is not UTF-8 text'
        raise FileError(f'{path}: {what}') from error
    return validate(_parse(text, path), model, str(path))


def _parse(text: str, path: Path) -> Any:
    try:
        return json.loads(text, object_pairs_hook=_unique_keys)
    except ValueError as error:
        if text.lstrip().startswith('{') and Path(path).suffix == '.json':
            raise FileError(f'{path}: is not JSON: {error}') from error
    try:
        return YAML(typ='safe', pure=True).load(text)
    except YAMLError as error:
        what = ' '.join(str(error).split())
        raise FileError(f'{path}: is neither JSON nor YAML: {what}') from error


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    out = dict(pairs)
    if len(out) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f'key {twice!r} is there twice')
    return out


def validate(data: Any, model: type[Model], source: str) -> Model:
    """Validate parsed data; errors as in `parse_file`."""
    if not isinstance(data, dict):
        raise FileError(f'{source}: holds {_shown(data)}, must be a mapping of keys to values')
    try:
        # Python mode with lists where JSON has arrays: strict about numbers, not about tuples.
        return model.model_validate_json(json.dumps(data, default=str))
    except ValidationError as error:
        raise FileError(f'{source}: {_one_line(error)}') from error
    except ValueError as error:
        raise FileError(f'{source}: {error}') from error


def _one_line(error: ValidationError) -> str:
    """Key, value and what is allowed of the first fault, and how many more there are."""
    # A key that is not known is often a misspelled required one: it explains more, so it is first.
    faults = sorted(error.errors(), key=lambda fault: fault['type'] != 'extra_forbidden')
    fault = faults[0]
    key = ''
    for part in fault['loc']:
        key += f'[{part}]' if isinstance(part, int) else f'.{part}' if key else str(part)
    if fault['type'] == 'missing':
        line = f'{key}: is missing'
    elif fault['type'] == 'extra_forbidden':
        line = f'{key}: is {_shown(fault["input"])}, but no such key is known here'
    elif fault['type'] == 'value_error':
        line = f'{key + ": " if key else ""}{fault["msg"].removeprefix("Value error, ")}'
    else:
        line = f'{key}: is {_shown(fault["input"])}; {_lower(fault["msg"])}'
    return line + (f' (and {len(faults) - 1} more faults)' if len(faults) > 1 else '')


def _shown(value: Any) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= 80 else text[:77] + '...'


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]
