// Numbers as people read them. null: not known.

export const UNKNOWN = '–';

/** Three significant digits, without an exponent. */
export function digits(value, count = 3) {
  return Number(value.toPrecision(count)).toString();
}

/** A length [m] in the unit that suits it. */
export function length(metres) {
  if (metres === null) return UNKNOWN;
  for (const [factor, unit] of [[1, 'm'], [1e-2, 'cm'], [1e-3, 'mm']]) {
    if (metres >= factor) return `${digits(metres / factor)} ${unit}`;
  }
  return `${digits(metres * 1e6)} µm`;
}

/** An angle [rad] in the unit that suits it. */
export function angle(radians) {
  if (radians === null) return 'not identifiable';
  for (const [factor, unit] of [[1, 'rad'], [1e-3, 'mrad']]) {
    if (radians >= factor) return `${digits(radians / factor)} ${unit}`;
  }
  return `${digits(radians * 1e6)} µrad`;
}

export function decibel(value) {
  return value === null ? UNKNOWN : `${value.toFixed(1)} dB`;
}

export function milliseconds(value) {
  return value === null ? UNKNOWN : `${value < 10 ? value.toFixed(2) : value.toFixed(1)} ms`;
}

export function seconds(value) {
  if (value === null) return 'never';
  return value < 10 ? `${value.toFixed(1)} s ago` : `${Math.round(value)} s ago`;
}

export function watts(value) {
  return value === null ? UNKNOWN : `${digits(value)} W`;
}

/** Counts by reason, the most frequent first. */
export function reasons(counts) {
  const sorted = Object.entries(counts).sort((a, b) => b[1] - a[1]);
  return sorted.map(([reason, count]) => `${reason} ${count}`).join(', ') || 'none';
}
