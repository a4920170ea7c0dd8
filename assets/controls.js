// What on the page follows from the view. Stations say of properties what they are for a view (`add`), and what else is
// to be done (`also`); one callback sets the properties that differ (`follow`): a value set again, though the page
// shows it already, would ask the server as if it had been chosen. Loaded before the stations' scripts.
(function () {
  const wanted = {};
  const others = [];
  const none = (value) => value === undefined || value === null || value === "";
  const same = (a, b) => (none(a) && none(b)) || JSON.stringify(a) === JSON.stringify(b);

  // Functions by "id.property", of the view and of the page: the other inputs by the same names.
  const add = (functions) => Object.assign(wanted, functions);
  const also = (done) => others.push(done);

  function shown(output) {
    const found = window.dash_component_api.getLayout(output.id);
    return found && found.props[output.property];
  }

  function follow(view) {
    const { no_update: nothing, callback_context: context } = window.dash_clientside;
    const page = Object.assign({}, context.inputs, context.states);
    if (view) {
      others.forEach((done) => done(view, page));
    }
    return context.outputs_list.map((output) => {
      const value = view ? wanted[`${output.id}.${output.property}`](view, page) : undefined;
      return value === undefined || same(value, shown(output)) ? nothing : value;
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

  const controls = { add, also, follow, listening };
  window.dash_clientside = Object.assign({}, window.dash_clientside, { controls });
})();
