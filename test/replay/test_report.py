"""The page in a real browser, offline; its figures against the table they are drawn from."""

from collections import Counter
from html.parser import HTMLParser
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
import replay_data as data

from nf_isac_ros.core.tracking import Role
from nf_isac_ros.files.deployment import load_deployment
from nf_isac_ros.replay import report, table
from nf_isac_ros.replay.cycles import Path
from nf_isac_ros.replay.incidents import Incident
from nf_isac_ros.replay.inputs import Counts
from nf_isac_ros.replay.panels import INTERVALS, _filled, envelope, line, runs
from nf_isac_ros.replay.pictures import write_pictures
from nf_isac_ros.replay.redesign import Beams
from nf_isac_ros.replay.summary import figures_of
from nf_isac_ros.replay.timeaxis import TimeAxis

START = data.START * 1e-9
CYCLES = 50_000
# The first cycle came so long after the start of the recording [s].
LATE = 1.5


def columns(count, rng):
    """Cycles of 50 Hz with a pause of ten hours, some mute, and one peak."""
    k = np.arange(count)
    time = 0.02 * k + 36000.0 * (k >= count // 2)
    crb = 1e-3 * (2 + np.sin(k / 500)) * rng.uniform(0.9, 1.1, count)
    crb[count // 3] = 0.7   # the peak that nobody may lose
    quality = np.where(k % 5000 < 60, 'fallback', 'optimal').astype(object)
    reason = np.where(quality == 'fallback', 'held-track', None)
    found = {
        'bag': ['long'] * count, 'mode': ['redesigned'] * count, 'cycle': k, 'time_s': time,
        'cycle_stamp_s': START + time, 'transmit_time_s': START + time,
        'quality': quality, 'reason': reason, 'gap': rng.uniform(1e-7, 1e-6, count),
        'power_w': np.ones(count), 'cycle_ms': rng.gamma(9, 0.3, count),
        'target.t1.root_crb_m': crb, 'target.t1.isotropic_root_crb_m': 50 * crb,
        'target.t1.x_m': np.cos(k / 2000), 'target.t1.y_m': 4 + np.sin(k / 2000),
        'target.t1.z_m': np.full(count, 0.5), 'target.t1.crb_xx_m2': crb ** 2 / 2,
        'target.t1.crb_xy_m2': crb ** 2 / 8, 'target.t1.crb_yy_m2': crb ** 2 / 2,
        'user.u1.sinr_db': 10 + rng.exponential(0.2, count),
        'user.u1.required_sinr_db': np.full(count, 10.0), 'user.u1.x_m': np.sin(k / 3000),
        'user.u1.y_m': np.full(count, 3.0), 'user.u1.z_m': np.full(count, 0.5),
        'user.u1.age_s': np.full(count, 0.03)}
    return pa.table({name: pa.array(values, table.type_of(name), from_pandas=True)
                     for name, values in found.items()})


@pytest.fixture(scope='module')
def long_page(tmp_path_factory):
    """Page of 50,000 cycles that were made up, with its figures and table."""
    folder = tmp_path_factory.mktemp('page')
    deployment = load_deployment(data.deployment_file(folder))
    rng = np.random.default_rng(1)
    made = columns(CYCLES, rng)
    table.write_tables([made], table.schema_of([made.schema]), folder / 'cycles')
    cycles = table.Columns(folder / 'cycles.parquet')
    path = Path()
    for k in range(0, CYCLES, 25):
        path.add(float(cycles['transmit_time_s'][k]), np.array([np.cos(k / 2000), 4.0, 0.5]))
    weights = (rng.standard_normal((64, 2)) + 1j * rng.standard_normal((64, 2))) / 16
    beams = [Beams(k, START + 0.02 * k, weights.astype(np.complex64))
             for k in range(0, CYCLES // 2, 5000)]
    result = SimpleNamespace(
        name='long', start=START - LATE, end=START + 37000.0, paths={(Role.TARGET, 't1'): path},
        beams=beams, failures=[],
        counts=Counts(rejected=Counter({'<b>bad</b>': 1}),
                      examples={'<b>bad</b>': '<script>alert(1)</script>'}))
    incidents = [Incident('long', 'redesigned', 'fallback', 'held-track', '', 100.0 * k,
                          100.0 * k + 1.2 + k % 3, '2023-11-14T22:13:20.000+00:00', 60)
                 for k in range(5)]
    incidents += [Incident('long', 'input', 'silent-body', 'silent-body', f'b{k}', 3.0 * k,
                           3.0 * k + 2, '', 1) for k in range(200)]
    summary = {
        'version': '0.1.0', 'config': 'deployment.yaml', 'design': 'crb-min', 'gap': 1e-6,
        'budget_ms': None, 'cycles': CYCLES, 'recorded': 0, 'redesigned': CYCLES,
        'rejected': {'<b>bad</b>': 1}, 'incidents': {'held-track': 5, 'silent-body': 200},
        'root_crb_m': {'t1': 2e-3}, 'sinr_met': {'u1': 1.0}, 'failures': [],
        'modes': {'redesigned': figures_of(cycles, np.ones(CYCLES, dtype=bool))}}
    comparison = [{'sweep_design': design, 'sweep_power_w': power, 'cycles': 10.0,
                   'target.t1.root_crb_p10_m': 1e-3 / power, 'target.t1.root_crb_median_m':
                   2e-3 / power, 'target.t1.root_crb_p90_m': 3e-3 / power,
                   'user.u1.sinr_met_share': 1.0}
                  for design in ('crb-min', 'zero-forcing') for power in (1.0, 2.0, 4.0)]
    figures = report.collect(cycles, deployment, [result], incidents, summary)
    charts = report.comparisons(comparison, ['sweep_design', 'sweep_power_w'])
    page = report.render(figures, charts, cycles, deployment, [result], incidents, comparison,
                         summary)
    (folder / 'report.html').write_text(page, encoding='utf-8')
    return SimpleNamespace(path=folder / 'report.html', figures=figures, charts=charts,
                           cycles=cycles, text=page)


# Drawn honestly


def test_an_envelope_keeps_every_extreme():
    rng = np.random.default_rng(3)
    x, y = np.sort(rng.uniform(0, 100, 30_000)), rng.standard_normal(30_000)
    y[12_345] = 50.0
    y[100:110] = np.nan
    kept_x, kept_y, thinned = envelope(x, y)
    assert len(kept_x) <= 2 * INTERVALS and thinned == 15
    assert (np.diff(kept_x) >= 0).all()
    # By brute force: least and greatest in each interval are there.
    edges = np.linspace(x[0], x[-1], INTERVALS + 1)
    for begin, end in zip(edges[:-1:97], edges[1::97]):
        inside = y[(x >= begin) & (x < end)]
        kept = kept_y[(kept_x >= begin) & (kept_x < end)]
        if np.isfinite(inside).any():
            assert np.nanmin(kept) == np.nanmin(inside) and np.nanmax(kept) == np.nanmax(inside)


def test_short_curves_are_drawn_whole_and_broken_in_gaps():
    x = np.array([0.0, 0.1, 0.2, 5.0, 5.1])
    drawn = line('a', 'red', x, np.arange(5.0))
    assert drawn.thinned == 1
    assert np.isnan(drawn.y).sum() == 1 and set(drawn.y[np.isfinite(drawn.y)]) == set(range(5))


def test_many_changes_of_state_show_the_worst():
    states = np.array(['optimal', 'mute'] * 5000, dtype=object)
    found = runs(np.arange(10_000.0), states, ('optimal', 'early', 'fallback', 'mute'))
    assert {state for *_, state in found} == {'mute'}
    assert found[0][0] == 0.0 and found[-1][1] > 9990


def test_long_pauses_are_cut_out_of_the_time():
    axis = TimeAxis({'a': START + np.array([0.0, 1.0, 2.0, 36002.0, 36003.0]),
                     'b': START + np.array([0.0, 4.0])})
    assert [cut.text for cut in axis.cuts] == ['10 h 0 min cut out', 'b']
    places = axis.places('a', START + np.array([0.0, 2.0, 36002.0, 36003.0]))
    assert places[1] == pytest.approx(2.0) and places[3] - places[2] == pytest.approx(1.0)
    assert places[2] - places[1] < 1.0
    assert axis.end == pytest.approx(2 + 1 + 4 + 2 * (places[2] - places[1]))


def test_time_is_counted_as_in_the_table_of_incidents(long_page):
    places = long_page.figures.axis.places('long', np.array([START - LATE, START + 10.0]))
    assert places == pytest.approx([0.0, 10.0 + LATE], abs=1e-5)
    begins = sorted(band.begin for band in long_page.figures.bands)
    assert begins == pytest.approx([0.0, 100.0, 200.0, 300.0, 400.0], abs=1e-5)


def test_the_peak_is_in_the_figure(long_page):
    panel = next(panel for panel in long_page.figures.panels if panel.key == 'root_crb')
    assert np.nanmax(panel.lines[0].y) == pytest.approx(0.7)
    assert panel.limits[1] > 0.7


# The page


class Links(HTMLParser):
    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attrs):
        self.found += [(tag, value) for key, value in attrs if key in ('src', 'href', 'data')]


def test_the_page_names_nothing_outside(long_page):
    links = Links()
    links.feed(long_page.text)
    assert links.found
    assert all(value.startswith(('#', 'data:')) for _, value in links.found), links.found
    assert "default-src 'none'" in long_page.text


def test_what_others_wrote_is_no_markup(long_page):
    assert '<script>alert' not in long_page.text and '<b>bad' not in long_page.text
    assert '&lt;b&gt;bad' in long_page.text


def test_the_page_is_small_enough_to_be_sent(long_page):
    assert long_page.path.stat().st_size < 4_000_000


def test_curves_of_a_comparison_stand_beside_each_other(long_page):
    chart = next(chart for chart in long_page.charts if chart.key == 'whatif_root_crb_t1')
    assert chart.swept == 'radiated power [W]'
    places = np.array([each.places for each in chart.series])
    values = np.array([each.x for each in chart.series], dtype=float)
    # Within a twentieth of the axis of their values, and none on another.
    assert np.abs(places - values).max() < 0.05 * 3.0
    assert len(np.unique(places)) == places.size


def test_a_plan_is_as_wide_as_can_be_seen():
    low, high = _filled(np.array([0.0, 0.0]), np.array([1.0, 10.0]))
    assert (high - low).tolist() == [9.0, 10.0] and low[0] + high[0] == 1.0
    low, high = _filled(np.array([0.0, 0.0]), np.array([22.0, 1.0]))
    assert (high - low).tolist() == [22.0, pytest.approx(10.0)]


@pytest.fixture
def page(browser, long_page):
    browser.open(long_page.path)
    browser.wait('document.documentElement.dataset.ready === "true"')
    return browser


def test_page_works_offline_and_the_console_is_clean(page):
    assert page.errors() == []
    assert page.requests() == []
    drawn = page.run('return Bokeh.documents.reduce((n, d) => n + d.roots().length, 0)')
    figures = page.run('return document.querySelectorAll("figure").length')
    assert drawn == figures >= 10
    assert page.run('return document.documentElement.scrollWidth') <= 1280
    page.resize(400, 900)
    page.wait('document.documentElement.scrollWidth <= 400')
    assert page.errors() == []


def frame(page):
    return page.run('return Bokeh.documents.flatMap(d => d.roots()).flatMap(f => f.renderers)'
                    '.filter(r => r.visible && r.glyph.type === "Image")'
                    '.map(r => r.glyph.image.field).join()')


def test_a_metre_is_as_long_to_the_right_as_upwards(page):
    script = """return Bokeh.documents.flatMap(d => d.roots())
        .filter(f => f.match_aspect).map(f => {
          const frame = Bokeh.index.find_one(f).frame.bbox;
          return [(f.x_range.end - f.x_range.start) / frame.width,
                  (f.y_range.end - f.y_range.start) / frame.height]; })"""
    for width in (1280, 400):
        page.resize(width, 900)
        page.wait(lambda: all(abs(x / y - 1) < 0.02 for x, y in page.run(script)))
        assert len(page.run(script)) == 2


def test_slider_moves_by_arrow_keys(page):
    from selenium.webdriver.common.keys import Keys
    assert frame(page) == 'image0'
    page.run('document.getElementById("instant").focus()')
    page.press(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT, Keys.ARROW_LEFT)
    page.wait(lambda: frame(page) == 'image1')
    assert page.text('#instant-shown') == '101.50 s'
    page.press(Keys.END)
    page.wait(lambda: frame(page) == 'image4')
    page.run('document.getElementById("instant-before").focus()')
    page.press(Keys.ENTER)
    page.wait(lambda: frame(page) == 'image3')
    assert page.errors() == []


def test_time_axes_move_together_by_keyboard(page):
    from selenium.webdriver.common.keys import Keys
    where = ('return Bokeh.documents.flatMap(d => d.roots()).map(f => f.x_range)'
             '.filter(r => r.name === "time-range").map(r => [r.start, r.end])')
    before = page.run(where)
    page.run('document.querySelector("[data-zoom=in]").focus()')
    page.press(Keys.ENTER)
    after = page.run(where)
    assert len(after) > 4 and all(each == after[0] for each in after)
    assert after[0][1] - after[0][0] == pytest.approx((before[0][1] - before[0][0]) / 2)
    page.run('document.querySelector("button.show").click()')
    begin, end = page.run(where)[0]
    assert begin <= 0.0 + 1e-6 and end < 20.0


def test_incidents_are_sorted_and_filtered_by_keyboard(page):
    from selenium.webdriver.common.keys import Keys
    lengths = ('return [...document.querySelectorAll("#incident-table tbody tr")]'
               '.filter(r => !r.hidden).map(r => Number(r.cells[2].textContent))')
    page.run('document.querySelectorAll("#incident-table th button")[1].focus()')
    page.press(Keys.ENTER)
    assert (np.diff(page.run(lengths)) >= 0).all()
    page.press(Keys.ENTER)
    found = page.run(lengths)
    assert (np.diff(found) <= 0).all() and len(found) == 205
    page.run('document.getElementById("filter").focus()')
    page.press('held-track')
    page.wait('document.getElementById("filter-count").textContent === "5 shown"')
    assert len(page.run(lengths)) == 5


def test_fifty_thousand_cycles_still_scroll(page):
    page.run('''
        window.frames = []; window.scrolled = false;
        const end = document.documentElement.scrollHeight, step = end / 40;
        let last = performance.now(), at = 0;
        document.documentElement.style.scrollBehavior = 'auto';
        function next(now) {
          window.frames.push(now - last); last = now; at += step;
          window.scrollTo(0, at);
          if (at < end) { requestAnimationFrame(next); } else { window.scrolled = true; }
        }
        requestAnimationFrame(next);''')
    page.wait('window.scrolled')
    frames = page.run('return window.frames')
    # No timing of the machine: a page that hangs for seconds at each step would be unusable.
    assert len(frames) >= 40 and np.median(frames) < 1000
    assert page.errors() == []


def test_pictures_are_drawn_of_every_figure(long_page, tmp_path, monkeypatch):
    monkeypatch.setattr('nf_isac_ros.replay.pictures.DPI', 60)
    names = write_pictures(long_page.figures, long_page.charts, tmp_path)
    keys = {panel.key for panel in long_page.figures.panels if panel.lines}
    assert {f'{key}.png' for key in keys} | {'states.png', 'map.png', 'beams_1.png'} <= set(names)
    for name in names:
        assert 2000 < (tmp_path / name).stat().st_size < 300_000
