'use strict';
(function () {
  const data = JSON.parse(document.getElementById('report-data').textContent);

  // Models of the figures, once Bokeh has drawn them.
  function model(name) {
    for (const doc of Bokeh.documents) {
      const found = doc.get_model_by_name(name);
      if (found !== null) { return found; }
    }
    return null;
  }

  // Time axis of all figures.
  const shown = document.getElementById('time-shown');
  function setRange(begin, end) {
    const range = model(data.timeRange);
    if (range === null) { return; }
    const width = Math.min(Math.max(end - begin, 0.02), data.timeEnd - data.timeBegin);
    begin = Math.min(Math.max(begin, data.timeBegin), data.timeEnd - width);
    range.setv({start: begin, end: begin + width});
    tell();
  }
  function tell() {
    const range = model(data.timeRange);
    if (range !== null && shown !== null) {
      shown.textContent = Math.max(range.start, 0).toFixed(2) + ' s to ' + range.end.toFixed(2) + ' s';
    }
  }
  const moves = {
    in: (a, b) => [a + (b - a) / 4, b - (b - a) / 4],
    out: (a, b) => [a - (b - a) / 2, b + (b - a) / 2],
    left: (a, b) => [a - (b - a) / 4, b - (b - a) / 4],
    right: (a, b) => [a + (b - a) / 4, b + (b - a) / 4],
    all: () => [data.timeBegin, data.timeEnd],
  };
  for (const button of document.querySelectorAll('[data-zoom]')) {
    button.addEventListener('click', () => {
      const range = model(data.timeRange);
      if (range !== null) { setRange(...moves[button.dataset.zoom](range.start, range.end)); }
    });
  }
  for (const button of document.querySelectorAll('button.show')) {
    button.addEventListener('click', () => {
      const begin = Number(button.dataset.begin), end = Number(button.dataset.end);
      const margin = Math.max(end - begin, 1);
      setRange(begin - margin, end + margin);
      document.getElementById('time').scrollIntoView();
    });
  }

  // Instant of the beam pattern.
  const slider = document.getElementById('instant');
  function showInstant(k) {
    const bodies = model(data.bodies);
    if (bodies === null) { return; }
    data.instants.forEach((_, j) => { model(data.pattern + j).visible = j === k; });
    for (const renderer of [bodies, model(data.bodies + '-labels')]) {
      renderer.glyph.x = {field: data.x + k};
      renderer.glyph.y = {field: data.y + k};
    }
    document.getElementById('instant-shown').textContent = data.instants[k];
    slider.setAttribute('aria-valuetext', data.instants[k]);
  }
  if (slider !== null) {
    slider.addEventListener('input', () => showInstant(slider.valueAsNumber));
    for (const [id, step] of [['instant-before', -1], ['instant-after', 1]]) {
      document.getElementById(id).addEventListener('click', () => {
        slider.valueAsNumber += step;
        showInstant(slider.valueAsNumber);
      });
    }
  }

  // Tables that can be sorted by any column.
  for (const table of document.querySelectorAll('table.sortable')) {
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, column) => {
      const button = head.querySelector('button');
      if (button === null) { return; }
      button.addEventListener('click', () => {
        const up = head.getAttribute('aria-sort') !== 'ascending';
        heads.forEach((other) => other.removeAttribute('aria-sort'));
        head.setAttribute('aria-sort', up ? 'ascending' : 'descending');
        const key = (row) => {
          const cell = row.cells[column], sort = cell.dataset.sort;
          return sort === undefined || sort === '' ? cell.textContent : Number(sort);
        };
        const rows = [...table.tBodies[0].rows].map((row) => [key(row), row]);
        rows.sort(([a], [b]) => {
          const numbers = typeof a === 'number' && typeof b === 'number';
          return (up ? 1 : -1) * (numbers ? a - b : String(a).localeCompare(String(b)));
        });
        table.tBodies[0].append(...rows.map(([, row]) => row));
      });
    });
  }

  const filter = document.getElementById('filter');
  if (filter !== null) {
    const rows = [...document.getElementById('incident-table').tBodies[0].rows];
    filter.addEventListener('input', () => {
      const words = filter.value.toLowerCase().split(/\s+/).filter((word) => word !== '');
      let count = 0;
      for (const row of rows) {
        const text = row.textContent.toLowerCase();
        row.hidden = !words.every((word) => text.includes(word));
        count += row.hidden ? 0 : 1;
      }
      document.getElementById('filter-count').textContent = count + ' shown';
    });
  }

  // Colours of bodies that are too dark for a dark page.
  const lighter = {'#00405F': '#9CC9E3', '#8C3800': '#E39A6B'};

  // Figures follow the colours of the page.
  const dark = window.matchMedia('(prefers-color-scheme: dark)');
  function colour() {
    const look = getComputedStyle(document.documentElement);
    const [ground, text, line] = ['--ground', '--text', '--line'].map(
      (name) => look.getPropertyValue(name).trim());
    for (const mark of document.querySelectorAll('ul.key i')) {
      const shade = mark.getAttribute('style').replace('color: ', '');
      if (dark.matches && shade in lighter) { mark.style.color = lighter[shade]; }
    }
    for (const doc of Bokeh.documents) {
      for (const figure of doc.roots()) {
        for (const place of ['left', 'right', 'above', 'below', 'center']) {
          for (const part of figure[place]) {
            const values = {};
            for (const key of ['axis_label_text_color', 'major_label_text_color',
              'axis_line_color', 'major_tick_line_color', 'label_text_color',
              'title_text_color']) {
              if (key in part.properties) { values[key] = text; }
            }
            if ('grid_line_color' in part.properties) { values.grid_line_color = line; }
            if (part.type === 'ColorBar') { values.background_fill_color = ground; }
            if (part.type === 'Arrow') {
              part.end.setv({fill_color: text, line_color: text});
              values.line_color = text;
            }
            part.setv(values);
          }
        }
        for (const renderer of figure.renderers) {
          const glyph = renderer.glyph;
          if (glyph === undefined) { continue; }
          for (const key of ['line_color', 'fill_color']) {
            const value = key in glyph.properties && glyph[key] !== null && glyph[key].value;
            if (dark.matches && value in lighter) { glyph[key] = {value: lighter[value]}; }
          }
          const columns = renderer.data_source.data;
          if (dark.matches && columns.colour !== undefined) {
            const shades = columns.colour.map((shade) => lighter[shade] || shade);
            renderer.data_source.data = {...columns, colour: shades};
          }
          for (const [key, was] of [['line_color', '#000000'], ['text_color', '#000000']]) {
            if (!(key in glyph.properties)) { continue; }
            const value = glyph[key] !== null && glyph[key].value;
            if (dark.matches && value === was) { glyph[key] = {value: text}; }
          }
          if (dark.matches && 'background_fill_color' in glyph.properties) {
            glyph.background_fill_color = {value: ground};
          }
        }
      }
    }
  }

  function ready() {
    if (model(data.timeRange) === null) { window.requestAnimationFrame(ready); return; }
    if (dark.matches) { colour(); }
    dark.addEventListener('change', () => window.location.reload());
    const range = model(data.timeRange);
    range.change.connect(tell);
    tell();
    if (slider !== null) { showInstant(slider.valueAsNumber); }
    document.documentElement.dataset.ready = 'true';
  }
  if (document.readyState === 'loading') {
    document.addEventListener('DOMContentLoaded', ready);
  } else {
    ready();
  }
})();
