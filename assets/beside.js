// @ts-check
// Two models side by side: the dialog stands open where the view says so, and what it is drawn from. Called from
// callbacks/two_models.py.
(function () {
  const { add, draw, edit, show } = window.dash_clientside.controls;

  /** @param {number} clicks @param {View | null} view */
  function open(clicks, view) {
    if (clicks && view) {
      show(edit(view, { beside: "on" }));
    }
  }

  // The dialog was closed by its own button, by Escape or by a click beside it.
  /** @param {boolean} opened @param {View | null} view */
  function closed(opened, view) {
    if (!opened && view && view.beside === "on") {
      show(edit(view, { beside: "off" }));
    }
  }

  draw({
    "two-models-view": (/** @type {View} */ { example, method, share, beside }, page) =>
      beside === "on" ? { example, method, share, theme: page["theme.data"] } : null,
  });
  add({ "two-models.is_open": (/** @type {View} */ view) => view.beside === "on" });
  window.dash_clientside = Object.assign({}, window.dash_clientside, { twoModels: { closed, open } });
})();
