// The page: takes events, keeps a minute of history, fills the tables. Nothing is ever sent.

import { drawChart, lineStyle } from './charts.js';
import { UNKNOWN, angle, decibel, digits, length, milliseconds, reasons, seconds, watts } from './format.js';
import { Scene } from './scene.js';

const SILENCE = 2500;        // without events for this long, the connection is lost [ms]
const STALE = 1.0;           // a design that is older does not describe the present [s]
const ROWS = 400;            // of the history
const STEP = 0.2;            // between two of them [s]

const find = (selector) => document.querySelector(selector);
const scene = new Scene(find('#scene'));
const view = { setup: { arrays: [], bound_scale: 30, name: null, note: '', frame: null }, state: null, rows: [], heard: 0, paused: false, lost: false };

// --- Events -----------------------------------------------------------------------------------

const source = new EventSource('events');
source.addEventListener('setup', (event) => {
  view.setup = JSON.parse(event.data);
  find('#scale').value = view.setup.bound_scale;
  scene.scale = view.setup.bound_scale;
  scene.fit();
  heard();
});
source.addEventListener('history', (event) => {
  view.rows = JSON.parse(event.data).map((row) => ({ ...row, t: row.steady_s }));
  heard();
});
source.addEventListener('state', (event) => {
  const state = JSON.parse(event.data);
  heard();
  if (view.paused) return;
  view.state = state;
  const row = rowOf(state);
  const last = view.rows[view.rows.length - 1];
  if (!last || row.t - last.t >= STEP || row.t < last.t) {
    if (last && row.t < last.t) view.rows = [];   // another server, another clock
    view.rows.push(row);
    if (view.rows.length > ROWS) view.rows.shift();
  }
  requestDraw();
});

function heard() {
  view.heard = performance.now();
  if (view.lost) { view.lost = false; requestDraw(); }
}

setInterval(() => {
  const silent = view.heard && performance.now() - view.heard > SILENCE;
  if (silent && !view.lost) { view.lost = true; view.since = new Date(); requestDraw(); }
}, 250);

function rowOf(state) {
  const design = state.design && !(state.design.age_s > STALE) ? state.design : null;   // else a line would go on with old times
  const by = (items, key) => Object.fromEntries(items.map((item) => [item.id, item[key]]));
  return {
    t: state.steady_s, radio: state.radio.state, outcome: state.live && design ? design.outcome : null,
    cycle_ms: design && design.cycle_ms, pose_to_beam_ms: design && design.pose_to_beam_ms,
    sinr_db: by(state.users, 'sinr_db'), received_db: by(state.users, 'received_db'),
    required_db: by(state.users, 'required_db'), root_crb_m: by(state.targets, 'root_crb_m'),
  };
}

// --- Drawing ----------------------------------------------------------------------------------

let asked = false;
function requestDraw() {
  if (asked) return;
  asked = true;
  requestAnimationFrame(() => { asked = false; draw(); });
}

function draw() {
  drawConnection();
  if (!view.state) return;
  drawStatus();
  scene.show(view.setup, view.state);
  drawUsers();
  drawTargets();
  drawTiming();
  drawMessages();
  document.body.dataset.sequence = view.state.design ? view.state.design.sequence : '';
}

function drawConnection() {
  const { state, setup } = view;
  find('#source').textContent = setup.name ? `${setup.name} · frame ${setup.frame}` : (setup.note || 'no deployment known yet');
  const design = state && state.design;
  const silent = state && (!design || design.age_s === null || design.age_s > STALE);
  const body = document.body.classList;
  body.toggle('connecting', !state && !view.lost);
  body.toggle('lost', view.lost);
  body.toggle('paused', view.paused && !view.lost);
  body.toggle('stale', Boolean(silent) && !view.lost);
  setText('#connection', view.lost ? 'connection lost' : view.paused ? 'paused' : !state ? 'connecting'
    : silent ? 'connected, no designs come in' : 'live');
  const notice = find('#notice');
  const text = view.lost ? `Connection to nf-isac watch lost at ${view.since.toLocaleTimeString()}; trying again. What is shown is old.`
    : !view.paused && silent ? `No design status ${design ? `for ${digits(design.age_s, 2)} s` : 'so far'}: is the beamformer running?` : '';
  notice.hidden = !text;
  // The time in it would be read out again and again.
  if (notice.textContent !== text) notice.textContent = text;
}

function setText(place, text) {
  const node = typeof place === 'string' ? find(place) : place;
  if (node.textContent !== text) node.textContent = text;
}

const RADIO = { transmitting: 'transmitting', muted: 'muted', disarmed: 'disarmed', silent: 'radio silent' };

