// The area of interest as the view has it: top, left, bottom, right, the ends not included, and the places of the chosen
// neurons where not all are. A click adds a neuron to it or takes it away.
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

  window.dash_clientside = Object.assign({}, window.dash_clientside, { area: { toggled } });
})();
