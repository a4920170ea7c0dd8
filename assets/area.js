// @ts-check
// The area of interest as the view has it: top, left, bottom, right, the ends not included, and the places of the
// chosen neurons where not all are. A click adds a neuron to it or takes it away.
(function () {
  // The neurons of an area as numbers, row by row over the whole map of that width.
  function neurons(area, width) {
    const [top, left, bottom, right, ...picked] = area;
    const places = picked.length ? picked : Array.from({ length: (bottom - top) * (right - left) }, (_, i) => i);
    return places.map((i) => (top + Math.floor(i / (right - left))) * width + left + (i % (right - left)));
  }

  // The smallest rectangle around neurons, given so; null for none.
  function around(chosen, width) {
    if (!chosen.length) {
      return null;
    }
    let [top, left, bottom, right] = [Infinity, Infinity, 0, 0];
    chosen.forEach((neuron) => {
      const [row, column] = [Math.floor(neuron / width), neuron % width];
      [top, left] = [Math.min(top, row), Math.min(left, column)];
      [bottom, right] = [Math.max(bottom, row + 1), Math.max(right, column + 1)];
    });
    const place = (neuron) => (Math.floor(neuron / width) - top) * (right - left) + (neuron % width) - left;
    const all = chosen.length === (bottom - top) * (right - left);
    return [top, left, bottom, right, ...(all ? [] : chosen.map(place).sort((a, b) => a - b))];
  }

  // Without an area, which stands for the whole map, that neuron alone.
  function toggled(area, row, column, width) {
    const chosen = new Set(area ? neurons(area, width) : []);
    const neuron = row * width + column;
    if (!chosen.delete(neuron)) {
      chosen.add(neuron);
    }
    return around(Array.from(chosen), width);
  }

  // The rectangle of neurons that a text such as "rows 2-4, columns 3" names, of all rows or columns where it names
  // none; null for no text. Throws a sentence for what is no rectangle of the layer.
  const ENDS = /(row|column)s?\s+(\d{1,6})(?:\s*(?:-|–|to)\s*(\d{1,6}))?/g;
  function read(text, layer, height, width) {
    const written = (text || "").trim().toLowerCase();
    const parts = Array.from(written.matchAll(ENDS));
    const ends = (first, last) => [Number(first), Number(last ?? first)].sort((a, b) => a - b);
    const named = Object.fromEntries(parts.map(([, what, first, last]) => [what, ends(first, last)]));
    const rest = written.replace(ENDS, "").replace(/^[ ,;]+|[ ,;]+$/g, "");
    if (!written) {
      return null;
    }
    if (rest || !parts.length || parts.length > Object.keys(named).length) {
      const short = written.length < 40 ? written : written.slice(0, 40) + "…";
      throw `'${short}' names no neurons. Write them such as: rows 2-4, columns 3-5.`;
    }
    const [top, bottom] = named.row || [0, height - 1];
    const [left, right] = named.column || [0, width - 1];
    if (bottom >= height || right >= width) {
      throw `The area lies outside layer '${layer}', which has ${height} rows and ${width} columns, counted from 0.`;
    }
    return [top, left, bottom + 1, right + 1];
  }

  window.dash_clientside = Object.assign({}, window.dash_clientside, { area: { toggled, read } });
})();
