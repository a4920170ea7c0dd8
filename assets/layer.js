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

  // A click on a cell shows the map; with the shift or the control key it chooses the map, or drops it.
  function clicked(event, gd) {
    const point = event.points && event.points[0];
    const { view } = shown, { edit, show, shows } = window.dash_clientside.controls;
    if (!point || !point.customdata || !shows(gd, view)) {
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

  // The next cell in a direction: the nearest one that lies more that way than aside.
  const WAYS = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowDown: [0, 1], ArrowUp: [0, -1] };
  function beside(found, map, [across, down]) {
    const middle = ([left, right, top, bottom]) => [(left + right) / 2, (top + bottom) / 2];
    const [x, y] = middle(found.get(map));
    const near = Array.from(found, ([channel, rect]) => {
      const [dx, dy] = [middle(rect)[0] - x, middle(rect)[1] - y];
      const [along, aside] = [dx * across + dy * down, Math.abs(dx * down) + Math.abs(dy * across)];
      return { channel, along, far: along + 2 * aside, aside };
    }).filter(({ along, aside }) => along > 0.5 && aside <= along);
    return near.sort((a, b) => a.far - b.far)[0];
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

  // The view may have other maps.
  function frames(view) {
    shown.view = view;
    const gd = document.querySelector("#treemap .js-plotly-plot");
    if (gd && gd.heard) {
      frame(gd);
    }
  }

  // Listen to clicks, and look at the frames after each drawing.
  function heard(gd) {
    gd.on("plotly_afterplot", () => frame(gd));
    gd.on("plotly_click", (event) => clicked(event, gd));
    frame(gd);
  }

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
  listening("treemap", heard);
  const ours = { chooseMap, drawn, pin, complete, mark: (_table, view) => mark(view) };
  window.dash_clientside = Object.assign({}, window.dash_clientside, { aevisLayer: ours });
})();
