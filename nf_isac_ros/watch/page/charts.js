// Line charts over the last minute, on a canvas. Lines carry their names at their right ends.

import { digits } from './format.js';

const SPAN = 60;             // [s]
const GAP = 1.5;             // a line is broken where nothing is known for longer [s]
const DASHES = [[], [7, 3], [2, 3], [9, 3, 2, 3]];
const COLOURS = ['--user', '--target', '--met', '--bound', '--missed', '--array'];

/** Colour and dashes of the k-th of several lines: dashes differ where colours are used again. */
export function lineStyle(k) {
  return { colour: COLOURS[k % COLOURS.length], dash: DASHES[Math.floor(k / COLOURS.length) % DASHES.length] };
}

function niceStep(range, most) {
  const raw = range / most;
  const power = 10 ** Math.floor(Math.log10(raw));
  return power * [1, 2, 5, 10].find((factor) => factor * power >= raw);
}

function linearTicks(low, high) {
  const step = niceStep(high - low, 4);
  const ticks = [];
  for (let k = Math.ceil(low / step); k * step <= high + 1e-9 * step; k += 1) ticks.push(k * step);
  return ticks;
}

function logTicks(low, high) {
  const ticks = [];
  const decades = Math.log10(high / low);
  for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power += 1) {
    for (const factor of decades < 2.5 ? [1, 2, 5] : [1]) {
      const tick = factor * 10 ** power;
      if (tick >= low * 0.999 && tick <= high * 1.001) ticks.push(tick);
    }
  }
  return ticks;
}

/** Limits of a chart around all values, with some room. */
function limits(values, { log, include = [], floor }) {
  const known = values.filter((value) => value !== null && Number.isFinite(value) && (!log || value > 0));
  if (!known.length && !include.length) return log ? [1e-3, 1] : [0, 1];
  const all = [...known, ...include];
  let low = Math.min(...all);
  let high = Math.max(...all);
  if (log) return high / low < 2 ? [low / 1.5, high * 1.5] : [low / 1.15, high * 1.15];
  if (high - low < 1e-6) high = low + 1;
  const room = 0.08 * (high - low);
  return [low === floor ? low : low - room, high + room];
}

/**
 * Draw a chart.
 *
 * rows: the history, each with a time `t` [s]; now: time of the right edge [s].
 * series: [{name, style: {colour, dash}, dotted, value: row => number or null}].
 * options: {log, include: values that must be visible, floor: least value of all,
 *           rule: value of a thick line, unit: text => text,
 *           band: row => CSS colour name or null, drawn as a strip along the bottom}.
 */
export function drawChart(canvas, rows, now, series, options = {}) {
  const ratio = window.devicePixelRatio || 1;
  const width = canvas.clientWidth;
  const height = canvas.clientHeight;
  if (!width || !height) return;
  if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
  }
  const context = canvas.getContext('2d');
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  const look = getComputedStyle(document.documentElement);
  const colour = (name) => look.getPropertyValue(name).trim();
  context.font = '11px system-ui, "DejaVu Sans", sans-serif';

  const visible = rows.filter((row) => row.t >= now - SPAN - GAP);
  const lines = series.map((line) => ({ ...line, values: visible.map(line.value) }));
  const names = [...new Set(lines.filter((line) => line.name).map((line) => line.name))];
  const right = Math.min(width / 4, 10 + Math.max(14, ...names.map((name) => context.measureText(name).width)));
  const band = options.band ? 10 : 0;
  const box = { left: 52, top: 6, right: width - right, bottom: height - 20 - band };
  const [low, high] = limits(lines.flatMap((line) => line.values), options);
  const place = options.log
    ? (value) => box.bottom - (Math.log(value / low) / Math.log(high / low)) * (box.bottom - box.top)
    : (value) => box.bottom - ((value - low) / (high - low)) * (box.bottom - box.top);
  const across = (t) => box.left + ((t - now + SPAN) / SPAN) * (box.right - box.left);

  context.lineWidth = 1;
  context.fillStyle = colour('--faint');
  context.textBaseline = 'middle';
  context.textAlign = 'right';
  for (const tick of options.log ? logTicks(low, high) : linearTicks(low, high)) {
    context.strokeStyle = colour('--grid');
    context.beginPath();
    context.moveTo(box.left, place(tick));
    context.lineTo(box.right, place(tick));
    context.stroke();
    context.fillText(options.unit ? options.unit(tick) : digits(tick, 3), box.left - 5, place(tick));
  }
  context.textAlign = 'center';
  context.textBaseline = 'alphabetic';
  for (let back = 0; back <= SPAN; back += 15) {
    context.fillText(back ? `−${back} s` : 'now', across(now - back), height - 5);
  }
  if (options.rule !== undefined) {
    context.strokeStyle = colour('--ink');
    context.lineWidth = 1.5;
    context.beginPath();
    context.moveTo(box.left, place(options.rule));
    context.lineTo(box.right, place(options.rule));
    context.stroke();
  }
  context.save();
  context.beginPath();
  context.rect(box.left, 0, box.right - box.left, height);
  context.clip();
  if (options.band) {
    visible.forEach((row, k) => {
      const name = options.band(row);
      if (!name) return;
      const begin = across(row.t);
      const next = k + 1 < visible.length ? Math.min(visible[k + 1].t, row.t + GAP) : row.t + 0.2;
      context.fillStyle = colour(name);
      context.fillRect(begin, box.bottom + 3, across(next) - begin + 0.5, band - 4);
    });
  }
  for (const line of lines) {
    context.strokeStyle = colour(line.style.colour);
    context.lineWidth = line.dotted ? 1.5 : 2;
    context.setLineDash(line.dotted ? [1.5, 3] : line.style.dash);
    context.beginPath();
    let last = -Infinity;
    visible.forEach((row, k) => {
      const value = line.values[k];
      if (value === null || value === undefined || (options.log && value <= 0)) return;
      if (row.t - last > GAP) context.moveTo(across(row.t), place(value));
      else context.lineTo(across(row.t), place(value));
      last = row.t;
    });
    context.stroke();
  }
  context.restore();
  context.setLineDash([]);

  // Names at the ends, moved apart where they would overlap.
  const ends = [];
  for (const line of lines) {
    const value = line.values.findLast((known) => known !== null && known !== undefined);
    if (!line.name || line.dotted || value === undefined || (options.log && value <= 0)) continue;
    ends.push({ name: line.name, colour: colour(line.style.colour), y: place(value) });
  }
  ends.sort((a, b) => a.y - b.y);
  for (let k = 1; k < ends.length; k += 1) ends[k].y = Math.max(ends[k].y, ends[k - 1].y + 12);
  const over = ends.length ? Math.max(0, ends[ends.length - 1].y - box.bottom - 6) : 0;
  context.textAlign = 'left';
  context.textBaseline = 'middle';
  for (const end of ends) {
    context.fillStyle = end.colour;
    context.fillText(end.name, box.right + 5, end.y - over);
  }
}
