// @ts-check
// The moves in the trail, and saving it; called from callbacks/trail/clicks.py and callbacks/saved_trails.py.
(function () {
  /** @param {View} view @param {Partial<View>} fields @returns {View} */
  const edit = (view, fields) => window.dash_clientside.controls.edit(view, fields);

  // The role on whose image a layer's contributions were traced, as a part of the view; what it is where there are
  // none.
  /** @param {View} view @param {number} at @returns {Partial<View>} */
  const cause = (view, at) => (at >= 0 ? { cause: view.steps[at].on } : {});

  // Where a step began; the prediction has no layer of its own.
  /** @param {View} view @param {number} number */
  function step(view, number) {
    const { layer, source, map, area, parent, on } = view.steps[number];
    const there = { layer: layer || source, map, area, on: layer ? on : "", at: parent };
    return edit(view, { ...there, ...cause(view, parent) });
  }

  // What came of a step: the contributions, or the maps that were flipped.
  /** @param {View} view @param {number} number */
  function node(view, number) {
    const { layer, source, map, maps, replacement, parent } = view.steps[number];
    const there = source ? { layer: source, at: number } : { layer, map, maps, replacement, at: parent };
    return edit(view, { ...there, ...cause(view, there.at) });
  }

  // Without a step and all that follow it.
  /** @param {View} view @param {number} number */
  function drop(view, number) {
    const places = [];
    let count = 0;
    view.steps.forEach(({ parent }, i) => (places[i] = i === number || places[parent] < 0 ? -1 : count++));
    const place = (old) => (old < 0 ? -1 : places[old]);
    const left = view.steps.filter((_, i) => places[i] >= 0).map((each) => ({ ...each, parent: place(each.parent) }));
    const at = view.at >= 0 && places[view.at] < 0 ? view.steps[number].parent : view.at;
    return edit(view, { steps: left, at: place(at) });
  }

  // A click on a step's button. The button knows how many steps there were when it was drawn: one that was drawn before
  // a step was taken out has a wrong number.
  const moves = { step, node, drop };
  function walk(...given) {
    const view = given[given.length - 1];
    const { type, index } = window.dash_clientside.controls.pressed();
    const [number, of] = (index || "").split("/").map(Number);
    return view && index && of <= view.steps.length ? moves[type](view, number) : window.dash_clientside.no_update;
  }

  // The shown view is saved under a name (callbacks/saved_trails.py). Its address holds the trail and the notes.
  /** @param {number} clicks @param {string | null} name @param {string | null} who */
  function save(clicks, name, who) {
    const asked = { name: name || "", who: who || "", link: window.location.search, clicks };
    return clicks ? asked : window.dash_clientside.no_update;
  }

  // What is saved is listed whenever the drawer is opened: others may have saved something meanwhile.
  document.addEventListener(
    "toggle",
    ({ target }) => {
      if (target instanceof HTMLDetailsElement && target.id === "tree-panel" && target.open) {
        window.dash_clientside.set_props("saved-changed", { data: `opened ${Date.now()}` });
      }
    },
    true
  );

  // The end of the way, which is where the visitor is, is kept in sight.
  function end() {
    const way = document.getElementById("trail");
    if (!way) {
      return setTimeout(end, 50);
    }
    new MutationObserver(() => (way.scrollLeft = way.scrollWidth)).observe(way, { childList: true });
  }
  end();

  window.dash_clientside = Object.assign({}, window.dash_clientside, { trail: { ...moves, walk, save } });
})();
