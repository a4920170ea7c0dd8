// What the layer's treemaps do without the server; called from callbacks/layer_choices.py and callbacks/pinned.py.
(function () {
  const APART = ["map", "maps"];
  let shift = false;
  let resized = null;
  let waited = false;

  // Plotly's clicks do not say which keys were down.
  document.addEventListener("pointerdown", (event) => (shift = event.shiftKey), true);

  window.addEventListener("resize", () => {
    clearTimeout(resized);
    resized = setTimeout(() => {
      window.dash_clientside.set_props("layer-width", { data: window.dash_clientside.aevis.width() });
    }, 250);
  });

  // A click shows a map, one with the shift key chooses it. It is taken back, so that the same one again is another.
  function clicked(click) {
    const nothing = window.dash_clientside.no_update;
    const point = click && click.points && click.points[0];
    if (!point || !point.customdata) {
      return [nothing, nothing, nothing];
    }
    const found = { map: point.customdata[0], at: Date.now() };
    return shift ? [nothing, found, null] : [found, nothing, null];
  }

  // Learned features were completed while the page was open: the faces can be drawn.
  function complete(seen) {
    const done = Boolean(seen && seen[1]);
    const news = done && waited;
    waited = waited || Boolean(seen && !done);
    return news ? true : window.dash_clientside.no_update;
  }

  // What pinned layers need of the layer's view, and only where that changed: another map is none of their business.
  function pinned(view, before) {
    const part = Object.assign({}, view);
    APART.forEach((name) => delete part[name]);
    return JSON.stringify(part) === JSON.stringify(before) ? window.dash_clientside.no_update : part;
  }

  // The controls, and what the button of the shown layer does.
  function choices(view) {
    if (!view) {
      return Array(4).fill(window.dash_clientside.no_update);
    }
    return [view.sort, view.keep, view.faces === "on", view.pinned.includes(view.layer) ? "unpin" : "pin"];
  }

  const { unlessShown } = window.dash_clientside.controls;
  const ours = { clicked, complete, pinned, choices: unlessShown(choices) };
  window.dash_clientside = Object.assign({}, window.dash_clientside, { aevisLayer: ours });
})();
