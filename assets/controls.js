// @ts-check
// What on the page follows from the view. Stations say of properties what they are for a view (`add`), and what else is
// to be done (`also`). Whoever has a new view shows it (`show`): what the stations are drawn from is set at once, so
// that the server is asked without delay. A callback (`follow`) does so for the views that Dash's own callbacks set,
// and gives the controls what differs: a value set again would ask the server as if it had been chosen. Loaded before
// the stations' scripts (SCRIPTS in web.py).
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

  /** @param {View} view */
  function tell(view) {
    others.forEach((done) => done(view, page));
    Object.entries(stations).forEach(([id, part]) => {
      const data = part(view, page);
      if (!same(data, shown(id, "data"))) {
        window.dash_clientside.set_props(id, { data });
      }
    });
  }

  // What the page tells of the view's fields.
  /** @returns {Own} */
  const own = () => shown("own-extraction", "data");

  // The view after a click that sets some `fields`; `View.edit` of callbacks/view/state.py is the same for the server.
  // What belongs to one of them and is not set with it is as on a new page: with {layer: ["map", "on"], map: ["on"]} of
  //   view = {layer: "conv", map: 3, on: "source", sort: "fill"}
  // edit(view, {sort: "channel"}) gives {layer: "conv", map: 3, on: "source", sort: "channel"}, and
  // edit(view, {layer: "relu", map: 7}) gives {layer: "relu", map: 7, on: "", sort: "fill"}.
  /** @param {View} view @param {Partial<View>} fields @returns {View} */
  function edit(view, fields) {
    const { belongs, fresh } = own();
    const along = Object.keys(fields).flatMap((field) => belongs[field] || []);
    return { ...view, ...Object.fromEntries(along.map((name) => [name, fresh[name]])), ...fields };
  }

  // A control that is a field of the view was set, or a button that clears one was pressed (callbacks/view/browser.py).
  // A checkbox is "on" or "off". Where the view itself set the control there is nothing to do.
  const told = (value) => (typeof value === "boolean" ? (value ? "on" : "off") : value);
  const ticked = (value) => (value === "on" ? true : value === "off" ? false : value);
  function choose(...given) {
    const view = given[given.length - 1], { choices, fresh } = own(), fields = {};
    window.dash_clientside.callback_context.triggered.forEach(({ prop_id: by, value }) => {
      const [id, property] = by.split(".");
      if (!none(value)) {
        fields[choices[id]] = property === "n_clicks" ? fresh[choices[id]] : told(value);
      }
    });
    if (view && Object.keys(fields).some((name) => !same(view[name], fields[name]))) {
      show(edit(view, fields));
    }
  }

  /** @param {View} view */
  function show(view) {
    window.dash_clientside.set_props("view", { data: view });
    tell(view);
  }

  // What an answer adds to the trail goes behind what has come meanwhile; null where steps are gone, so that its
  // numbers are wrong. The place in the trail is changed where an answer `led` to another. An example:
  //   when the server was asked, the trail was   was.steps = [A, B]                    and   was.at = 1
  //   it answers with a step that follows B      fields.steps = [A, B, C under B]      and   fields.at = 2
  //   meanwhile the visitor has added a step     view.steps = [A, B, X]                and   view.at = 2
  //   so C becomes the step number 3             gives {steps: [A, B, X, C under B], at: 3 if it led there, else 2}
  /** @param {Change} change @param {View} view @param {boolean} led @returns {Partial<View> | null} */
  function grown({ was, fields }, view, led) {
    const bare = (steps) => steps.map((step) => Object.assign({}, step, { note: "" }));
    const many = was.steps.length, more = view.steps.length - many;
    if (!same(bare(was.steps), bare(view.steps.slice(0, many)))) {
      return null;
    }
    const place = (number) => (number < many ? number : number + more);
    const added = fields.steps.slice(many).map((step) => Object.assign({}, step, { parent: place(step.parent) }));
    return { steps: [...view.steps, ...added], at: led ? place(fields.at) : view.at };
  }

  // The view with what an answer changes of it. What the visitor has changed since it was asked stays, and with a layer
  // all that goes with it; of another example only how things are shown is changed, and of a trace whose steps cannot
  // be added nothing. An example is taken unless the visitor went back since. What belongs to what is said in
  // callbacks/view/state.py. An example:
  //   when the server was asked, the view was    was = {layer: "conv", map: 3, area: null, on: "", maps: []}
  //   it answers with a layer and its map        fields = {layer: "relu", map: 7, area: null, on: "", maps: []}
  //   the visitor has sorted the cells since     view = {layer: "conv", map: 3, sort: "channel"} gives relu, 7, channel
  //   or has gone to another map since           view = {layer: "conv", map: 5, sort: "fill"} gives conv, 5, fill
  /**
   * @param {Change} change @param {View} view @param {Record<string, string[]>} belongs @param {number} went
   * @returns {View}
   */
  function merged(change, view, belongs, went) {
    const { of, since, was, fields } = change;
    if ("example" in fields) {
      return since > went ? Object.assign({}, view, fields) : view;
    }
    const stays = new Set(Object.keys(fields).filter((name) => !same(view[name], was[name])));
    const keep = (names) => names.forEach((name) => stays.add(name));
    keep(of === view.example ? [] : belongs.example);
    keep(was.layer === view.layer ? [] : belongs.layer);
    Object.entries(belongs)
      .map(([name, along]) => [name, ...along])
      .filter((all) => all[0] in fields && all.some((name) => stays.has(name)))
      .forEach(keep);
    const grows = of === view.example && "steps" in fields;
    const leads = "at" in fields && fields.at !== was.at;
    const led = leads && was.layer === view.layer && !stays.has("layer");
    keep(leads && !led ? ["sort", "cause"] : []); // a trace sorts and fills the layer it leads to
    const trail = grows ? grown(change, view, led) : {};
    if (trail === null && leads) {
      return view;
    }
    const kept = Object.entries(fields).filter(([name]) => !stays.has(name) && !["steps", "at"].includes(name));
    return Object.assign({}, view, Object.fromEntries(kept), trail);
  }

  /** @param {Change | null} change @param {View | null} view */
  function merge(change, view) {
    if (change && view) {
      const went = (shown("went", "data") || {}).at || 0;
      const after = merged(change, view, own().belongs, went);
      if (!same(after, view)) {
        show(after);
      }
      Object.entries(change.then).forEach(([id, data]) => window.dash_clientside.set_props(id, { data }));
    }
  }

  // Whether a graph is of this view: until the next figure comes it still shows the one before. Its figure's meta names
  // the fields of the view that it is of, among other things.
  /** @param {Graph} graph @param {View | null} view */
  function shows(graph, view) {
    const meta = (graph.layout && graph.layout.meta) || {};
    const agrees = (name) => !(name in view) || meta[name] === view[name];
    return Boolean(view) && "example" in meta && Object.keys(meta).every(agrees);
  }

  // After a change of the view, set the values of only those controls whose field changed: others may hold a choice
  // still under way. After a change of the page, set all that differ. What was typed is of one layer of one example, so
  // it is set anew with another one.
  const TYPED = ["chosen-maps.value", "area-words.value"];
  let followed = null;
  /** @param {View | null} view */
  function follow(view) {
    const { no_update: nothing, callback_context: context } = window.dash_clientside;
    page = Object.assign({}, context.inputs, context.states);
    if (view) {
      tell(view);
    }
    const before = followed && context.triggered.some((by) => by.prop_id === "view.data") ? followed : null;
    const elsewhere = before && view && (before.example !== view.example || before.layer !== view.layer);
    followed = view || null;
    return context.outputs_list.map(({ id, property }) => {
      const chosen = property === "value" && own().choices[id];
      const part = chosen ? (of) => ticked(of[chosen]) : wanted[`${id}.${property}`];
      const value = view ? part(view, page) : undefined;
      const typed = elsewhere && TYPED.includes(`${id}.${property}`);
      if (before && property === "value" && !typed && same(part(before, page), value)) {
        return nothing;
      }
      return value === undefined || same(value, shown(id, property)) ? nothing : value;
    });
  }

  // The button that was pressed, by its id, or by the type and the index of such an id; nothing where buttons were only
  // added to the page, or taken away.
  function pressed() {
    const [{ prop_id: named, value } = {}] = window.dash_clientside.callback_context.triggered;
    const by = value ? named.slice(0, named.lastIndexOf(".")) : "";
    return by.startsWith("{") ? JSON.parse(by) : { by };
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

  const about = { add, draw, also, show, shows, shown, tell, listening };
  const controls = { ...about, choose, edit, follow, merge, merged, pressed };
  window.dash_clientside = Object.assign({}, window.dash_clientside, { controls });
})();
