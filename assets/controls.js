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

  // An answer changes these fields of the view as it is now, where it is still of that example, and of that layer if maps
  // or neurons of it were chosen.
  const OF_LAYER = ["map", "maps", "area"];
  function merge(change, view) {
    if (!change || !view) {
      return;
    }
    const { of, fields } = change;
    const elsewhere = OF_LAYER.some((name) => name in fields) && !("layer" in fields) && of[1] !== view.layer;
    if ("example" in fields || (of[0] === view.example && !elsewhere)) {
      show(Object.assign({}, view, fields));
    }
  }

  function follow(view) {
    const { no_update: nothing, callback_context: context } = window.dash_clientside;
    page = Object.assign({}, context.inputs, context.states);
    if (view) {
      tell(view);
    }
    return context.outputs_list.map(({ id, property }) => {
      const value = view ? wanted[`${id}.${property}`](view, page) : undefined;
      return value === undefined || same(value, shown(id, property)) ? nothing : value;
    });
  }

  // Do something with a graph, once, as soon as Plotly has drawn something: a figure that comes while Plotly still makes the
  // graph has it made anew, without those that listened.
  function listening(id, first) {
    const graph = document.querySelector(`#${id} .js-plotly-plot`);
    if (!graph || !graph.on || !graph.calcdata || !graph.data.length) {
      setTimeout(() => listening(id, first), 50);
    } else if (!graph.heard) {
      graph.heard = true;
      first(graph);
    }
  }

  const controls = { add, draw, also, follow, merge, show, listening };
  window.dash_clientside = Object.assign({}, window.dash_clientside, { controls });
})();
