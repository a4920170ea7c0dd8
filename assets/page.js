// What the page does without the server; called from callbacks/browser.py.
(function () {
  const STATIONS = [
    ["example", "target", "method", "share", "compared", "plot", "distance", "gap", "folds", "layer"],
    ["example", "target", "method", "share", "compared", "layer", "map", "pinned", "pair", "cause", "how", "sort", "keep", "faces", "maps", "steps", "at"],
    ["example", "target", "method", "share", "compared", "layer", "map", "area", "look", "maps", "replacement"],
  ];

  const same = (a, b) => JSON.stringify(a) === JSON.stringify(b);

  // Give each station its part of the view, and only where that part changed; keep the address in step.
  function split(view, theme, width, ...before) {
    if (!view) {
      return Array(4).fill(window.dash_clientside.no_update);
    }
    const parts = STATIONS.map((fields, i) => {
      const part = { theme };
      if (i === 1) {
        part.width = width;
      }
      fields.forEach((name) => (part[name] = view[name]));
      return same(part, before[i]) ? window.dash_clientside.no_update : part;
    });
    if (window.location.search !== view.search) {
      const first = window.location.search === "";
      const write = first ? "replaceState" : "pushState";
      window.history[write]({}, "", window.location.pathname + view.search);
    }
    return [...parts, window.location.href];
  }

  // The controls as the view has them, in the browser: an answer of the server would come late and undo a choice.
  function choices(view) {
    if (!view) {
      return Array(6).fill(window.dash_clientside.no_update);
    }
    return [view.pair, view.cause, view.how, view.replacement, view.maps.join(" "), view.best];
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

  function mark(_cards, view) {
    document.querySelectorAll("[data-example]").forEach((card) => {
      card.classList.toggle("chosen", Boolean(view) && card.dataset.example === view.example);
    });
    return "gallery";
  }

  window.dash_clientside = Object.assign({}, window.dash_clientside);
  const { unlessShown } = window.dash_clientside.controls;
  const ours = { split, choices: unlessShown(choices), land, solved, theme, width, mark };
  window.dash_clientside.aevis = Object.assign({}, window.dash_clientside.aevis, ours);
})();
