// @ts-check
// What the layer's treemaps do without the server; called from callbacks/layer/clicks.py and callbacks/layer/table.py.
(function () {
  let several = false;
  let resized = null;
  let known = null;
  const NOWHERE = "M0,0Z";
  const shown = { view: null };

  // Plotly's clicks do not say which keys were down.
  const keys = ({ shiftKey, ctrlKey, metaKey }) => (several = shiftKey || ctrlKey || metaKey);
  document.addEventListener("pointerdown", keys, true);

  window.addEventListener("resize", () => {
    clearTimeout(resized);
    resized = setTimeout(() => {
      window.dash_clientside.set_props("layer-width", { data: window.dash_clientside.aevis.width() });
    }, 250);
  });

  // A button that names a map of the shown layer shows it; others are of the layer before.
  function chooseMap(...given) {
    const view = given[given.length - 1], named = window.dash_clientside.controls.pressed().index;
    const colon = named ? named.lastIndexOf(":") : -1, map = Number((named || "").slice(colon + 1));
    const other = view && colon > 0 && named.slice(0, colon) === view.layer && map !== view.map;
    return other ? window.dash_clientside.controls.edit(view, { map }) : window.dash_clientside.no_update;
  }

  // Pin the shown layer, instead of the one pinned first where there is no place left, or unpin one.
  const PINS = 3;
  function pin(_pin, _unpin, view) {
    const { by, index } = window.dash_clientside.controls.pressed();
    const layer = index || (by === "pin-layer" && view && view.layer);
    if (!view || !layer) {
      return window.dash_clientside.no_update;
    }
    const others = view.pinned.filter((name) => name !== layer);
    const pinned = index || view.pinned.includes(layer) ? others : [...others, layer].slice(-PINS);
    return window.dash_clientside.controls.edit(view, { pinned });
  }

  // A click on a cell shows the map; with the shift or the control key it chooses the map, or drops it. A click on the
  // place of the maps without a cell gives every map one.
  function clicked(event, gd) {
    const point = event.points && event.points[0];
    const { view } = shown, { edit, show, shows } = window.dash_clientside.controls;
    if (!point || !shows(gd, view)) {
      return;
    }
    if (point.data && point.data.name === "rest") {
      show(edit(view, { cells: "all" }));
    }
    if (!point.customdata) {
      return;
    }
    const map = point.customdata[0];
    const maps = view.maps.includes(map) ? view.maps.filter((each) => each !== map) : [...view.maps, map];
    if (several || map !== view.map) {
      show(edit(view, several ? { maps } : { map }));
    }
  }

  // The maps in a box or a lasso that was drawn around their cells; none where it lies on a figure of another layer.
  function drawn(selected, view) {
    const points = (selected && selected.points) || [], gd = document.querySelector("#treemap .js-plotly-plot");
    const maps = points.filter((point) => point.customdata).map((point) => point.customdata[0]);
    const ours = maps.length && gd && window.dash_clientside.controls.shows(gd, view);
    return ours ? { maps, at: Date.now() } : window.dash_clientside.no_update;
  }

  // The cells of a treemap or a matrix by their channels, as figures/cells.py draws them: left, right, top, bottom.
  function cells(gd) {
    const maps = gd.data.find((trace) => trace.name === "maps");
    const found = new Map();
    (maps ? maps.customdata : []).forEach(([channel], i) => {
      const [x, y] = [maps.x[i], maps.base[i]];
      found.set(channel, [x - maps.width[i] / 2, x + maps.width[i] / 2, y, y + maps.y[i]]);
    });
    return found;
  }

  // The shown map among those of a flip-back, and in the table.
  function mark(view) {
    document.querySelectorAll("#flip-text [data-map], .layer-table [data-map]").forEach((one) => {
      one.classList.toggle("chosen", Boolean(view) && Number(one.dataset.map) === view.map);
    });
  }

  // Frames of cells as one path, `inset` pixels inside of them; in data, or in pixels of a figure.
  function framed(rects, inset, across = (x) => x, down = (y) => y) {
    const one = ([left, right, top, bottom]) => {
      const [aside, below] = [Math.min(inset, (right - left) / 4), Math.min(inset, (bottom - top) / 4)];
      const [x0, x1, y0, y1] = [across(left + aside), across(right - aside), down(top + below), down(bottom - below)];
      return `M${x0},${y0}L${x1},${y0}L${x1},${y1}L${x0},${y1}Z`;
    };
    return rects.map(one).join("") || NOWHERE;
  }

  // The next cell in a direction: the nearest one of those that stand beside this one that way, however narrow it is;
  // where there is none, the nearest one that lies more that way than aside.
  const WAYS = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowDown: [0, 1], ArrowUp: [0, -1] };
  function beside(found, map, [across, down]) {
    const middle = ([left, right, top, bottom]) => [(left + right) / 2, (top + bottom) / 2];
    const own = found.get(map), [x, y] = middle(own);
    const overlap = (a, b, from) => Math.min(a[from + 1], b[from + 1]) - Math.max(a[from], b[from]);
    const near = Array.from(found, ([channel, rect]) => {
      const [dx, dy] = [middle(rect)[0] - x, middle(rect)[1] - y];
      const [along, aside] = [dx * across + dy * down, Math.abs(dx * down) + Math.abs(dy * across)];
      const [ahead, level] = across ? [0, 2] : [2, 0];
      const next = overlap(own, rect, ahead) < 0.5 && overlap(own, rect, level) > 0.5;
      return { channel, along, far: along + 2 * aside, aside, next, gap: -overlap(own, rect, ahead) };
    }).filter(({ along, aside, next }) => along > 0.5 && (next || aside <= along));
    const first = near.filter(({ next }) => next).sort((a, b) => a.gap - b.gap || a.aside - b.aside);
    const least = first.length ? first[0].gap + 8 : 0;
    const close = first.filter(({ gap }) => gap <= least).sort((a, b) => a.aside - b.aside);
    return close[0] || near.sort((a, b) => a.far - b.far)[0];
  }
  document.addEventListener("keydown", (event) => {
    const gd = document.querySelector("#treemap .js-plotly-plot"), { view } = shown;
    const focused = document.activeElement && document.activeElement.id === "treemap-keys";
    if (!focused || !WAYS[event.key] || !gd || !window.dash_clientside.controls.shows(gd, view)) {
      return;
    }
    event.preventDefault();
    const found = cells(gd);
    const first = { channel: found.keys().next().value };
    const next = found.has(view.map) ? beside(found, view.map, WAYS[event.key]) : first;
    if (next && next.channel !== undefined) {
      const { edit, show } = window.dash_clientside.controls;
      show(edit(view, { map: next.channel }));
    }
  });

  // Put the frames of the shown map and of the chosen ones where they belong. That is done to the drawing itself, and
  // noted in the figure: Plotly would draw every cell anew.
  function frame(gd) {
    const { xaxis, yaxis, shapes = [] } = gd._fullLayout || {};
    const current = window.dash_clientside.controls.shows(gd, shown.view);
    const found = current && shapes.some((shape) => shape.name === "selected") ? cells(gd) : null;
    (found ? shapes : []).forEach((shape, i) => {
      const channels = { selected: [shown.view && shown.view.map], picked: shown.view && shown.view.maps }[shape.name];
      const line = channels && gd.querySelector(`.shapelayer path[data-index="${i}"]`);
      if (line) {
        const rects = channels.filter((c) => found.has(c)).map((c) => found.get(c));
        const path = framed(rects, shape.line.width / 2);
        if (path !== shape.path) {
          shape.path = gd.layout.shapes[i].path = path;
          const [across, down] = [xaxis, yaxis].map((axis) => (value) => axis._offset + axis.d2p(value));
          line.setAttribute("d", framed(rects, shape.line.width / 2, across, down));
        }
      }
    });
  }

  // Maps that were chosen elsewhere while they had no cell. The layer is drawn anew for them: it gives a cell to every
  // map that is chosen then (`hidden` of callbacks/layer/contents.py).
  let called = [];
  /** @param {View} view @returns {number[]} */
  function calls(view) {
    const gd = document.querySelector("#treemap .js-plotly-plot");
    const current = gd && window.dash_clientside.controls.shows(gd, view);
    const hidden = (current && gd.layout.meta.hidden) || [];
    const chosen = [view.map, ...view.maps];
    if (!current) {
      called = [];
    } else if (chosen.some((map) => hidden.includes(map) && !called.includes(map))) {
      called = chosen.filter((map) => hidden.includes(map) || called.includes(map));
    }
    return called;
  }

  // How high the treemaps are: what the window leaves beside all else in their column. A place is kept for the winners
  // as soon as a layer is traced to, so that it is drawn once. In a low window the column scrolls, to what was traced.
  const [LOWEST, HIGHEST, EDGES] = [140, 620, 4];
  let height = 236;
  /** @param {View} view @returns {number} */
  function fit(view) {
    const parts = [".middle", ".network", ".layer", "#treemaps", "#layer-table"];
    const [column, network, layer, treemaps, table] = parts.map((one) => document.querySelector(one));
    const step = view.steps[view.at];
    const traced = Boolean(step && step.source && step.source === view.layer);
    const before = layer.classList.contains("traced");
    layer.classList.toggle("traced", traced);
    const head = view.pinned.some((name) => name !== view.layer) ? 22 : 0;
    const others = layer.offsetHeight - treemaps.offsetHeight - table.offsetHeight;
    const room = column.clientHeight - network.offsetHeight - parseFloat(getComputedStyle(column).rowGap) - others;
    if (column.clientHeight) {
      height = Math.min(Math.max(10 * Math.floor((room - head - EDGES) / 10), LOWEST), HIGHEST);
      document.documentElement.style.setProperty("--layer-height", `${height + EDGES}px`);
      column.scrollTop = traced && !before ? column.scrollHeight : column.scrollTop;
    }
    return height;
  }
  let fitting = null;
  const grown = new ResizeObserver(() => {
    clearTimeout(fitting);
    fitting = setTimeout(() => shown.view && window.dash_clientside.controls.tell(shown.view), 150);
  });

  // The view may have other maps.
  function frames(view) {
    shown.view = view;
    const gd = document.querySelector("#treemap .js-plotly-plot");
    if (gd && gd.heard) {
      frame(gd);
    }
  }

  // Listen to clicks, and look at the frames after each drawing, and for maps that were chosen while it was on its way.
  function heard(gd) {
    gd.on("plotly_afterplot", () => {
      frame(gd);
      const before = called;
      if (shown.view && calls(shown.view) !== before && called.length) {
        window.dash_clientside.controls.tell(shown.view);
      }
    });
    gd.on("plotly_click", (event) => clicked(event, gd));
    frame(gd);
    [".middle", ".network"].forEach((one) => grown.observe(document.querySelector(one)));
  }
  document.addEventListener("click", (event) => {
    if (event.target.id === "fewer-cells" && shown.view) {
      window.dash_clientside.controls.show(window.dash_clientside.controls.edit(shown.view, { cells: "few" }));
    }
  });

  // Learned features, or the names of maps, were completed while the page was open: faces and names can be drawn.
  function complete(seen) {
    const done = seen ? Number(Boolean(seen[1])) + Number(Boolean(seen[2])) : 0;
    const news = known !== null && done > known;
    known = seen ? done : known;
    return news ? done : window.dash_clientside.no_update;
  }

  const { add, also, listening } = window.dash_clientside.controls;
  // Another way of finding contributions was chosen: the server is to ask for a job anew, also where the visitor has
  // cancelled one and came back to that way before the layer was drawn.
  let way = null;
  also((view) => {
    const now = view.how + " " + view.against;
    if (way !== null && now !== way) {
      window.dash_clientside.set_props("solve-asked", { data: null });
    }
    way = now;
  });
  add({
    "pin-layer.children": (view) => (view.pinned.includes(view.layer) ? "unpin" : "pin"),
    "legend-pair.children": (view) => view.pair.replace("-", " - "),
  });
  also(frames);
  also(mark);
  also((view) => (document.getElementById("fewer-cells").hidden = view.cells === "few"));
  listening("treemap", heard);
  const ours = { calls, chooseMap, complete, drawn, fit, pin, mark: (_table, view) => mark(view) };
  window.dash_clientside = Object.assign({}, window.dash_clientside, { aevisLayer: ours });
})();
