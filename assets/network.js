// The network's window: the mini-map shows and moves it, the keys go along the layers.
(function () {
  const EDGE = 0.006;
  const graph = () => document.querySelector("#river .js-plotly-plot");
  const meta = (gd) => (gd && gd.layout && gd.layout.meta) || { extent: 1, selected: null };

  function show(gd) {
    const strip = document.getElementById("minimap");
    const mark = strip && strip.querySelector(".window");
    if (!mark || !gd || !gd.layout) {
      return;
    }
    const extent = meta(gd).extent, [left, right] = gd.layout.xaxis.range;
    strip.style.visibility = extent > 1.001 ? "visible" : "hidden";
    mark.style.left = (100 * Math.max(left, 0)) / extent + "%";
    mark.style.width = (100 * Math.min(right - left, extent)) / extent + "%";
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
    const { extent, selected } = meta(gd), [left, right] = gd.layout.xaxis.range;
    const outside = selected !== null && (selected < left || selected > right);
    if (outside || right > extent + 2 * EDGE + 1e-6) {
      move(gd, selected !== null && outside ? selected - 0.5 : left + EDGE);
    }
    show(gd);
  }

  function river() {
    setTimeout(() => {
      const gd = graph();
      if (gd && gd.layout && gd.layout.xaxis && gd.layout.meta) {
        settle(gd);
      } else if (gd) {
        show(gd);
      }
    }, 400);
    return window.dash_clientside.no_update;
  }

  // The controls as the view has them, in the browser: an answer of the server would come late and undo a choice.
  function networkChoices(view, own) {
    if (!view) {
      return Array(6).fill(window.dash_clientside.no_update);
    }
    const method = view.method || own.method, share = view.share === null ? own.share : view.share;
    const size = share ? +(100 * share).toFixed(4) + " % of each layer" : "fewest maps";
    const words = method + " · " + size + " · " + view.distance;
    return [view.plot, method, share, view.distance, view.gap, words];
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

  const KEYS = { ArrowRight: { step: 1 }, ArrowLeft: { step: -1 }, Enter: { fold: true } };
  document.addEventListener("keydown", (event) => {
    if (document.activeElement && document.activeElement.id === "river-keys" && KEYS[event.key]) {
      event.preventDefault();
      window.dash_clientside.set_props("river-key", { data: { ...KEYS[event.key], at: Date.now() } });
    }
  });

  window.dash_clientside = Object.assign({}, window.dash_clientside);
  window.dash_clientside.aevis = Object.assign({}, window.dash_clientside.aevis, {
    river,
    networkChoices: window.dash_clientside.controls.unlessShown(networkChoices),
  });
})();
