"""The report: one page that needs nothing beside itself, and a picture of every figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.resources import files
import json
from typing import TYPE_CHECKING, Any

from bokeh.embed import components
from bokeh.resources import Resources
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup
import numpy as np

from nf_isac_ros.files.deployment import Deployment
from nf_isac_ros.replay import drawing
from nf_isac_ros.replay.folder import Folder
from nf_isac_ros.replay.incidents import Incident
from nf_isac_ros.replay.panels import (
    MAX_USERS,
    STATE_COLOURS,
    Comparison,
    Curves,
    Figures,
    bands,
    body_colours,
    comparisons,
    patterns,
    scene_map,
    state_rows,
    time_panels,
)
from nf_isac_ros.replay.pictures import write_pictures
from nf_isac_ros.replay.summary import QUALITIES
from nf_isac_ros.replay.table import (
    RECORDED,
    REDESIGNED,
    TARGET,
    USER,
    Columns,
    Row,
    bodies_of,
)
from nf_isac_ros.replay.timeaxis import TimeAxis, duration
from nf_isac_ros.replay.whatif import PREFIX

if TYPE_CHECKING:
    from nf_isac_ros.replay.session import BagResult

# Lines of a table on the page; the files have all of them.
MAX_INCIDENTS = 2000
MAX_COMPARED = 500
MAX_NOTES = 60


def write_report(folder: Folder, deployment: Deployment, results: Sequence[BagResult],
                 incidents: Sequence[Incident], comparison: Sequence[Row],
                 summary: Mapping[str, Any]) -> list[str]:
    """
    Write report.html and the pictures.

    Parameters
    ----------
    folder : Folder
        Has cycles.parquet.
    deployment : Deployment
    results : sequence of BagResult
    incidents : sequence of Incident
        In the order of time.
    comparison : sequence of dict
        Rows of whatif_summary.csv; empty: nothing was swept.
    summary : mapping
        Content of summary.json.

    Returns
    -------
    list of str
        Names of the pictures.

    """
    cycles = Columns(folder.path / 'cycles.parquet')
    figures = collect(cycles, deployment, results, incidents, summary)
    swept = [name for name in comparison[0] if name.startswith(PREFIX)] if comparison else []
    charts = comparisons(comparison, swept)
    page = render(figures, charts, cycles, deployment, results, incidents, comparison, summary)
    path = folder.path / 'report.html'
    path.with_suffix('.new').write_text(page, encoding='utf-8')
    path.with_suffix('.new').replace(path)
    return write_pictures(figures, charts, folder.figures)


def collect(cycles: Columns, deployment: Deployment, results: Sequence[BagResult],
            incidents: Sequence[Incident], summary: Mapping[str, Any]) -> Figures:
    """Everything that is drawn."""
    bag, stamps = cycles['bag'], cycles['transmit_time_s']
    # From the start of the recording on, as the table of incidents counts.
    axis = TimeAxis({result.name: np.append(stamps[bag == result.name], result.start)
                     for result in results})
    starts = {result.name: result.start for result in results}
    curves = Curves(cycles, axis)
    shown, hidden = bands(incidents, curves.modes[0], axis, starts)
    view = scene_map(cycles, curves, deployment, [result.paths for result in results])
    beams = [(result.name, each) for result in results for each in result.beams]
    return Figures(
        axis, list(time_panels(curves, cycles, deployment, summary['budget_ms'])), shown, hidden,
        list(state_rows(curves, cycles)), view,
        patterns(beams, cycles, curves, deployment, view, axis, starts),
        bodies_of(cycles.names, TARGET), bodies_of(cycles.names, USER))


def render(figures: Figures, charts: Sequence[Comparison], cycles: Columns,
           deployment: Deployment, results: Sequence[BagResult], incidents: Sequence[Incident],
           comparison: Sequence[Row], summary: Mapping[str, Any]) -> str:
    """Text of the page."""
    drawn = drawing.figures_of(figures, charts)
    script, divs = components(drawn, wrap_script=True)
    shown = {key: {'div': Markup(div)} for key, div in divs.items()}
    keys = _keys(figures, charts)
    for key, words in _words(figures, charts).items():
        if key in shown:
            shown[key] |= {**words, 'key': keys.get(key, [])}
    starts = {result.name: result.start for result in results}
    sections = [('overview', 'Overview'), ('time', 'Over time'), ('map', 'Tracks and bounds')]
    sections += [('beams', 'Beam patterns')] if 'beams' in shown else []
    sections += [('whatif', 'What if')] if charts else []
    sections += [('incidents', 'Incidents')]
    names = ', '.join(result.name for result in results)
    frames = [] if figures.patterns is None else figures.patterns.frames
    instants = [f'{frame.time:.2f} s' + (f' of {frame.bag}' if len(results) > 1 else '')
                for frame in frames]
    time_range = drawn['root_crb'].x_range if 'root_crb' in drawn else drawn['states'].x_range
    data = {
        'timeRange': drawing.TIME_RANGE, 'timeBegin': time_range.start,
        'timeEnd': time_range.end, 'pattern': drawing.PATTERN,
        'bodies': drawing.PATTERN_BODIES, 'x': drawing.X, 'y': drawing.Y,
        'instants': instants}
    environment = Environment(autoescape=True, undefined=StrictUndefined)
    template = environment.from_string(_page('report.html.j2'))
    timelines = [shown[key] for key in shown
                 if key == 'states' or key in {panel.key for panel in figures.panels}]
    return template.render(
        title=f'Replay of {names}', subtitle=_subtitle(deployment, summary),
        style=Markup(_page('report.css')), behaviour=Markup(_page('report.js')),
        bokeh=Markup(Resources(mode='inline', components=['bokeh']).render_js()),
        script=Markup(script), data=Markup(json.dumps(data).replace('<', '\\u003c')),
        sections=[{'key': key, 'name': name} for key, name in sections],
        cards=_cards(figures, summary, incidents), body_columns=_BODY_COLUMNS,
        bodies=_bodies(figures, summary), notes=_notes(figures, results, summary),
        time_text=_time_text(figures), band_legend=_band_legend(figures), timelines=timelines,
        map=shown['map'], beams=shown.get('beams'), instants=instants,
        comparisons=[shown[chart.key] for chart in charts],
        comparison_text=_comparison_text(comparison),
        comparison_columns=[_head(name) for name in (comparison[0] if comparison else ())],
        comparison_rows=[[_cell(value) for value in row.values()]
                         for row in comparison[:MAX_COMPARED]],
        incidents_text=_incidents_text(incidents),
        incident_columns=_INCIDENT_COLUMNS[:len(_INCIDENT_COLUMNS) - (len(starts) == 1)],
        incidents=[_incident(each, figures.axis, starts)
                   for each in incidents[:MAX_INCIDENTS]],
        footer=f'nf_isac_ros {summary["version"]}. All numbers: summary.json; every cycle: '
               'cycles.parquet, cycles.csv; every incident: incidents.csv; pictures of the '
               'figures: figures.')


def _page(name: str) -> str:
    return files(__package__).joinpath('page', name).read_text(encoding='utf-8')


# Words


def _subtitle(deployment: Deployment, summary: Mapping[str, Any]) -> str:
    radio = deployment.radio
    how = (f'real time, {summary["budget_ms"]:g} ms a design' if summary['budget_ms'] else
           f'as long as it takes, to a certified gap of {summary["gap"]:g}')
    redesigned = (f', designed again as {summary["design"]} ({how})' if summary['redesigned']
                  else '')
    return (f'Deployment {summary["config"]}: {len(deployment.transmit_array)} elements, '
            f'{radio.power:g} W, wavelength {1e3 * radio.wavelength:.3g} mm{redesigned}.')


def _words(figures: Figures, charts: Sequence[Comparison]) -> dict[str, dict[str, str]]:
    """Titles of the figures, and what they show for those who do not see them."""
    words = {'states': {
        'title': 'State of design and radio',
        'words': 'Bars over time: ' + '; '.join(
            f'{row.label}: {len(row.states)} stretches' for row in figures.states)}}
    for panel in figures.panels:
        thinned = max((each.thinned for each in panel.lines), default=1)
        note = (f' (least and greatest of {thinned} cycles at each place)' if thinned > 1 else '')
        ranges = []
        for each in panel.lines:
            known = each.y[np.isfinite(each.y)]
            ranges += [f'{each.label} from {known.min():.3g} to {known.max():.3g}'] if len(
                known) else []
        words[panel.key] = {'title': f'{panel.title}{note}',
                            'words': f'{panel.title}, {panel.unit}: ' + '; '.join(ranges)}
    view = figures.map
    words['map'] = {
        'title': f'Tracks from above, last places marked; bounds (1 sigma) enlarged '
                 f'{view.factor:g} times' if view.ellipses else 'Tracks from above',
        'words': 'Map with the tracks of ' + ', '.join(
            f'{role} {body}' for role, body in view.tracks)}
    if figures.patterns is not None:
        heights = figures.patterns.heights
        where = (f'{heights[0]:.2f} m' if len(heights) == 1 else
                 f'{heights[0]:.2f} to {heights[-1]:.2f} m, the best of {len(heights)}')
        words['beams'] = {'title': f'Gain over isotropic transmission at a height of {where}',
                          'words': 'Beam pattern from above with the bodies at the chosen instant'}
    for chart in charts:
        words[chart.key] = {
            'title': chart.title,
            'words': f'{chart.title} over {chart.swept}: ' + '; '.join(
                f'{each.label}: ' + ', '.join(f'{value:.3g}' for value in each.y)
                for each in chart.series)}
    return words


def _keys(figures: Figures, charts: Sequence[Comparison]) -> dict[str, list[dict[str, str]]]:
    """Keys to the colours of the figures."""
    states = {state for row in figures.states for _, _, state in row.states}
    keys = {'states': [{'text': state, 'colour': shade, 'look': 'box'}
                       for state, shade in STATE_COLOURS.items() if state in states]}
    for curves in (*((panel.key, panel.lines) for panel in figures.panels),
                   *((chart.key, chart.series) for chart in charts)):
        keys[curves[0]] = [{'text': each.label, 'colour': each.colour, 'look': each.dash}
                           for each in curves[1]]
    bodies = [{'text': f'{role} {body}', 'colour': shade, 'look': role}
              for (role, body), shade in body_colours(figures.map.tracks).items()]
    return keys | {'map': bodies, 'beams': bodies}


def _cards(figures: Figures, summary: Mapping[str, Any],
           incidents: Sequence[Incident]) -> list[dict[str, str]]:
    """Numbers that matter."""
    cards = [{'name': 'Cycles', 'value': f'{summary["cycles"]}', 'unit': '',
              'note': f'{summary["recorded"]} recorded, {summary["redesigned"]} redesigned'}]
    for mode in (REDESIGNED, RECORDED):
        found = summary['modes'].get(mode)
        if found is None:
            continue
        quality = found['quality']
        good = (quality['optimal'] + quality['early']) / found['cycles']
        cards.append({
            'name': f'As asked for, {mode}', 'value': f'{100 * good:.1f}', 'unit': '%',
            'note': ', '.join(f'{quality[name]} {name}' for name in QUALITIES if quality[name]),
            'tone': 'good' if good > 0.99 else 'bad'})
    root, isotropic = summary['root_crb_m'], _first(summary).get('isotropic_root_crb_m', {})
    if root:
        worst = max(root, key=lambda target: root[target])
        gain = isotropic.get(worst)
        cards.append({
            'name': 'Median root-CRB, worst target', **_length(root[worst]),
            'note': f'{worst}' + (f'; isotropic {_length_text(gain)}' if gain else '')})
    met = summary['sinr_met']
    if met:
        worst = min(met, key=lambda user: met[user])
        cards.append({
            'name': 'SINR met, worst user', 'value': f'{100 * met[worst]:.1f}', 'unit': '%',
            'note': f'{worst}; of the cycles in which it was tracked',
            'tone': 'good' if met[worst] > 0.99 else 'bad'})
    times = _first(summary).get('cycle_ms', {})
    if times.get('p50') is not None:
        cards.append({'name': 'Cycle time, median', 'value': f'{times["p50"]:.3g}', 'unit': 'ms',
                      'note': f'99 % below {times["p99"]:.3g} ms'})
    muted = sum(each.length for each in incidents if each.kind == 'radio-muted')
    if any(row.label == 'radio' for row in figures.states):
        cards.append({'name': 'Radio muted', 'value': duration(muted), 'unit': '',
                      'note': 'as it was recorded'})
    rejected = sum(summary['rejected'].values())
    cards.append({'name': 'Messages refused', 'value': f'{rejected}', 'unit': '',
                  'note': ', '.join(f'{reason} {count}' for reason, count
                                    in summary['rejected'].items()) or 'none',
                  'tone': 'bad' if rejected else 'good'})
    cards.append({'name': 'Incidents', 'value': f'{len(incidents)}', 'unit': '',
                  'note': _most(summary['incidents'])})
    return [{'tone': '', **card} for card in cards]


def _first(summary: Mapping[str, Any]) -> Mapping[str, Any]:
    """Figures of the mode that speaks first."""
    modes = summary['modes']
    return modes.get(REDESIGNED) or modes.get(RECORDED) or {}


def _most(counts: Mapping[str, int]) -> str:
    ranked = sorted(counts.items(), key=lambda item: -item[1])
    more = f' and {len(ranked) - 3} more reasons' if len(ranked) > 3 else ''
    return ', '.join(f'{reason} {count}' for reason, count in ranked[:3]) + more or 'none'


def _length(metres: float) -> dict[str, str]:
    value, unit = _scaled(metres)
    return {'value': f'{value:.3g}', 'unit': unit}


def _length_text(metres: float) -> str:
    value, unit = _scaled(metres)
    return f'{value:.3g} {unit}'


def _scaled(metres: float) -> tuple[float, str]:
    return (metres, 'm') if metres >= 1 else (1e2 * metres, 'cm') if metres >= 0.1 else (
        1e3 * metres, 'mm')


_BODY_COLUMNS = ('median root-CRB', 'isotropic', 'median SINR', 'SINR met', 'mode')


def _bodies(figures: Figures, summary: Mapping[str, Any]) -> list[list[str]]:
    rows = []
    for mode, found in summary['modes'].items():
        for target in figures.targets:
            if target in found['root_crb_m']:
                isotropic = found['isotropic_root_crb_m'].get(target)
                rows.append([f'target {target}', _length_text(found['root_crb_m'][target]),
                             '' if isotropic is None else _length_text(isotropic), '', '', mode])
        for user in figures.users:
            sinr, met = found['sinr_db'].get(user), found['sinr_met'].get(user)
            if sinr is not None or met is not None:
                rows.append([f'user {user}', '', '', '' if sinr is None else f'{sinr:.2f} dB',
                             '' if met is None else f'{100 * met:.1f} %', mode])
    return rows


def _notes(figures: Figures, results: Sequence[BagResult],
           summary: Mapping[str, Any]) -> list[str]:
    notes = [f'{result.name}: {note}' for result in results for note in result.counts.notes]
    notes += [f'{result.name}: {count} messages refused as {reason}, the first one because '
              f'{result.counts.examples.get(reason, "")}'
              for result in results for reason, count in result.counts.rejected.items()]
    notes += [f'an unforeseen failure, labelled internal-error: {text}'
              for text in summary['failures']]
    if len(figures.users) > MAX_USERS:
        notes.append(f'{len(figures.users) - MAX_USERS} users have no figure of their own; '
                     'cycles.csv has them')
    if len(notes) > MAX_NOTES:
        notes = [*notes[:MAX_NOTES], f'and {len(notes) - MAX_NOTES} more; summary.json has all']
    return notes


def _time_text(figures: Figures) -> str:
    text = ('Time runs since the start of the recording. A curve with more points than can be '
            'seen is drawn through the least and the greatest value in each of 2000 intervals, so '
            'that no peak is lost.')
    if figures.axis.cuts:
        text += (' Long pauses and the changes from one recording to the next are cut out, at the '
                 'dashed lines: the numbers on the axis count seconds with cycles. The table of '
                 'incidents has true times.')
    if figures.bands_hidden:
        text += (f' The {len(figures.bands)} longest bands are drawn, {figures.bands_hidden} '
                 'shorter ones are not.')
    return text


def _band_legend(figures: Figures) -> list[dict[str, str]]:
    """What the coloured bands mean, the longest first."""
    seconds: dict[tuple[str, str], float] = {}
    for band in figures.bands:
        key = (band.kind, band.reason)
        seconds[key] = seconds.get(key, 0.0) + band.end - band.begin
    ranked = sorted(seconds.items(), key=lambda item: -item[1])[:6]
    return [{'kind': kind, 'text': f'{kind}: {reason or "no reason given"}, {duration(total)}'}
            for (kind, reason), total in ranked]


def _comparison_text(comparison: Sequence[Row]) -> str:
    text = (f'{len(comparison)} combinations over the same motion; every cycle of each is in '
            'whatif.parquet and whatif.csv.')
    if len(comparison) > MAX_COMPARED:
        text += f' The table has the first {MAX_COMPARED}, whatif_summary.csv all of them.'
    return text


_INCIDENT_COLUMNS = ('begin [s]', 'length [s]', 'kind', 'reason', 'source', 'mode', 'count',
                     'begin (UTC)', 'recording')


def _incidents_text(incidents: Sequence[Incident]) -> str:
    if not incidents:
        return 'There was none.'
    stretches = '1 stretch' if len(incidents) == 1 else f'{len(incidents)} stretches'
    text = (f'{stretches} in which something was not as it should be; times since the start of '
            'the recording.')
    if len(incidents) > MAX_INCIDENTS:
        text += f' The first {MAX_INCIDENTS} are here, incidents.csv has all of them.'
    return text


def _incident(each: Incident, axis: TimeAxis, starts: Mapping[str, float]) -> dict[str, Any]:
    """Cells of an incident; which recording it was in is said where there are several."""
    begin, end = axis.places(each.bag, starts[each.bag] + np.array([each.begin_s, each.end_s]))
    cells = [(f'{each.begin_s:.3f}', each.begin_s), (f'{each.length:.3f}', each.length),
             (each.kind, None), (each.reason, None), (each.source, None), (each.mode, None),
             (str(each.count), each.count), (each.begin_utc, None)]
    cells += [(each.bag, None)] if len(starts) > 1 else []
    return {'cells': [{'text': text, 'sort': sort} for text, sort in cells],
            'begin': round(float(begin), 4), 'end': round(float(end), 4)}


_UNITS = {'db': 'dB', 'm': 'm', 'w': 'W', 'ms': 'ms', 'wavelengths': 'wavelengths'}


def _head(name: str) -> str:
    """Column of a comparison in words, its unit in brackets."""
    words = name.removeprefix(PREFIX).replace('target.', '').replace('user.', '').replace(
        '.', ' ')
    what, _, unit = words.rpartition('_')
    if unit in _UNITS:
        words = f'{what} [{_UNITS[unit]}]'
    return words.replace('_', ' ')


def _cell(value: Any) -> dict[str, Any]:
    if value is None or (isinstance(value, float) and np.isnan(value)):
        return {'text': '', 'sort': ''}
    if isinstance(value, float):
        return {'text': f'{value:.4g}', 'sort': value}
    return {'text': str(value), 'sort': ''}
