"""Which figures there are and where; nothing is imported before it is asked for."""

from __future__ import annotations

from collections.abc import Sequence
import importlib
from typing import TYPE_CHECKING

from nf_isac_ros.figures.errors import FigureError

if TYPE_CHECKING:
    from nf_isac_ros.figures.panels import Figure

# Figure -> its module and its panels: fig3.. of the near-field paper, et3.. of the paper on
# extended targets, loc1 of neither.
MODULES = {
    'fig3': ('nf_isac_ros.figures.fig3_collocated', 'abcdefg'),
    'fig4': ('nf_isac_ros.figures.fig4_separated', 'abcd'),
    'fig5': ('nf_isac_ros.figures.fig5_scattered', 'abcd'),
    'fig6': ('nf_isac_ros.figures.fig6_several', 'abcdefghijkl'),
    'fig7': ('nf_isac_ros.figures.fig7_complexity', 'ab'),
    'et3': ('nf_isac_ros.figures.et3_bounds', 'abc'),
    'et4': ('nf_isac_ros.figures.et4_vehicle', 'ab'),
    'et5': ('nf_isac_ros.figures.et5_uav', 'ab'),
    'et6': ('nf_isac_ros.figures.et6_estimates', 'abc'),
    'et7': ('nf_isac_ros.figures.et7_patterns', 'ab'),
    'et8': ('nf_isac_ros.figures.et8_users', 'a'),
    'et9': ('nf_isac_ros.figures.et9_zero_forcing', 'abc'),
    'loc1': ('nf_isac_ros.figures.loc1_localisation', 'ab'),
}


def figure(name: str) -> Figure:
    """Load a figure."""
    return importlib.import_module(MODULES[name][0]).FIGURE


def panels(names: Sequence[str]) -> dict[str, str]:
    """
    Turn what was asked for into panels.

    Parameters
    ----------
    names : sequence of str
        'all', a figure ('fig3', 'et3') or a panel ('fig3b').

    Returns
    -------
    dict of str to str
        Figure -> its panels that are wanted, in the order of the papers.

    Raises
    ------
    FigureError
        If a name is unknown or there is none.

    """
    known = {f'{name}{letter}' for name, (_, letters) in MODULES.items() for letter in letters}
    wanted: set[str] = set()
    for name in names:
        if name == 'all':
            wanted |= known
        elif name in MODULES:
            wanted |= {f'{name}{letter}' for letter in MODULES[name][1]}
        elif name in known:
            wanted.add(name)
        else:
            raise FigureError(f'figure: is {name!r}; must be one of {allowed()}')
    if not wanted:
        raise FigureError(f'figure: none is named; must be one of {allowed()}')
    chosen = {name: ''.join(letter for letter in letters if f'{name}{letter}' in wanted)
              for name, (_, letters) in MODULES.items()}
    return {name: letters for name, letters in chosen.items() if letters}


def allowed() -> str:
    """What may be asked for, in words."""
    return ', '.join(['all', *(f'{name}, {name}{letters[0]}-{letters[-1]}'
                               for name, (_, letters) in MODULES.items())])
