// What the page does without the server; called from callbacks/browser.py and callbacks/navigation.py.
(function () {
  const PATHS = ["example", "target", "method", "share"];
  const LAYER = [...PATHS, "compared", "layer", "pinned", "pair", "cause", "how", "sort", "keep", "faces", "steps", "at"];
  const NEURON = [...PATHS, "compared", "layer", "map", "look", "best"];
  const STATIONS = {
    paths: [...PATHS, "compared"],
    network: [...PATHS, "compared", "plot", "distance", "gap", "folds", "layer"],
    layer: LAYER,
    table: [...LAYER, "map"],
    neuron: NEURON,
    area: [...PATHS, "compared", "layer", "area"],
    large: [...NEURON, "area"],
    trail: [...PATHS, "layer", "maps", "replacement", "how", "steps", "at"],
  };
  const nothing = () => window.dash_clientside.no_update;

  // The part of the view that a station shows, in the page's theme.
  function part(station, view, page) {
    const found = { theme: page["theme.data"] };
    STATIONS[station].forEach((name) => (found[name] = view[name]));
    return found;
  }

  // Keep the address in step with the view, and the link that can be copied.
  function link(view, page) {
    const search = window.dash_clientside.address.address(view, page["own-extraction.data"].plain);
    if (window.location.search !== search) {
      const write = window.location.search === "" ? "replaceState" : "pushState";
      window.history[write]({}, "", window.location.pathname + search);
    }
    document.getElementById("link").textContent = window.location.href;
  }

  // An extraction has ended: show it, unless the visitor has gone on to another example or method meanwhile.
  function land(done, view) {
    if (done && view && ["example", "method", "share"].every((name) => view[name] === done.ready[name])) {
      setTimeout(() => {
        window.dash_clientside.set_props("extraction-ready", { data: done.ready });
      }, 0);
    }
  }

  // Contributions were found: the layer is drawn anew.
  function solved(done) {
    if (done) {
      setTimeout(() => window.dash_clientside.set_props("solved", { data: done }), 0);
    }
  }

  function theme(dark) {
    const name = dark ? "dark" : "light";
    document.documentElement.setAttribute("data-bs-theme", name);
    return name;
  }

  // Treemaps are laid out in pixels: tell the server how many there are.
  function width() {
    const place = document.getElementById("treemaps");
    return place && place.clientWidth > 100 ? Math.round(place.clientWidth / 10) * 10 : 760;
  }

  // What the visitor wrote beside the steps, into the view.
  function annotate(notes, view) {
    if (!view || notes.length !== view.steps.length) {
      return nothing();
    }
    const ids = window.dash_clientside.callback_context.inputs_list[0].map((entry) => entry.id.index);
    const steps = view.steps.map((step) => Object.assign({}, step));
    ids.forEach((number, i) => (steps[number].note = notes[i] || ""));
    return JSON.stringify(steps) === JSON.stringify(view.steps) ? nothing() : Object.assign({}, view, { steps });
  }

  window.dash_clientside = Object.assign({}, window.dash_clientside);
  const { add, also, follow } = window.dash_clientside.controls;
  add({
    "paths-view.data": (view, page) => part("paths", view, page),
    "network-view.data": (view, page) => part("network", view, page),
    "layer-view.data": (view, page) => ({ width: page["layer-width.data"], ...part("layer", view, page) }),
    "table-view.data": (view, page) => ((page["layer-table-switch.n_clicks"] || 0) % 2 ? part("table", view, page) : null),
    "neuron-view.data": (view, page) => part("neuron", view, page),
    "area-view.data": (view, page) => part("area", view, page),
    "large-view.data": (view, page) => (page["large.is_open"] ? part("large", view, page) : null),
    "trail-view.data": (view, page) => part("trail", view, page),
    "replacement.value": (view) => view.replacement,
    "chosen-maps.value": (view) => view.maps.join(" "),
    "best-by.value": (view) => view.best,
  });
  also(link);
  const ours = { follow, land, solved, theme, width, annotate };
  window.dash_clientside.aevis = Object.assign({}, window.dash_clientside.aevis, ours);
})();
