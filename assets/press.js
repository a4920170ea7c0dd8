// Plotly asks at the end of a press once more what lies under the pointer, but at most every 50 ms, and forgets it while a
// button is down: a press during which the graph is drawn anew would be lost. It is told here, if the graph still shows
// the same.
(function () {
  const STILL = 4; // px that a click may move
  let press = null;
  const shows = (graph) => JSON.stringify((graph.layout && graph.layout.meta) || null);
  const told = () => Object.assign(press, { told: true });
  function over() {
    if (press) {
      press.graph.removeListener("plotly_click", told);
    }
    press = null;
  }

  document.addEventListener(
    "pointerdown",
    (event) => {
      const graph = event.target.closest && event.target.closest(".js-plotly-plot");
      over();
      if (graph && graph.on && graph._hoverdata && event.button === 0) {
        press = { graph, points: graph._hoverdata, shows: shows(graph), x: event.clientX, y: event.clientY, told: false };
        graph.once("plotly_click", told);
      }
    },
    true,
  );
  document.addEventListener("click", (event) => {
    if (press && event.isTrusted) {
      const { graph, points, x, y } = press;
      const still = Math.hypot(event.clientX - x, event.clientY - y) < STILL;
      const lost = still && !press.told && graph.contains(event.target) && shows(graph) === press.shows;
      over();
      if (lost) {
        graph.emit("plotly_click", { points, event });
      }
    }
  });
})();
