"""Message definitions for `rosbags`: those of ROS 2 Jazzy, and those of installed packages."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from rosbags.typesys import Stores, get_types_from_msg, get_typestore

if TYPE_CHECKING:
    from rosbags.interfaces.typing import Typesdict
    from rosbags.typesys.store import Typestore

OWN_PACKAGE = 'nf_isac_msgs'


def installed_definitions(package: str) -> Typesdict:
    """
    Message definitions of a package, from the share folders that the ament index names.

    Parameters
    ----------
    package : str
        Such as 'nf_isac_msgs'.

    Returns
    -------
    dict
        By type name, as `rosbags` wants them; empty if the package is not installed.

    """
    definitions: Typesdict = {}
    for prefix in os.environ.get('AMENT_PREFIX_PATH', '').split(os.pathsep):
        folder = Path(prefix) / 'share' / package / 'msg'
        for path in sorted(folder.glob('*.msg')) if prefix else ():
            name = f'{package}/msg/{path.stem}'
            if name not in definitions:   # the first prefix wins, as in ament
                definitions.update(get_types_from_msg(path.read_text(encoding='utf-8'), name))
    return definitions


def add_missing(store: Typestore, definitions: Typesdict) -> None:
    """Register those definitions whose names the store does not know yet."""
    store.register({name: definition for name, definition in definitions.items()
                    if name not in store.fielddefs})


def standard_store() -> Typestore:
    """Typestore of ROS 2 Jazzy's common types and, where installed, this project's."""
    store = get_typestore(Stores.ROS2_JAZZY)
    add_missing(store, installed_definitions(OWN_PACKAGE))
    return store


def know(store: Typestore, type_name: str) -> bool:
    """Tell whether a type is known, after a look at the installed packages."""
    if type_name not in store.fielddefs:
        add_missing(store, installed_definitions(type_name.partition('/')[0]))
    return type_name in store.fielddefs
