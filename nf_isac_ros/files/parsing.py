"""JSON and YAML 1.2 into validated models; errors name key, value and what is allowed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
import json
from pathlib import Path
import re
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator
from pydantic_core import PydanticCustomError
from ruamel.yaml import YAML
from ruamel.yaml.composer import Composer
from ruamel.yaml.error import MarkedYAMLError
from ruamel.yaml.events import AliasEvent
from ruamel.yaml.nodes import Node
from ruamel.yaml.resolver import VersionedResolver

from nf_isac_ros.core.exceptions import NfIsacError

# A full covariance of 2304 elements as JSON has 210 MB. The YAML parser takes a second for
# 400 kB; nobody waits for more than this.
MAX_BYTES = 256 * 2 ** 20
MAX_YAML_BYTES = 4 * 2 ** 20

MAX_SHOWN = 80


class FileError(NfIsacError, ValueError):
    """A file that cannot be used; the message is one line."""

    reason = 'bad-file'


def fault(key: Sequence[str | int], value: object, text: str) -> PydanticCustomError:
    """
    Make the error that a validator raises about a key below its own model.

    Parameters
    ----------
    key : sequence of str or int
        From the model on.
    value : object
        What is there.
    text : str
        What is allowed.

    """
    return PydanticCustomError('fault', 'fault', {'key': tuple(key), 'value': value, 'text': text})


def nearest(name: object, names: Iterable[str]) -> str:
    """Say which names are allowed, only the nearest if one comes close."""
    names = list(names)
    near = get_close_matches(str(name), names, n=1, cutoff=0.7)
    return f'did you mean {near[0]}?' if near else f'must be one of {", ".join(names)}'


class StrictModel(BaseModel):
    """Base of all file models: no unknown keys, no text for numbers, nothing infinite."""

    model_config = ConfigDict(
        extra='forbid', strict=True, allow_inf_nan=False, frozen=True)

    @model_validator(mode='before')
    @classmethod
    def _known_keys(cls, data: Any) -> Any:
        for key in data if isinstance(data, dict) else ():
            if key not in cls.model_fields:
                name = key if isinstance(key, str) else _shown(key)
                raise fault([name], data[key], f'no such key, {nearest(key, cls.model_fields)}')
        return data

    def exactly_one(self, *names: str) -> None:
        """Raise ValueError unless exactly one of the keys is given."""
        given = [name for name in names if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f'has {" and ".join(given) or "none of them"}; '
                             f'must have exactly one of {", ".join(names)}')


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
        return validate(read_data(path), model)
    except FileError as error:
        raise FileError(f'{path}: {error}') from error


def read_data(path: Path) -> Any:
    """Read and parse a file, as `parse_file` does, without validating what is in it."""
    return _parse(_read(path))


def _read(path: Path) -> str:
    try:
        with open(path, 'rb') as stream:
            data = stream.read(MAX_BYTES + 1)
        text = data.decode('utf-8-sig')
    except OSError as error:
        raise FileError(error.strerror or str(error)) from error
    except UnicodeDecodeError as error:
        raise FileError('is not UTF-8 text') from error
    if len(data) > MAX_BYTES:
        raise FileError(f'is too large; must have at most {MAX_BYTES // 2 ** 20} MiB')
    if not text.strip():
        raise FileError('is empty')
    return text


def _parse(text: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=_unique_keys)
    except FileError:
        raise
    except RecursionError:
        raise FileError('is nested too deeply') from None
    except ValueError as error:
        not_json = f'is not JSON ({error})'
    # JSON with a slip is no YAML either, and the slip is what the user wants to hear of.
    prefix = f'{not_json} and ' if text.lstrip()[0] in '{[' else ''
    if len(text) > MAX_YAML_BYTES:
        raise FileError(f'{not_json}; YAML must have at most {MAX_YAML_BYTES // 2 ** 20} MiB')
    yaml = YAML(typ='safe', pure=True)
    yaml.Composer, yaml.Resolver = _Composer, _Resolver
    try:
        return yaml.load(text)
    except RecursionError:
        raise FileError('is nested too deeply') from None
    except MarkedYAMLError as error:
        mark = error.problem_mark
        where = f', line {mark.line + 1}, column {mark.column + 1}' if mark else ''
        what = ' '.join(str(error.problem).split())
        raise FileError(f'{prefix}is not YAML: {what}{where}') from error
    # Not only YAMLError: a value that does not fit its tag ends in KeyError and others.
    except Exception as error:
        what = ' '.join(str(error).split())
        raise FileError(f'{prefix}is not YAML: {what}') from error


class _Composer(Composer):
    """Without aliases: a file of ten lines must not become a billion values."""

    def compose_node(self, parent: Node | None, index: Any) -> Any:
        if self.parser.check_event(AliasEvent):
            event = self.parser.peek_event()
            raise MarkedYAMLError(problem=f'alias *{event.anchor}: aliases are not allowed',
                                  problem_mark=event.start_mark)
        return super().compose_node(parent, index)


class _Resolver(VersionedResolver):
    """YAML 1.2, even if the file claims to be 1.1: there, `on` is a truth value."""

    processing_version = (1, 2)


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    out = dict(pairs)
    if len(out) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise FileError(f'key {_shown(twice)} is there twice in one mapping; must be there once')
    return out


def validate(data: Any, model: type[Model]) -> Model:
    """Validate parsed data; FileError names key, value and what is allowed."""
    if not isinstance(data, dict):
        raise FileError(f'holds {_shown(data)}; must be a mapping of keys to values')
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise FileError(_one_line(error)) from error


def _one_line(error: ValidationError) -> str:
    """Key, value and what is allowed of the first fault, and how many more there are."""
    # An unknown key is often a misspelled required one: it explains more, so it comes first.
    faults = sorted(error.errors(), key=lambda entry: entry['type'] != 'fault')
    first = faults[0]
    location, value, text = first['loc'], first['input'], first['msg']
    if first['type'] == 'fault':
        location += first['ctx']['key']
        value, text = first['ctx']['value'], first['ctx']['text']
    key = _key(location)
    if first['type'] == 'missing':
        line = f'{key}: is missing; must be given'
    elif (text := _PHRASES.get(first['type'], _allowed(text))).startswith('has '):
        line = f'{key}: {text}' if key else text
    else:
        line = f'{key}: is {_shown(value)}; {text}'
    more = len(faults) - 1
    return line + (f' (and {more} more fault{"s" * (more > 1)})' if more else '')


_PHRASES = {
    'model_type': 'must be a mapping of keys to values',
    'int_type': 'must be a whole number, without point or exponent',
    'int_from_float': 'must be a whole number, without point or exponent',
}


def _allowed(message: str) -> str:
    """Turn pydantic's "Input should be ..." into "must be ..."."""
    message = message.removeprefix('Value error, ')
    return re.sub(r'^(\w+) should (be a valid|\w+)', lambda m: 'must ' + (
        'be a' if m[2] == 'be a valid' else m[2]), message)


def _key(location: Sequence[str | int]) -> str:
    """Write a location as in `targets[0].position_m`; tags of unions, which begin with a dash."""
    key = ''
    for part in location:
        if isinstance(part, int):
            key += f'[{part}]'
        elif not str(part).startswith('-'):
            name = part if re.fullmatch(r'[\w.<-]+', str(part)) else _shown(part)
            key += f'.{name}' if key else str(name)
    return key


def _shown(value: object) -> str:
    try:
        text = json.dumps(value, default=str)
    except (TypeError, ValueError):
        text = ascii(value)
    return text if len(text) <= MAX_SHOWN else text[:MAX_SHOWN - 3] + '...'
