// @ts-check
// The bar between the middle column and the evidence: it is moved by the pointer, or by the arrow keys, and a double
// click puts it back. The browser keeps where it stands. assets/layer.js hears of it as of a window of another size.
(function () {
  const KEPT = "aevis-evidence-width", LEAST = { evidence: 420, middle: 440 }, STEP = 32;
  const bar = () => document.getElementById("splitter");
  const stations = () => /** @type {HTMLElement} */ (document.querySelector(".stations"));
  const evidence = () => /** @type {HTMLElement} */ (document.getElementById("evidence"));

  // The widths that the evidence can have, so that the middle column keeps its least one.
  function ends() {
    const middle = /** @type {HTMLElement} */ (document.querySelector(".middle"));
    const both = middle.offsetWidth + evidence().offsetWidth;
    return [LEAST.evidence, Math.max(both - LEAST.middle, LEAST.evidence)];
  }

  /** @param {number | null} width in pixels; null for that of a new page */
  function set(width) {
    if (width === null) {
      stations().style.removeProperty("--evidence");
      localStorage.removeItem(KEPT);
    } else {
      const [least, most] = ends(), found = Math.round(Math.min(Math.max(width, least), most));
      stations().style.setProperty("--evidence", `minmax(0, ${found}px)`);
      localStorage.setItem(KEPT, String(found));
    }
    tell();
  }

  // What a screen reader says of the bar.
  function tell() {
    const [least, most] = ends();
    const told = { valuemin: least, valuemax: most, valuenow: evidence().offsetWidth };
    Object.entries(told).forEach(([name, value]) => bar()?.setAttribute(`aria-${name}`, String(value)));
  }

  const resized = () => window.dispatchEvent(new Event("resize"));

  function begin() {
    const found = bar();
    if (!found) {
      return setTimeout(begin, 50);
    }
    found.addEventListener("pointerdown", (event) => {
      event.preventDefault();
      found.focus();
      found.setPointerCapture(event.pointerId);
      const right = evidence().getBoundingClientRect().right;
      const move = (/** @type {PointerEvent} */ moved) => set(right - moved.clientX);
      found.addEventListener("pointermove", move);
      found.addEventListener(
        "lostpointercapture",
        () => {
          found.removeEventListener("pointermove", move);
          resized();
        },
        { once: true }
      );
    });
    found.addEventListener("dblclick", () => {
      set(null);
      resized();
    });
    found.addEventListener("keydown", ({ key }) => {
      const step = { ArrowLeft: STEP, ArrowRight: -STEP }[key];
      if (step) {
        set(evidence().offsetWidth + step);
        resized();
      }
    });
    const kept = Number(localStorage.getItem(KEPT));
    if (kept) {
      set(kept);
      resized();
    } else {
      tell();
    }
  }
  begin();
})();
