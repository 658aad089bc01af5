// The map: arrays, bodies, beams, bounds, seen along one of the axes.

import { decibel, digits, length } from './format.js';

const NAMESPACE = 'http://www.w3.org/2000/svg';
const VIEWS = { top: [0, 1], front: [0, 2], side: [1, 2] };
const AXES = ['x', 'y', 'z'];
const MARGIN = 46;   // [px]

function element(name, attributes, ...children) {
  const made = document.createElementNS(NAMESPACE, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

function path(points, closed) {
  return `M${points.map(([x, y]) => `${x.toFixed(1)} ${y.toFixed(1)}`).join('L')}${closed ? 'Z' : ''}`;
}

/** Half axes and angle of the ellipse that a covariance has in a plane [m, rad]. */
export function ellipse(covariance, [i, j]) {
  const [a, b, c] = [covariance[4 * i], covariance[3 * i + j], covariance[4 * j]];
  const mean = (a + c) / 2;
  const spread = Math.hypot((a - c) / 2, b);
  return {
    major: Math.sqrt(Math.max(0, mean + spread)), minor: Math.sqrt(Math.max(0, mean - spread)),
    angle: 0.5 * Math.atan2(2 * b, a - c),
  };
}

export class Scene {
  constructor(svg) {
    this.svg = svg;
    this.view = 'top';
    this.scale = 30;
    this.setup = { arrays: [] };
    this.state = null;
    this.box = null;       // what is shown: centre and half width [m]; null: all
    this.reach = {};       // by view, what has been seen so far [m]
    new ResizeObserver(() => this.draw()).observe(svg);
  }

  /** Look along another axis. */
  look(view) {
    this.view = view;
    this.box = null;
    this.draw();
  }

  /** Show everything again. */
  fit() {
    this.box = null;
    this.reach = {};
    this.draw();
  }

  /** Enlarge by a factor, move by shares of the width. */
  move(factor, right = 0, up = 0) {
    const box = this.box || this.whole();
    this.box = { centre: [box.centre[0] + 2 * right * box.half, box.centre[1] + 2 * up * box.half], half: box.half / factor };
    this.draw();
  }

  show(setup, state) {
    this.setup = setup;
    this.state = state;
    this.draw();
  }

  /** Square around all that is or was to be seen. */
  whole() {
    const axes = VIEWS[this.view];
    const points = this.setup.arrays.flatMap((array) => array.outline);
    if (this.state) {
      for (const body of [...this.state.targets, ...this.state.users, ...this.state.truth]) {
        if (body.position) points.push(body.position);
      }
    }
    const reach = this.reach[this.view] || { low: [Infinity, Infinity], high: [-Infinity, -Infinity] };
    for (const point of points) {
      axes.forEach((axis, k) => {
        if (point[axis] === null) return;
        reach.low[k] = Math.min(reach.low[k], point[axis]);
        reach.high[k] = Math.max(reach.high[k], point[axis]);
      });
    }
    if (!Number.isFinite(reach.low[0] + reach.low[1])) return { centre: [0, 0], half: 5 };
    this.reach[this.view] = reach;
    const wide = Math.max(0.5, reach.high[0] - reach.low[0]);
    const high = Math.max(0.5, reach.high[1] - reach.low[1]);
    const width = Math.max(50, this.svg.clientWidth - 3 * MARGIN);
    const height = Math.max(50, this.svg.clientHeight - 2 * MARGIN);
    const metres = Math.max(wide / width, high / height) * this.svg.clientWidth;
    return { centre: [(reach.low[0] + reach.high[0]) / 2, (reach.low[1] + reach.high[1]) / 2], half: metres / 2 };
  }

  draw() {
    const width = this.svg.clientWidth;
    const height = this.svg.clientHeight;
    if (!width || !height) return;
    const box = this.box || this.whole();
    const pixels = width / (2 * box.half);
    const axes = VIEWS[this.view];
    const place = (point) => [
      width / 2 + (point[axes[0]] - box.centre[0]) * pixels,
      height / 2 - (point[axes[1]] - box.centre[1]) * pixels];
    const drawn = [...this.grid(width, height, box, pixels, axes)];
    for (const array of this.setup.arrays) {
      drawn.push(
        element('path', { class: 'boresight', d: path(array.boresight.map(place)) }),
        element('path', { class: 'array', d: path(array.outline.map(place), true) }));
    }
    if (this.state) drawn.push(...this.bodies(place, pixels, axes, width, height));
    this.svg.setAttribute('viewBox', `0 0 ${width} ${height}`);
    this.svg.replaceChildren(...drawn);
  }

  * grid(width, height, box, pixels, axes) {
    const raw = 70 / pixels;
    const power = 10 ** Math.floor(Math.log10(raw));
    const step = power * [1, 2, 5, 10].find((factor) => factor * power >= raw);
    for (const [k, size] of [[0, width], [1, height]]) {
      const half = size / 2 / pixels;
      for (let n = Math.ceil((box.centre[k] - half) / step); n * step <= box.centre[k] + half; n += 1) {
        const offset = (n * step - box.centre[k]) * pixels;
        const at = k === 0 ? width / 2 + offset : height / 2 - offset;
        // Where the numbers of both axes would meet, neither is written.
        const crowded = k === 0 ? at < 30 || at > width - 30 : at > height - 22 || at < 24;
        yield element('path', { class: 'grid', d: k === 0 ? `M${at} 0V${height}` : `M0 ${at}H${width}` });
        if (crowded) continue;
        const text = `${digits(n * step, 4)}${n === 0 ? ' m' : ''}`;
        yield element('text', k === 0
          ? { class: 'tick', x: at + 3, y: height - 5 } : { class: 'tick', x: 3, y: at - 3 }, text);
      }
    }
    const frame = this.setup.frame ? ` · frame ${this.setup.frame}` : '';
    yield element('text', { class: 'tick', x: width - 6, y: 14, 'text-anchor': 'end' },
      `${AXES[axes[0]]} to the right, ${AXES[axes[1]]} up [m]${frame}`);
  }

  bodies(place, pixels, axes, width, height) {
    const { targets, users, truth } = this.state;
    const back = [];
    const front = [];
    const labels = [];
    const taken = [];
    const origin = this.setup.arrays.length ? place(centre(this.setup.arrays[0].outline)) : null;
    for (const body of truth) {
      const [x, y] = place(body.position);
      back.push(element('path', { class: 'truth', d: `M${x - 5} ${y - 5}l10 10m0-10l-10 10` }));
    }
    for (const target of targets) {
      if (!target.position) continue;
      const [x, y] = place(target.position);
      const old = target.pose === 'fresh' || target.pose === 'unknown' ? '' : ' old';
      if (target.covariance_m2) {
        const shape = ellipse(target.covariance_m2, axes);
        back.push(element('ellipse', {
          class: 'bound', 'data-id': target.id, cx: x, cy: y, rx: Math.max(1, shape.major * this.scale * pixels),
          ry: Math.max(1, shape.minor * this.scale * pixels),
          transform: `rotate(${-shape.angle * 180 / Math.PI} ${x} ${y})` }));
      }
      if (target.outline) {
        const moved = target.outline.map((point) => point.map((value, k) => value + target.position[k]));
        front.push(element('path', { class: 'outline', d: path(moved.map(place), true) }));
      }
      front.push(element('circle', { class: `target${old}`, cx: x, cy: y, r: 6 }));
      taken.push([x - 7, y - 7, x + 7, y + 7]);
      const note = target.root_crb_m !== null ? length(target.root_crb_m)
        : target.bounded ? 'not identifiable' : 'no bound';
      labels.push({ x, y, lines: [target.id, note] });
    }
    for (const user of users) {
      if (!user.position) continue;
      const [x, y] = place(user.position);
      const old = user.served ? '' : ' old';
      if (user.served && origin) {
        back.push(element('path', { class: `beam ${user.met ? 'met' : 'missed'}`, 'data-id': user.id, d: path([origin, [x, y]]) }));
      }
      front.push(element('rect', { class: `user${old}`, x: x - 6, y: y - 6, width: 12, height: 12 }));
      taken.push([x - 7, y - 7, x + 7, y + 7]);
      labels.push({ x, y, lines: [user.id, user.served ? decibel(user.sinr_db) : 'not served'] });
    }
    for (const array of this.setup.arrays) {
      const [x, y] = place(centre(array.outline));
      labels.push({ x, y, lines: [array.name, ''] });
      for (const line of [array.outline, array.boresight]) {
        const points = line.map(place);
        const [xs, ys] = [0, 1].map((k) => points.map((point) => point[k]));
        taken.push([Math.min(...xs) - 4, Math.min(...ys) - 4, Math.max(...xs) + 4, Math.max(...ys) + 4]);
      }
    }
    return [...back, ...front, ...labels.map((label) => write(label, taken, width, height))];
  }
}

function centre(points) {
  return [0, 1, 2].map((k) => (Math.min(...points.map((p) => p[k])) + Math.max(...points.map((p) => p[k]))) / 2);
}

/** A label beside its body, on the first side that is free. */
function write({ x, y, lines }, taken, width, height) {
  const wide = 7.6 * Math.max(...lines.map((line) => line.length));
  const high = lines[1] ? 32 : 16;
  const places = [
    [x + 10, y - high / 2], [x - 10 - wide, y - high / 2], [x - wide / 2, y - 12 - high],
    [x - wide / 2, y + 12], [x + 10, y + 8], [x + 10, y - 8 - high], [x - 10 - wide, y + 8],
    [x - 10 - wide, y - 8 - high]];
  const boxes = places.map(([left, top]) => [left, top, left + wide, top + high]);
  const free = boxes.find((box) => box[0] > 0 && box[1] > 0 && box[2] < width && box[3] < height
    && !taken.some((other) => box[0] < other[2] && other[0] < box[2] && box[1] < other[3] && other[1] < box[3]));
  const box = free || boxes[0];
  taken.push(box);
  return element('text', { class: 'label', y: box[1] + 13 },
    element('tspan', { x: box[0] }, lines[0]), element('tspan', { x: box[0], dy: 16 }, lines[1]));
}