function drawStatus() {
  const { radio, design, live } = view.state;
  const radioBox = find('#radio');
  radioBox.dataset.state = radio.state;
  setText('#radio [data-field=state]', RADIO[radio.state]);
  setText('#radio [data-field=reason]', radio.state === 'transmitting'
    ? `${watts(radio.power_w)} of ${watts(radio.power_limit_w)}`
    : radio.reason || (radio.state === 'silent' ? 'no status of a radio driver' : ''));
  const designBox = find('#design');
  designBox.dataset.state = !design ? 'none' : live ? design.outcome : 'mute';
  setText('#design [data-field=outcome]', !design ? 'no design' : `${design.name}: ${live || design.outcome === 'mute' ? design.outcome : 'lease ended'}`);
  setText('#design [data-field=reason]', design ? design.reason : '');
  document.title = `${RADIO[radio.state]} · nf_isac`;
  fill(find('#numbers'), design ? {
    'root of sum of CRBs': length(live ? design.sum_root_crb_m : null),
    'certified gap': design.gap === null ? UNKNOWN : design.gap.toExponential(1),
    'power': watts(design.power_w),
    'beams': String(design.sequence),
    'iterations': `${design.iterations} ${design.warm ? 'warm' : 'cold'}`,
    'EIRP at most': watts(radio.eirp_w ?? null),
  } : {});
}

function fill(list, entries) {
  list.replaceChildren(...Object.entries(entries).map(([name, value]) => {
    const item = document.createElement('div');
    const term = document.createElement('dt');
    const text = document.createElement('dd');
    term.textContent = name;
    text.textContent = value;
    text.dataset.field = name;
    item.append(term, text);
    return item;
  }));
}

/** Fill a table: rows of [id, [[field, text, class], ...]]. */
function fillTable(selector, rows, empty) {
  const body = find(`${selector} tbody`);
  const columns = find(`${selector} thead tr`).children.length;
  const made = rows.map(([id, cells]) => {
    const row = document.createElement('tr');
    row.dataset.id = id;
    const head = document.createElement('th');
    head.scope = 'row';
    head.textContent = id;
    row.append(head, ...cells.map(([field, text, look]) => {
      const cell = document.createElement('td');
      cell.dataset.field = field;
      cell.textContent = text;
      if (look) cell.className = look;
      return cell;
    }));
    return row;
  });
  if (!made.length) {
    const row = document.createElement('tr');
    const cell = document.createElement('td');
    cell.colSpan = columns;
    cell.textContent = empty;
    row.append(cell);
    made.push(row);
  }
  body.replaceChildren(...made);
}

function pose(body) {
  if (body.pose === 'unknown') return ['pose', UNKNOWN];
  const age = body.pose_age_s === null ? '' : ` ${body.pose_age_s.toFixed(2)} s`;
  return ['pose', body.pose + age, body.pose === 'fresh' ? '' : 'old'];
}

function drawUsers() {
  const { users } = view.state;
  fillTable('#users', users.map((user) => {
    const margin = user.sinr_db === null || user.required_db === null ? null : user.sinr_db - user.required_db;
    return [user.id, [
      ['required_db', decibel(user.required_db)],
      ['sinr_db', user.served || user.sinr_db !== null ? decibel(user.sinr_db) : 'not served'],
      ['received_db', decibel(user.received_db)],
      ['margin_db', margin === null ? UNKNOWN : `${margin < -0.05 ? '−' : '+'}${Math.abs(margin).toFixed(1)} dB`, margin === null ? '' : user.met ? 'met' : 'missed'],
      pose(user)]];
  }), 'no users');
  const margin = (key, id) => (row) => {
    const value = row[key][id];
    const required = row.required_db[id];
    return value === null || value === undefined || required === null || required === undefined ? null : value - required;
  };
  const lines = users.flatMap((user, k) => [
    { name: user.id, style: lineStyle(k), value: margin('sinr_db', user.id) },
    { name: user.id, style: lineStyle(k), dotted: true, value: margin('received_db', user.id) }]);
  drawChart(find('#sinr-chart'), view.rows, view.state.steady_s, lines, { include: [-1, 1], rule: 0 });
}

function drawTargets() {
  const { targets } = view.state;
  fillTable('#targets', targets.map((target) => {
    const gain = target.root_crb_m && target.isotropic_root_crb_m ? target.isotropic_root_crb_m / target.root_crb_m : null;
    const angles = Object.entries(target.angles_rad).map(([name, value]) => `${name} ${angle(value)}`);
    return [target.id, [
      ['root_crb_m', target.root_crb_m !== null ? length(target.root_crb_m) : target.bounded ? 'not identifiable' : UNKNOWN],
      ['isotropic_root_crb_m', length(target.isotropic_root_crb_m)],
      ['gain', gain === null ? UNKNOWN : `× ${digits(gain)}`],
      ['angles', angles.join(', ') || UNKNOWN],
      pose(target)]];
  }), 'no targets');
  const lines = targets.map((target, k) => ({ name: target.id, style: lineStyle(k), value: (row) => row.root_crb_m[target.id] ?? null }));
  drawChart(find('#crb-chart'), view.rows, view.state.steady_s, lines, { log: true, unit: length });
}

