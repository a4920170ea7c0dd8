// What the learned features need of the view; called from callbacks/learned.py.
(function () {
  const FIELDS = ["layer", "map", "best"];

  // The part of the view that says which map's features are shown, and only where it changed.
  function part(view, before) {
    if (!view) {
      return window.dash_clientside.no_update;
    }
    const shown = {};
    FIELDS.forEach((name) => (shown[name] = view[name]));
    return JSON.stringify(shown) === JSON.stringify(before) ? window.dash_clientside.no_update : shown;
  }

  window.dash_clientside = Object.assign({}, window.dash_clientside, { aevisLearned: { part } });
})();
