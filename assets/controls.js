// Controls follow the view, which the visitor's choices change: a value set again, though the page shows it already,
// would ask the server as if it had been chosen. Loaded before the stations' scripts, which wrap their callbacks in it.
(function () {
  const same = (a, b) => JSON.stringify(a) === JSON.stringify(b);

  function shown(output) {
    const found = window.dash_component_api.getLayout(output.id);
    return found && found.props[output.property];
  }

  // A callback of several outputs that leaves alone those which are on the page as it would have them.
  function unlessShown(wanted) {
    return function (...given) {
      const outputs = window.dash_clientside.callback_context.outputs_list;
      return wanted(...given).map((value, i) =>
        same(value, shown(outputs[i])) ? window.dash_clientside.no_update : value
      );
    };
  }

  window.dash_clientside = Object.assign({}, window.dash_clientside, { controls: { unlessShown } });
})();
