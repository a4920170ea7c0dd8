// @ts-check
// What the activation maps do without the server; called from callbacks/neuron/activations.py.
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

  // The value that is drawn as z, to three digits and no finer than its step (figures/drawing.py, Coding).
  function number(z, base, step) {
    const value = Number((step ? base + z * step : z).toPrecision(3));
    return step ? Number(value.toFixed(Math.min(100, Math.max(0, Math.ceil(-Math.log10(step)))))) : value;
  }

  // What every map has there, from what is drawn: `calcdata` holds the decoded numbers.
  function values(graph, row, column) {
    const drawn = document.querySelector(`#${graph} .js-plotly-plot`);
    return (drawn.calcdata || [])
      .map(([first]) => first)
      .filter((first) => first && first.trace.type === "heatmap")
      .map(({ trace, z }) => `${trace.meta[0]} ${number(z[row][column], trace.meta[1], trace.meta[2])}`);
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

  // The area of interest in words; single neurons of a rectangle have none.
  /** @param {View} view */
  function words(view) {
    const [top, left, bottom, right, ...picked] = view.area || [];
    const ends = (first, end) => (end - first > 1 ? `${first}-${end - 1}` : `${first}`);
    const none = top === undefined || picked.length > 0;
    return none ? "" : `rows ${ends(top, bottom)}, columns ${ends(left, right)}`;
  }

  // Words that were typed for the area are another one, or wrong, which is said. Dash would tell of them after the
  // click that ended the typing, which may be one to trace it.
  function typed(text) {
    const told = (children) => window.dash_clientside.set_props("message", { children, is_open: Boolean(children) });
    const { edit, show, shown } = window.dash_clientside.controls;
    const [view, fields] = ["view", "receptive-fields"].map((id) => shown(id, "data"));
    if (!view || !fields || fields.layer !== view.layer || text === words(view)) {
      return;
    }
    try {
      const area = window.dash_clientside.area.read(text, fields.layer, fields.rows.length, fields.columns.length);
      show(edit(view, { area, on: area ? view.on : "" }));
      told("");
    } catch (wrong) {
      told(String(wrong));
    }
  }

  document.addEventListener("change", ({ target }) => target.id === "area-words" && typed(target.value), true);

  // The role on whose image an area is chosen that is drawn over that axis; "" for none.
  function roleAt(graph, axis) {
    const map = graph.data.find((trace) => trace.type === "heatmap" && (trace.xaxis || "x") === axis);
    return map ? map.meta[3] : "";
  }

  // What of an area the server is to be asked: one that was drawn on the shown map. A drawing that was taken away is
  // none.
  function asked(_small, _large, view) {
    const { no_update: nothing, callback_context: context } = window.dash_clientside;
    const [{ prop_id: by, value } = {}] = context.triggered;
    if (!view || !by) {
      return nothing;
    }
    const { range, lassoPoints } = value || {};
    const graph = document.querySelector(`#${by.slice(0, by.lastIndexOf("."))} .js-plotly-plot`);
    if (!graph || !window.dash_clientside.controls.shows(graph, view)) {
      return nothing;
    }
    const kind = lassoPoints ? { lassoPoints } : { range };
    const on = roleAt(graph, Object.keys(lassoPoints || range || {}).find((axis) => axis.startsWith("x")));
    return range || lassoPoints ? { ...kind, on, at: Date.now() } : nothing;
  }

  // A click on a neuron adds it to the area of interest, or takes it away.
  const shown = { view: null };
  function clicked(event, graph) {
    const { view } = shown, point = event.points && event.points[0];
    const { edit, show, shows } = window.dash_clientside.controls;
    if (shows(graph, view) && point && point.z !== undefined) {
      const width = point.fullData.z[0].length;
      const area = window.dash_clientside.area.toggled(view.area, point.y, point.x, width);
      show(edit(view, { area, on: area ? point.fullData.meta[3] : "" }));
    }
  }

  window.dash_clientside.controls.add({
    "area-words.value": words,
    "whole-map.disabled": (view) => !view.area,
    "enlarge.disabled": (view) => view.map === null,
  });
  const { also, listening } = window.dash_clientside.controls;
  const heard = (graph) => graph.on("plotly_click", (event) => clicked(event, graph));
  also((view) => (shown.view = view));
  listening("activations", heard);

  // The larger view has a graph of its own each time.
  function open() {
    setTimeout(() => listening("large-activations", heard), 0);
    return true;
  }

  const ours = { follow, number, open, asked };
  window.dash_clientside = Object.assign({}, window.dash_clientside, { neuron: ours });
})();
