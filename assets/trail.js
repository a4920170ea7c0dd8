// The moves in the trail; called from callbacks/navigation.py.
(function () {
  const put = (view, fields) => Object.assign({}, view, fields);

  // Where a step began; the prediction has no layer of its own.
  function step(view, number) {
    const { layer, source, map, area, parent } = view.steps[number];
    return put(view, { layer: layer || source, map, area, maps: [], at: parent });
  }

  // What came of a step: the contributions, or the maps that were flipped.
  function node(view, number) {
    const { layer, source, map, maps, replacement, parent } = view.steps[number];
    const traced = { layer: source, map: null, maps: [], at: number };
    return put(view, { area: null, ...(source ? traced : { layer, map, maps, replacement, at: parent }) });
  }

  // Without a step and all that follow it.
  function drop(view, number) {
    const places = [];
    let count = 0;
    view.steps.forEach(({ parent }, i) => (places[i] = i === number || places[parent] < 0 ? -1 : count++));
    const place = (old) => (old < 0 ? -1 : places[old]);
    const left = view.steps.filter((_, i) => places[i] >= 0).map((each) => put(each, { parent: place(each.parent) }));
    const at = view.at >= 0 && places[view.at] < 0 ? view.steps[number].parent : view.at;
    return put(view, { steps: left, at: place(at) });
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

  window.dash_clientside = Object.assign({}, window.dash_clientside, { trail: { ...moves, walk } });
})();
