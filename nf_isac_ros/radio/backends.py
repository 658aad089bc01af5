"""The backends by name."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from nf_isac_ros.files.parsing import nearest
from nf_isac_ros.radio.base import Backend
from nf_isac_ros.radio.options import OptionError, Site, check_parts, part, read_options
from nf_isac_ros.radio.sigmf_backend import SigmfBackend
from nf_isac_ros.radio.simulated import SimulatedBackend
from nf_isac_ros.radio.zmq_backend import ZmqBackend

BACKENDS: dict[str, type[Backend]] = {
    'simulated': SimulatedBackend,
    'zmq': ZmqBackend,
    'sigmf': SigmfBackend,
}


def make_backend(name: str, site: Site, section: Mapping[str, Any]) -> Backend:
    """
    Make a backend with its options.

    Parameters
    ----------
    name : str
        A key of BACKENDS, or 'package.module:Class' of one that is installed elsewhere.
    site : Site
    section : mapping
        The section `radio_backend` of a deployment file. The part with the name of the backend,
        or of the class, holds its options; parts for other backends do no harm.

    Raises
    ------
    OptionError
        Names the key, the value and what is allowed.
    BackendError
        If the radio cannot be used.

    """
    kind = backend_class(name)
    key = name.partition(':')[2] or name
    check_parts(section, ('front_end', 'samples', *BACKENDS, key))
    return kind(site, read_options(kind.OPTIONS, part(section, key), key))


def backend_class(name: str) -> type[Backend]:
    """Class of a backend by its name; OptionError if there is none."""
    if name in BACKENDS:
        return BACKENDS[name]
    module, colon, member = name.partition(':')
    if not colon:
        raise OptionError(f'backend is {name!r}, {nearest(name, BACKENDS)}, or '
                          '"package.module:Class"')
    try:
        kind = getattr(import_module(module), member)
    except (ImportError, AttributeError, ValueError) as error:
        raise OptionError(f'backend is {name!r}, cannot be imported: {error}') from error
    if not (isinstance(kind, type) and issubclass(kind, Backend)):
        raise OptionError(f'backend is {name!r}, must be a class derived from Backend')
    return kind
