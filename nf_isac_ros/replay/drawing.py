"""Draws the figures of a report with Bokeh, for the page."""

from __future__ import annotations

from collections.abc import Sequence

from bokeh.models import (
    Arrow,
    BoxAnnotation,
    ColorBar,
    ColumnDataSource,
    CrosshairTool,
    DataRange1d,
    FactorRange,
    HoverTool,
    Label,
    LinearColorMapper,
    LogTickFormatter,
    NormalHead,
    PanTool,
    Range1d,
    ResetTool,
    Span,
    TeeHead,
    Whisker,
)
from bokeh.palettes import Greys256
from bokeh.plotting import figure
import numpy as np

from nf_isac_ros.figures.style import FALLBACK_COLOUR, MUTE_COLOUR
from nf_isac_ros.replay.panels import (
    GREYS,
    STATE_COLOURS,
    Comparison,
    Figures,
    Map,
    Panel,
    Patterns,
    StateRow,
    body_colours,
)
from nf_isac_ros.replay.table import TARGET

TIME_RANGE = 'time-range'
PATTERN, PATTERN_BODIES = 'pattern', 'pattern-bodies'
# Names of the columns of frames; the script of the page puts the number behind.
IMAGE, X, Y = 'image', 'x', 'y'

HEIGHT, COMPACT_HEIGHT = 280, 190
LEFT = 80   # room for numbers and names beside a time axis [px]
MARKERS = {'target': 'diamond', 'user': 'circle'}
BAND_COLOURS = {'fallback': FALLBACK_COLOUR, 'mute': MUTE_COLOUR}


