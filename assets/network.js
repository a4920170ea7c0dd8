// @ts-check
// The network's window: the mini-map shows and moves it, the keys go along the layers.
(function () {
  const EDGE = 0.006;
  const graph = () => document.querySelector("#river .js-plotly-plot");
  const meta = (gd) => (gd && gd.layout && gd.layout.meta) || { extent: 1, selected: null };

  function place(element, property, value) {
    if (element.style[property] !== value) {
      element.style[property] = value;
    }
  }

  function show(gd) {
    const strip = document.getElementById("minimap");
    const mark = strip && strip.querySelector(".window");
    if (!mark || !gd || !gd.layout) {
      return;
    }
    const extent = meta(gd).extent, [left, right] = gd.layout.xaxis.range;
    place(strip, "visibility", extent > 1.001 ? "visible" : "hidden");
    place(mark, "left", (100 * Math.max(left, 0)) / extent + "%");
    place(mark, "width", (100 * Math.min(right - left, extent)) / extent + "%");
  }

  // The window begins at `left`, inside the network.
  function move(gd, left) {
    const start = Math.min(Math.max(left, 0), Math.max(meta(gd).extent - 1, 0));
    const range = [start - EDGE, start + 1 + EDGE];
    if (Math.abs(gd.layout.xaxis.range[0] - range[0]) > 1e-6) {
      window.Plotly.relayout(gd, { "xaxis.range": range }).then(() => show(gd));
    }
  }

  // After a drawing: the window stays where it is, unless the shown layer lies outside of it.
  function settle(gd) {
    if (!gd.layout || !gd.layout.meta || !gd.layout.xaxis) {
      return;
    }
    const { extent, selected } = meta(gd), [left, right] = gd.layout.xaxis.range;
    const outside = selected !== null && (selected < left || selected > right);
    if (outside || right > extent + 2 * EDGE + 1e-6) {
      move(gd, selected !== null && outside ? selected - 0.5 : left + EDGE);
    }
    show(gd);
  }

  const method = (view, page) => view.method || page["own-extraction.data"].method;
  const share = (view, page) => (view.share === null ? page["own-extraction.data"].share : view.share);

  function words(view, page) {
    const part = share(view, page);
    const size = part ? +(100 * part).toFixed(4) + " % of each layer" : "fewest maps";
    return "settings: " + method(view, page) + " · " + size + " · " + view.distance;
  }

  function drag(event) {
    const strip = document.getElementById("minimap"), gd = graph();
    if (gd && strip && event.buttons === 1) {
      const box = strip.getBoundingClientRect();
      move(gd, ((event.clientX - box.left) / box.width) * meta(gd).extent - 0.5);
      event.preventDefault();
    }
  }
  document.addEventListener("pointerdown", (event) => {
    if (event.target.closest && event.target.closest("#minimap")) {
      drag(event);
      const end = () => document.removeEventListener("pointermove", drag);
      document.addEventListener("pointermove", drag);
      document.addEventListener("pointerup", end, { once: true });
    }
  });

  // A click on a layer shows it with the map that the figure names, one on a group opens or closes it. Which neurons of
  // another layer belong to an area the server is asked.
  const shown = { view: null };
  /** @param {View} view @param {string} name @param {number} closed */
  function fold(view, name, closed) {
    const others = view.folds.filter((each) => each.slice(1) !== name);
    return window.dash_clientside.controls.edit(view, { folds: [...others, (closed ? "+" : "-") + name] });
  }
  /** @param {View} view @param {string} layer @param {number} map */
  function at(view, layer, map) {
    const step = view.steps[view.at];
    const traced = step && step.source === layer;
    return window.dash_clientside.controls.edit(view, { layer, map: traced ? null : map });
  }
  function clicked(event, gd) {
    const { view } = shown, point = event.points && event.points[0];
    const what = point && point.customdata;
    if (!what || !window.dash_clientside.controls.shows(gd, view)) {
      return;
    }
    const inside = point.data.name === "layers";
    if (inside && !what[2] && view.area) {
      window.dash_clientside.set_props("river-asked", { data: { layer: what[1], at: Date.now() } });
    } else {
      const there = () => (what[2] ? fold(view, what[2], 1) : at(view, what[1], what[3]));
      window.dash_clientside.controls.show(inside ? there() : fold(view, what[0], what[1]));
    }
  }

  // Presses that come before an answer are added to those on the way, which starts from the same layer.
  let steps = 0;
  let asked = 0;
  function arrived(view) {
    steps = shown.view && view.layer === shown.view.layer ? steps : 0;
    shown.view = view;
  }
  function answered(time) {
    steps = time === asked ? 0 : steps;
  }

  const KEYS = { ArrowRight: { step: 1 }, ArrowLeft: { step: -1 }, Enter: { fold: true } };
  document.addEventListener("keydown", (event) => {
    if (document.activeElement && document.activeElement.id === "river-keys" && KEYS[event.key]) {
      event.preventDefault();
      steps += KEYS[event.key].step || 0;
      asked = Date.now();
      const data = KEYS[event.key].step ? { step: steps, at: asked } : { fold: true, at: asked };
      window.dash_clientside.set_props("river-asked", { data });
    }
  });

  window.dash_clientside = Object.assign({}, window.dash_clientside, { network: { answered } });
  window.dash_clientside.controls.also(arrived);
  window.dash_clientside.controls.listening("river", (gd) => {
    gd.on("plotly_afterplot", () => settle(gd));
    gd.on("plotly_click", (event) => clicked(event, gd));
    settle(gd);
  });
  window.dash_clientside.controls.add({
    "method.value": method,
    "share.value": share,
    "how-paths.children": words,
  });
})();
