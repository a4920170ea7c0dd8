// @ts-check
// The gallery: forty cards as plain elements, since every Dash component looks at every change of the page.
(function () {
  let cards = null;

  function element(tag, properties, ...children) {
    const made = Object.assign(document.createElement(tag), properties);
    made.append(...children);
    return made;
  }

  // One card of layouts/examples.py; the amplified difference is fetched when the mouse is on it.
  function card(found) {
    const stack = element(
      "span",
      { className: "stack" },
      element("img", { loading: "lazy", src: found.adversarial, alt: `adversarial, ${found.labels[1]}` }),
      element("span", { className: "over" })
    );
    const difference = new URL(found.difference, document.baseURI); // of the page, not of a style
    stack.style.setProperty("--difference", `url(${difference})`);
    const line = (className) => (textContent) => element("span", { className, textContent });
    const kinds = ["src", "adv", "quiet", "quiet"];
    const lines = found.lines.map((text, i) => line(kinds[i])(text)).concat(found.warnings.map(line("warning")));
    const made = element(
      "button",
      { className: found.fooled ? "card-button" : "card-button failed", title: found.id },
      element("img", { loading: "lazy", src: found.source, alt: `source, ${found.labels[0]}` }),
      stack,
      element("span", { className: "words" }, ...lines),
      element("span", { className: "ready-mark", textContent: "ready", title: "Its datapaths are extracted." })
    );
    made.dataset.example = found.id;
    return made;
  }

  // A card that is out of sight is brought to the middle of its list; the column with the slider stays where it is.
  function bring(one, always = false) {
    const place = one.parentElement, [seen, all] = [one.getBoundingClientRect(), place.getBoundingClientRect()];
    if (always || seen.top < all.top || seen.bottom > all.bottom) {
      place.scrollTop += (seen.top + seen.bottom - all.top - all.bottom) / 2;
    }
  }

  // A new page finds its heights while it is drawn: the card stays in the middle until the visitor does something.
  function follow() {
    const place = document.getElementById("gallery");
    if (!place) {
      return setTimeout(follow, 50);
    }
    const resized = new ResizeObserver(() => place.querySelectorAll(".chosen").forEach((one) => bring(one, true)));
    resized.observe(place);
    ["pointerdown", "keydown", "wheel"].forEach((name) =>
      document.addEventListener(name, () => resized.disconnect(), { once: true, capture: true, passive: true })
    );
  }

  // The card of the shown example.
  function mark(view) {
    document.querySelectorAll("#gallery [data-example]").forEach((one) => {
      const shown = one.dataset.example === view.example;
      if (shown !== one.classList.contains("chosen")) {
        one.classList.toggle("chosen", shown);
        shown ? one.setAttribute("aria-current", "true") : one.removeAttribute("aria-current");
        shown && bring(one);
      }
    });
  }

  function draw(found, view) {
    const place = document.getElementById("gallery");
    if (place && found && JSON.stringify(found) !== cards) {
      cards = JSON.stringify(found);
      place.replaceChildren(...found.map(card));
      place.scrollTop = 0;
      mark(view || {});
    } else if (view) {
      mark(view);
    }
  }

  document.addEventListener("click", (event) => {
    const clicked = event.target.closest && event.target.closest("#gallery [data-example]");
    if (clicked) {
      const data = { example: clicked.dataset.example, at: Date.now() };
      window.dash_clientside.set_props("chosen-example", { data });
    }
  });

  // The ranges of scores and of margins are fields of the view; those of a new page are none.
  const { add, edit, listening, show, shown } = window.dash_clientside.controls;
  const fresh = {
    margins: () => ["min", "max"].map((end) => shown("margin-range", end)),
    scores: () => shown("own-extraction", "data").scores,
  };
  /** @param {number[]} scores @param {number[]} margins @param {View | null} view */
  function ranges(scores, margins, view) {
    const alike = (a, b) => JSON.stringify(a) === JSON.stringify(b);
    const wanted = {};
    Object.entries({ scores, margins }).forEach(([name, chosen]) => {
      const field = chosen && alike(chosen, fresh[name]()) ? null : chosen;
      if (view && chosen && !alike(field, view[name] ?? null)) {
        wanted[name] = field;
      }
    });
    if (view && Object.keys(wanted).length) {
      show(edit(view, wanted));
    }
  }
  add({
    "margin-range.value": (/** @type {View} */ view) => view.margins || fresh.margins(),
    "score-range.value": (/** @type {View} */ view) => view.scores || fresh.scores(),
  });

  // A range that is drawn across the histogram is that of the slider below it, which has steps.
  listening("scores", (graph) =>
    graph.on("plotly_selected", (/** @type {{range?: {x: number[]}}} */ drawn) => {
      if (drawn && drawn.range) {
        const [low, high, step] = ["min", "max", "step"].map((name) => shown("score-range", name));
        const snap = (x) => Math.min(Math.max(low + Math.round((x - low) / step) * step, low), high);
        const ends = drawn.range.x.map((x) => Number(snap(x).toPrecision(10))).sort((a, b) => a - b);
        window.dash_clientside.set_props("score-range", { value: ends });
      }
    })
  );

  // The cards of examples whose datapaths are stored.
  /** @param {string[] | null} names */
  function ready(names) {
    document.querySelectorAll("#gallery [data-example]").forEach((one) => {
      if (one instanceof HTMLElement) {
        one.classList.toggle("ready", (names || []).includes(one.dataset.example || ""));
      }
    });
  }

  follow();
  window.dash_clientside.controls.also(mark);
  window.dash_clientside = Object.assign({}, window.dash_clientside, { gallery: { draw, ranges, ready } });
})();
