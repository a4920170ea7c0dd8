// What on the page follows from the view. Stations say of properties what they are for a view (`add`), and what else is
// to be done (`also`). Whoever has a new view shows it (`show`): what the stations are drawn from is set at once, so that
// the server is asked without delay. A callback (`follow`) does so for the views that Dash's own callbacks set, and gives
// the controls what differs: a value set again would ask the server as if it had been chosen. Loaded before the stations'
// scripts.
(function () {
  const wanted = {};
  const stations = {};
  const others = [];
  let page = null;
  const none = (value) => value === undefined || value === null || value === "";
  const same = (a, b) => (none(a) && none(b)) || JSON.stringify(a) === JSON.stringify(b);

  // Functions of the view and of the page, which has the other inputs by "id.property": for controls by that name, for
  // stations by the id of the store that they are drawn from.
  const add = (functions) => Object.assign(wanted, functions);
  const draw = (functions) => Object.assign(stations, functions);
  const also = (done) => others.push(done);

  function shown(id, property) {
    const found = window.dash_component_api.getLayout(id);
    return found && found.props[property];
  }

  function tell(view) {
    others.forEach((done) => done(view, page));
    Object.entries(stations).forEach(([id, part]) => {
      const data = part(view, page);
      if (!same(data, shown(id, "data"))) {
        window.dash_clientside.set_props(id, { data });
      }
    });
  }

  function show(view) {
    window.dash_clientside.set_props("view", { data: view });
    tell(view);
  }

  // An answer changes these fields of the view as it is now. What the visitor has changed since it was asked stays, and
  // with a layer or the steps all that goes with them; of another example only how things are shown is changed.
  // What belongs to what says callbacks/view.py.
  function merge(change, view) {
    if (!change || !view) {
      return;
    }
    const { of, was, fields } = change, { belongs } = page["own-extraction.data"];
    if ("example" in fields) {
      return of === view.example ? show(Object.assign({}, view, fields)) : undefined;
    }
    const stays = new Set(Object.keys(fields).filter((name) => !same(view[name], was[name])));
    const keep = (names) => names.forEach((name) => stays.add(name));
    keep(of === view.example ? [] : belongs.example);
    keep(was.layer === view.layer ? [] : belongs.layer);
    Object.entries(belongs)
      .map(([name, others]) => [name, ...others])
      .filter((all) => all[0] in fields && all.some((name) => stays.has(name)))
      .forEach(keep);
    const kept = Object.entries(fields).filter(([name]) => !stays.has(name));
    if (kept.length) {
      show(Object.assign({}, view, Object.fromEntries(kept)));
    }
  }

  // Whether a graph is of this view: until the next figure comes it still shows the one before. Its figure's meta names
  // the fields of the view that it is of, among other things.
  function shows(graph, view) {
    const meta = (graph.layout && graph.layout.meta) || {};
    const agrees = (name) => !(name in view) || meta[name] === view[name];
    return Boolean(view) && "example" in meta && Object.keys(meta).every(agrees);
  }

  // A control is set where the view changed it, for a choice may be on its way to the server; all that differ are where
  // the page changed and not the view.
  let followed = null;
  function follow(view) {
    const { no_update: nothing, callback_context: context } = window.dash_clientside;
    page = Object.assign({}, context.inputs, context.states);
    if (view) {
      tell(view);
    }
    const before = followed && context.triggered.some((by) => by.prop_id === "view.data") ? followed : null;
    followed = view || null;
    return context.outputs_list.map(({ id, property }) => {
      const part = wanted[`${id}.${property}`];
      const value = view ? part(view, page) : undefined;
      if (before && property === "value" && same(part(before, page), value)) {
        return nothing;
      }
      return value === undefined || same(value, shown(id, property)) ? nothing : value;
    });
  }

  // Do something with a graph, once, as soon as Plotly has made it.
  function listening(id, first) {
    const graph = document.querySelector(`#${id} .js-plotly-plot`);
    if (!graph || !graph.on) {
      setTimeout(() => listening(id, first), 50);
    } else if (!graph.heard) {
      graph.heard = true;
      first(graph);
    }
  }

  const controls = { add, draw, also, follow, merge, show, shows, listening };
  window.dash_clientside = Object.assign({}, window.dash_clientside, { controls });
})();
