// @ts-check
// Plotly looks at the end of a press once more for what lies under the pointer, but not within 50 ms of the last look,
// and a look while the button is down, as after a drawing, finds nothing: such a press would be lost. Here it is let
// look.
(function () {
  function look() {
    const graphs = Array.from(document.querySelectorAll(".js-plotly-plot"));
    const pressed = graphs.filter((graph) => graph._dragging && !graph._hoverdata);
    pressed.forEach((graph) => window.Plotly.Fx.unhover(graph, {}));
  }
  window.addEventListener("mouseup", look, true);
  window.addEventListener("touchend", look, true);
})();