class Page:
    """
    Figures of one page, whose time axes move together.

    Parameters
    ----------
    figures : Figures

    """

    def __init__(self, figures: Figures) -> None:
        self._figures = figures
        margin = 0.005 * figures.axis.end
        self._range = Range1d(-margin, figures.axis.end + margin, name=TIME_RANGE)
        self._crosshair = Span(dimension='height', line_color=GREYS, line_dash='dotted')

    def _timeline(self, height: int, y_label: str, **options: object) -> figure:
        # No wheel zoom: it would take the scrolling of the page. The buttons above zoom.
        drawn = figure(height=height, sizing_mode='stretch_width', x_range=self._range,
                       tools=[PanTool(dimensions='width'), ResetTool(),
                              CrosshairTool(overlay=self._crosshair)],
                       toolbar_location=None, x_axis_label='time [s]', y_axis_label=y_label,
                       output_backend='canvas', **options)
        # All begin at the same place, whatever their numbers: one looks down from one to the next.
        drawn.min_border_left = LEFT
        _quiet(drawn)
        for cut in self._figures.axis.cuts:
            drawn.add_layout(Span(location=cut.place, dimension='height', line_color=GREYS,
                                  line_dash='dashed'))
        return drawn

    def states(self, rows: Sequence[StateRow]) -> figure:
        """Bars of states, and the names of what was cut out."""
        labels = [row.label for row in rows][::-1]
        drawn = self._timeline(62 + 30 * len(rows), '', y_range=FactorRange(*labels))
        names = {state for row in rows for _, _, state in row.states}
        for state, shade in STATE_COLOURS.items():
            if state not in names:
                continue
            bars = [(row.label, begin, end) for row in rows for begin, end, each in row.states
                    if each == state]
            source = ColumnDataSource({
                'label': [bar[0] for bar in bars], 'left': [bar[1] for bar in bars],
                'right': [bar[2] for bar in bars], 'state': [state] * len(bars)})
            renderer = drawn.hbar(y='label', left='left', right='right', height=0.7,
                                  color=shade, line_width=1, line_color=shade, source=source)
            drawn.add_tools(HoverTool(renderers=[renderer], tooltips=[
                ('state', '@state'), ('from', '@left{0.000} s'), ('to', '@right{0.000} s')]))
        for cut in self._figures.axis.cuts[:20]:
            drawn.add_layout(Label(x=cut.place, y=4, y_units='screen', text=cut.text,
                                   text_font_size='11px', x_offset=4, text_color='#333333',
                                   background_fill_color='white', background_fill_alpha=0.8))
        drawn.ygrid.visible = False
        return drawn

    def panel(self, panel: Panel) -> figure:
        """Curves over time, on bands where the design was a lesser one."""
        drawn = self._timeline(COMPACT_HEIGHT if panel.compact else HEIGHT, panel.unit,
                               y_axis_type='log' if panel.logarithmic else 'linear',
                               y_range=panel.limits)
        if panel.logarithmic:
            drawn.yaxis.formatter = LogTickFormatter(min_exponent=4)
        for band in self._figures.bands:
            drawn.add_layout(BoxAnnotation(
                left=band.begin, right=band.end, fill_color=BAND_COLOURS[band.kind],
                fill_alpha=0.35, line_color=None, level='underlay', propagate_hover=True))
        renderers = []
        for each in panel.lines:
            renderer = drawn.line(np.asarray(each.x, np.float64), np.asarray(each.y, np.float32),
                                  color=each.colour, line_dash=each.dash, line_width=1.8,
                                  name=each.label)
            renderers.append(renderer)
        drawn.add_tools(HoverTool(renderers=renderers, mode='mouse', tooltips=[
            ('', '$name'), ('time', '@x{0.000} s'), ('value', '@y{0.0000}')]))
        return drawn

    def map(self, view: Map) -> figure:
        """Tracks and bounds from above."""
        drawn = _plan(view)
        colours = body_colours(view.tracks)
        for (role, body), places in view.tracks.items():
            shade = colours[role, body]
            drawn.line(places[:, 0], places[:, 1], color=shade, line_width=2)
            known = places[np.isfinite(places).all(axis=1)]
            drawn.scatter(known[-1:, 0], known[-1:, 1], marker=MARKERS[role], size=12,
                          color=shade, line_color='white')
        for target in dict.fromkeys(each.target for each in view.ellipses):
            chosen = [each for each in view.ellipses if each.target == target]
            shade = colours.get((TARGET, target), GREYS)
            drawn.ellipse(x=[each.x for each in chosen], y=[each.y for each in chosen],
                          width=[2 * each.large for each in chosen],
                          height=[2 * each.small for each in chosen],
                          angle=[each.angle for each in chosen], fill_color=shade,
                          fill_alpha=0.3, line_color=shade)
        return drawn

    def pattern(self, view: Map, patterns: Patterns) -> figure:
        """Beam pattern with the bodies; the page's script changes the instant."""
        drawn = _plan(view)
        width, depth = view.high - view.low
        mapper = LinearColorMapper(palette=Greys256[::-1][:210], low=0, high=255)
        frames = patterns.frames
        source = ColumnDataSource({f'{IMAGE}{k}': [frame.image]
                                   for k, frame in enumerate(frames)})
        # One image for each instant, of which one is seen: the image of a glyph stays what it was
        # when its field changes.
        for k in range(len(frames)):
            drawn.image(image=f'{IMAGE}{k}', x=float(view.low[0]), y=float(view.low[1]),
                        dw=float(width), dh=float(depth), color_mapper=mapper, source=source,
                        name=f'{PATTERN}{k}', level='image', visible=k == 0)
        # The bar speaks of decibels, the image of bytes.
        drawn.add_layout(ColorBar(color_mapper=LinearColorMapper(
            palette=Greys256[::-1][:210], low=patterns.low, high=patterns.high),
            title='gain over isotropic transmission [dB]', height=14,
            title_text_font_style='normal', margin=4), 'below')
        bodies = list(dict.fromkeys((role, body) for frame in frames
                                    for role, body, _, _ in frame.bodies))
        colours = body_colours(view.tracks)
        data: dict[str, object] = {
            'label': [body for _, body in bodies],
            'marker': [MARKERS[role] for role, _ in bodies],
            'colour': [colours.get(key, GREYS) for key in bodies]}
        for k, frame in enumerate(frames):
            places = {(role, body): (x, y) for role, body, x, y in frame.bodies}
            for name, axis in ((X, 0), (Y, 1)):
                data[f'{name}{k}'] = [places.get(key, (np.nan, np.nan))[axis] for key in bodies]
        points = ColumnDataSource(data)
        drawn.scatter(x=f'{X}0', y=f'{Y}0', marker='marker', color='colour', size=13,
                      line_color='white', line_width=1.5, source=points, name=PATTERN_BODIES)
        drawn.text(x=f'{X}0', y=f'{Y}0', text='label', x_offset=9, y_offset=-6, source=points,
                   text_font_size='13px', text_font_style='bold', text_color='colour',
                   background_fill_color='white', background_fill_alpha=0.8, padding=2,
                   name=f'{PATTERN_BODIES}-labels')
        return drawn

    def comparison(self, chart: Comparison) -> figure:
        """One quantity over what was swept."""
        options: dict[str, object] = {}
        if chart.categories:
            options['x_range'] = FactorRange(*chart.categories)
        drawn = figure(height=HEIGHT, sizing_mode='stretch_width', tools='',
                       toolbar_location=None, x_axis_label=chart.swept,
                       y_axis_label=chart.unit, output_backend='canvas',
                       x_axis_type='log' if chart.wide else 'auto',
                       y_axis_type='log' if chart.logarithmic else 'linear', **options)
        _quiet(drawn)
        if chart.logarithmic:
            drawn.yaxis.formatter = LogTickFormatter(min_exponent=4)
        for each in chart.series:
            x = list(each.places) if not chart.categories else [
                (value, place - chart.categories.index(value))
                for value, place in zip(each.x, each.places)]
            source = ColumnDataSource({'x': x, 'y': each.y, 'low': each.low, 'high': each.high,
                                       'swept': list(each.x)})
            renderers = [drawn.scatter('x', 'y', size=8, color=each.colour, source=source,
                                       name=each.label)]
            if not chart.categories:
                renderers.append(drawn.line('x', 'y', color=each.colour, line_width=2,
                                            line_dash=each.dash, source=source))
            if np.isfinite(each.low).any():
                heads = {'line_color': each.colour, 'size': 8}
                drawn.add_layout(Whisker(
                    base='x', lower='low', upper='high', source=source, line_color=each.colour,
                    lower_head=TeeHead(**heads), upper_head=TeeHead(**heads), level='underlay'))
            drawn.add_tools(HoverTool(renderers=renderers[:1], tooltips=[
                ('', '$name'), (chart.swept, '@swept'), (chart.unit, '@y{0.0000}')]))
        if chart.logarithmic:
            # The whiskers count as well.
            ends = np.concatenate([(*each.low, *each.y, *each.high) for each in chart.series])
            ends = ends[np.isfinite(ends) & (ends > 0)]
            if len(ends):
                drawn.y_range.start, drawn.y_range.end = ends.min() / 1.1, ends.max() * 1.1
        else:
            drawn.y_range.start, drawn.y_range.end = -0.03, 1.06
        return drawn


