// What the activation maps do without the server; called from callbacks/activations.py.
(function () {
  const part = (value, of) => `${((100 * value) / of).toFixed(2)}%`;

  // The boxes on the images go to the receptive field of one neuron; they vanish for none.
  function outline(fields, row, column) {
    document.querySelectorAll("#seen-on-images .hover-box").forEach((box) => {
      box.style.display = fields ? "block" : "none";
      if (fields) {
        const [[top, bottom], [left, right], [height, width]] = [fields.rows[row], fields.columns[column], fields.size];
        box.style.top = part(top, height);
        box.style.left = part(left, width);
        box.style.height = part(bottom - top, height);
        box.style.width = part(right - left, width);
      }
    });
  }

  // What every map has there, from what is drawn: `calcdata` holds the decoded numbers.
  function values(graph, row, column) {
    const drawn = document.querySelector(`#${graph} .js-plotly-plot`);
    return (drawn.calcdata || [])
      .map(([first]) => first)
      .filter((first) => first && first.trace.type === "heatmap")
      .map((first) => `${first.trace.meta} ${Number(first.z[row][column].toPrecision(3))}`);
  }

  // The pointer is over a neuron, or over none: outline what it sees, and say what it is.
  function follow(hover, fields, graph) {
    const point = hover && hover.points && hover.points[0];
    const there = point && fields && fields.rows[point.y] && fields.columns[point.x];
    outline(there ? fields : null, there && point.y, there && point.x);
    if (!there) {
      return "";
    }
    const [[top, bottom], [left, right]] = [fields.rows[point.y], fields.columns[point.x]];
    const sees = `sees pixel rows ${top} to ${bottom - 1}, columns ${left} to ${right - 1}`;
    return `row ${point.y}, column ${point.x} ${sees} · ${values(graph, point.y, point.x).join(" · ")}`;
  }

  // The look, and the area of interest in words; single neurons of a rectangle have none (`area_in` reads rectangles).
  function choices(view) {
    const [top, left, bottom, right, ...picked] = (view && view.area) || [];
    const ends = (first, end) => (end - first > 1 ? `${first}-${end - 1}` : `${first}`);
    const none = top === undefined || picked.length > 0;
    const words = none ? "" : `rows ${ends(top, bottom)}, columns ${ends(left, right)}`;
    const look = view ? view.look : "maps";
    return [look, look, words];
  }

  const open = () => true;

  const { unlessShown } = window.dash_clientside.controls;
  const ours = { follow, choices: unlessShown(choices), open };
  window.dash_clientside = Object.assign({}, window.dash_clientside, { neuron: ours });
})();
