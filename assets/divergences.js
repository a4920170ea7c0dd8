// @ts-check
// The clicks on the view of all examples. A click that lists examples, or shows a map, closes the dialog, which covers
// what it changes. Called from callbacks/examples/divergences.py and callbacks/examples/recurrent.py.
(function () {
  const { draw, edit, listening, show, shown } = window.dash_clientside.controls;
  const close = () => window.dash_clientside.set_props("whole-set", { is_open: false });

  // What was picked, for the gallery to list.
  function pick(data) {
    window.dash_clientside.set_props("picked", { data });
    close();
  }

  const clicked = (done) => (graph) =>
    graph.on("plotly_click", ({ points }) => points && points[0] && points[0].customdata && done(points[0].customdata));

  // A bar: the pairs that leave at this layer, of this group or of all.
  function bar([layer, group]) {
    const [band, by] = ["divergences-band", "divergences-by"].map((id) => shown(id, "value"));
    pick({ band, layer, by, group });
  }

  // A cell of the classes; one that stands for several classes lists nothing.
  function cell([from, to]) {
    if (from !== null) {
      window.dash_clientside.set_props("confused-classes", { data: { from, to, at: Date.now() } });
      close();
    }
  }

  // The dialog has graphs of its own each time.
  function open() {
    setTimeout(() => listening("divergences", clicked(bar)), 0);
    setTimeout(() => listening("confusions", clicked(cell)), 0);
    return true;
  }

  // What the pictures depend on; nothing while the dialog is closed, for then they need not be drawn.
  function asked(opened, band, by, picked, compared, examples, theme) {
    const given = { band, by, picked: picked ?? null, compared: compared ?? null, examples, theme }; // JSON has null
    return opened ? given : window.dash_clientside.no_update;
  }

  // The examples of a pair of classes: the lists of classes name it, and as many are listed as the cell has, whatever
  // the sliders and what was picked before have left.
  /** @param {{from: number, to: number} | null} classes @param {View | null} view */
  function choose(classes, low, high, view) {
    const nothing = window.dash_clientside.no_update;
    if (!classes) {
      return [nothing, nothing, nothing, nothing];
    }
    if (view) {
      show(edit(view, { margins: null, scores: [low, high] }));
    }
    return [classes.from, classes.to, true, null];
  }

  // The gallery is no longer narrowed to what was picked, as what was picked may not be there any more.
  function widen(_unpick, _band, _by, picked) {
    return picked ? null : window.dash_clientside.no_update;
  }

  document.addEventListener("click", ({ target }) => {
    const one = target.closest && target.closest("#culprits [data-culprit], .recurrent-table [data-side]");
    const view = one && shown("view", "data");
    if (!view) {
      return;
    }
    const { culprit, side, layer } = one.dataset, map = Number(one.dataset.map);
    if (culprit) {
      pick({ band: shown("divergences-band", "value"), culprit });
    } else if (one.classList.contains("recurrent-examples")) {
      pick({ side, layer, map, method: view.method, share: view.share });
    } else {
      show(edit(view, { layer, map }));
      close();
    }
  });

  draw({
    "recurrent-view": (/** @type {View} */ view, page) =>
      page["whole-set.is_open"] ? { example: view.example, method: view.method, share: view.share } : null,
  });
  const wholeSet = { asked, choose, open, widen };
  window.dash_clientside = Object.assign({}, window.dash_clientside, { wholeSet });
})();