def _plan(view: Map) -> figure:
    """Empty plan with the arrays, as seen from above."""
    width, depth = view.high - view.low
    # A metre is as long to the right as it is upwards: ranges that follow the data can grow.
    drawn = figure(sizing_mode='stretch_width', aspect_ratio=float(width / depth), max_width=900,
                   x_range=DataRange1d(range_padding=0), y_range=DataRange1d(range_padding=0),
                   match_aspect=True, tools=[PanTool(), ResetTool()], toolbar_location=None,
                   x_axis_label=f'x in {view.frame} [m]', y_axis_label=f'y in {view.frame} [m]',
                   output_backend='canvas')
    _quiet(drawn)
    drawn.scatter([view.low[0], view.high[0]], [view.low[1], view.high[1]], alpha=0)
    length = 0.05 * float(view.high[0] - view.low[0])
    for label, one, other, boresight in view.arrays:
        drawn.line([one[0], other[0]], [one[1], other[1]], color='#000000', line_width=6)
        centre = (one + other) / 2
        if np.linalg.norm(boresight) > 0.1:
            tip = centre + length * boresight
            drawn.add_layout(Arrow(x_start=centre[0], y_start=centre[1], x_end=tip[0],
                                   y_end=tip[1], end=NormalHead(size=8, fill_color='#000000'),
                                   line_width=2))
        drawn.text([centre[0]], [centre[1]], [label], x_offset=10, y_offset=18,
                   text_font_size='12px', text_color='#000000')
    return drawn


def _quiet(drawn: figure) -> None:
    """Look of all figures; what is behind them is the page."""
    drawn.background_fill_color = drawn.border_fill_color = None
    drawn.grid.grid_line_color = '#dddddd'
    drawn.outline_line_color = None
    drawn.axis.axis_label_text_font_style = 'normal'
    drawn.axis.axis_label_text_font_size = '13px'
    drawn.axis.major_label_text_font_size = '12px'
    drawn.axis.minor_tick_line_color = None


def figures_of(view: Figures, charts: Sequence[Comparison]) -> dict[str, figure]:
    """All figures of a page, by their keys, in the order in which they are shown."""
    page = Page(view)
    drawn = {'states': page.states(view.states)} if view.states else {}
    drawn |= {panel.key: page.panel(panel) for panel in view.panels if panel.lines}
    drawn['map'] = page.map(view.map)
    if view.patterns is not None:
        drawn['beams'] = page.pattern(view.map, view.patterns)
    return drawn | {chart.key: page.comparison(chart) for chart in charts}