const OUTCOMES = { optimal: '--good', early: '--user', fallback: '--warn', mute: '--bad' };

function drawTiming() {
  const { timing, design } = view.state;
  const row = (id, times) => [id, ['p50', 'p99', 'max'].map((key) => [key, milliseconds(times[key])])];
  fillTable('#timing', [row('cycle', timing.cycle_ms), row('pose to beam', timing.pose_to_beam_ms)], '');
  const total = Math.max(1, timing.cycles);
  const outcomes = Object.entries(timing.outcomes).filter(([, count]) => count)
    .map(([name, count]) => `${name} ${digits(100 * count / total)} %`).join(', ');
  const stages = design ? Object.entries(design.stages_ms).map(([name, time]) => `${name} ${milliseconds(time)}`).join(', ') : '';
  setText('#stages', [`${timing.cycles} cycles in ${timing.window_s} s`, outcomes, stages && `newest: ${stages}`].filter(Boolean).join(' · '));
  drawChart(find('#timing-chart'), view.rows, view.state.steady_s, [
    { name: 'cycle', style: lineStyle(0), value: (row_) => row_.cycle_ms },
    { name: 'pose to beam', style: lineStyle(1), value: (row_) => row_.pose_to_beam_ms }],
  { include: [0], floor: 0, band: (row_) => OUTCOMES[row_.outcome || 'mute'] });
}

function drawMessages() {
  const { topics, radio, design } = view.state;
  fillTable('#messages', topics.map((topic) => [topic.name, [
    ['rate_hz', topic.rate_hz === null ? UNKNOWN : topic.rate_hz.toFixed(1)],
    ['age_s', seconds(topic.age_s)]]]), 'no topics');
  fill(find('#counters'), {
    ...(design ? { 'periods lost': String(design.overruns), 'fallbacks': reasons(design.fallbacks), 'poses refused': reasons(design.rejected) } : {}),
    ...(radio.applied === undefined ? {} : {
      'beams applied': String(radio.applied), 'late': String(radio.late), 'lost': String(radio.dropped),
      'beams refused': reasons(radio.rejected), 'muted in all': radio.muted_s === null ? UNKNOWN : `${digits(radio.muted_s)} s` }),
    'not shown here': reasons(view.state.not_shown || {}),
  });
}

// --- Controls ---------------------------------------------------------------------------------

function pause() {
  view.paused = !view.paused;
  find('#pause').setAttribute('aria-pressed', String(view.paused));
  drawConnection();
}

function look(name) {
  for (const button of document.querySelectorAll('[data-view]')) {
    button.setAttribute('aria-pressed', String(button.dataset.view === name));
  }
  scene.look(name);
}

const ZOOMS = { in: () => scene.move(1.25), out: () => scene.move(0.8), fit: () => scene.fit() };
const KEYS = {
  p: pause, 1: () => look('top'), 2: () => look('front'), 3: () => look('side'),
  '+': ZOOMS.in, '=': ZOOMS.in, '-': ZOOMS.out, 0: ZOOMS.fit,
};
const ARROWS = { ArrowLeft: [-0.1, 0], ArrowRight: [0.1, 0], ArrowUp: [0, 0.1], ArrowDown: [0, -0.1] };

find('#pause').addEventListener('click', pause);
for (const button of document.querySelectorAll('[data-view]')) button.addEventListener('click', () => look(button.dataset.view));
for (const button of document.querySelectorAll('[data-zoom]')) button.addEventListener('click', ZOOMS[button.dataset.zoom]);
find('#scale').addEventListener('input', (event) => {
  if (event.target.checkValidity() && event.target.value) { scene.scale = Number(event.target.value); scene.draw(); }
});
document.addEventListener('keydown', (event) => {
  if (event.ctrlKey || event.altKey || event.metaKey || event.target.tagName === 'INPUT') return;
  const arrow = event.target === find('#scene') && ARROWS[event.key];
  if (arrow) { scene.move(1, ...arrow); event.preventDefault(); } else if (KEYS[event.key.toLowerCase()]) KEYS[event.key.toLowerCase()]();
});
const drag = { from: null };
find('#scene').addEventListener('pointerdown', (event) => { drag.from = [event.clientX, event.clientY]; event.target.setPointerCapture?.(event.pointerId); });
find('#scene').addEventListener('pointermove', (event) => {
  if (!drag.from) return;
  const width = find('#scene').clientWidth;
  scene.move(1, (drag.from[0] - event.clientX) / width, (event.clientY - drag.from[1]) / width);
  drag.from = [event.clientX, event.clientY];
});
for (const name of ['pointerup', 'pointercancel']) find('#scene').addEventListener(name, () => { drag.from = null; });
find('#scene').addEventListener('wheel', (event) => { scene.move(event.deltaY < 0 ? 1.1 : 1 / 1.1); event.preventDefault(); }, { passive: false });
