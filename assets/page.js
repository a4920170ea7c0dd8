// @ts-check
// What the page does without the server; called from callbacks/view/browser.py and callbacks/view/opening.py.
(function () {
  const PATHS = ["example", "target", "method", "share"];
  const CELLS = ["pair", "cause", "how", "against", "sort", "keep", "cells", "faces"];
  const LAYER = [...PATHS, "question", "compared", "layer", "pinned", ...CELLS, "steps", "at"];
  const NEURON = [...PATHS, "compared", "layer", "map", "look", "best"];
  const STATIONS = {
    paths: [...PATHS, "compared"],
    network: [...PATHS, "question", "compared", "plot", "distance", "gap", "folds", "layer", "pinned"],
    layer: LAYER,
    table: LAYER,
    neuron: NEURON,
    area: [...PATHS, "compared", "layer", "area", "on"],
    large: [...NEURON, "area"],
    story: [...PATHS, "distance", "question", "steps"],
    trail: [...PATHS, "layer", "maps", "replacement", "how", "against", "steps", "at"],
  };
  const nothing = () => window.dash_clientside.no_update;

  // The part of the view that a station shows, in the page's theme. Only the trail shows the notes of steps: another
  // station is not drawn anew when one is typed.
  /** @param {string} station @param {View} view @param {Page} page */
  function part(station, view, page) {
    const found = { theme: page["theme.data"] };
    STATIONS[station].forEach((name) => (found[name] = view[name]));
    if ("steps" in found && station !== "trail") {
      found.steps = view.steps.map((step) => Object.assign({}, step, { note: "" }));
    }
    return found;
  }

  // Keep the address in step with the view, and the link that can be copied. What the visitor did is a new entry of the
  // browser's history; what the page makes of an address, or adds to an example that was just chosen, is not.
  let answering = true;
  let left = null;
  ["pointerdown", "keydown"].forEach((name) => document.addEventListener(name, () => (answering = false), true));
  window.addEventListener("popstate", () => {
    answering = true;
    left = JSON.stringify(window.dash_clientside.controls.shown("view", "data") ?? null);
    window.dash_clientside.set_props("went", { data: { search: window.location.search, at: Date.now() } });
  });
  // The view of an address is here: it is shown, unless the visitor has changed the one that was left for it. What an
  // answer changed meanwhile is of the one that was left.
  /** @param {View} view @param {View | null} shown */
  function arrive(view, shown) {
    offered = new URLSearchParams(window.location.search).has("example") ? null : view.example;
    return answering || left === null || left === JSON.stringify(shown ?? null) ? view : nothing();
  }
  // A layer or a map that was still missing is added.
  function completes(before, after) {
    const [old, now] = [before, after].map((search) => new URLSearchParams(search));
    return !(old.has("layer") && old.has("map")) && Array.from(old).every(([name, value]) => now.get(name) === value);
  }
  /** @param {View} view @param {Page} page */
  function link(view, page) {
    const search = window.dash_clientside.address.address(view, page["own-extraction.data"].plain);
    if (window.location.search !== search) {
      const write = answering || completes(window.location.search, search) ? "replaceState" : "pushState";
      window.history[write]({}, "", window.location.pathname + search);
    }
    document.getElementById("link").textContent = window.location.href;
    copying();
    reached();
  }

  // The unseen inputs of Dash's dropdowns are hidden from who hears the page, so the keys must not lead to them. The
  // dropdowns themselves are reached.
  function reached() {
    document.querySelectorAll(".dash-dropdown-focus-target").forEach((input) => input.setAttribute("tabindex", "-1"));
  }
  document.addEventListener("click", (event) => {
    const skip = event.target instanceof Element && event.target.closest("[data-skip]");
    if (skip instanceof HTMLElement) {
      document.getElementById(skip.dataset.skip).focus();
    }
  });

  // What is folded away behind a word closes at a click elsewhere, and by Escape. The lists of its dropdowns, which
  // stand at the end of the page, belong to it.
  const folded = () => Array.from(document.querySelectorAll(".how[open]"));
  document.addEventListener("pointerdown", ({ target }) => {
    const list = target instanceof Element && target.closest("[data-radix-popper-content-wrapper]");
    folded().forEach((one) => list || one.contains(/** @type {Node} */ (target)) || one.removeAttribute("open"));
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && !document.querySelector(".dash-dropdown-content")) {
      folded().forEach((one) => one.removeAttribute("open"));
    }
  });

  // The words of the page are written when they are first opened (layouts/glossary.py).
  document.addEventListener(
    "toggle",
    ({ target }) => {
      const words = target instanceof Element && target.querySelector("[data-words]");
      if (words instanceof HTMLElement && !words.firstChild) {
        const list = document.createElement("dl");
        JSON.parse(words.dataset.words).forEach(([word, told]) => {
          list.append(element("dt", word), element("dd", told));
        });
        words.append(list);
      }
    },
    true
  );
  // So is the Python script of the view, each time anew (callbacks/script.py).
  document.addEventListener(
    "toggle",
    async ({ target }) => {
      if (target instanceof HTMLDetailsElement && target.matches(".script-of-page") && target.open) {
        const text = document.getElementById("script-text");
        text.textContent = "…";
        try {
          text.textContent = await (await fetch("script" + window.location.search)).text();
        } catch {
          text.textContent = "The server does not answer.";
        }
      }
    },
    true
  );
  function element(kind, text) {
    return Object.assign(document.createElement(kind), { textContent: text });
  }

  // In a narrow window the evidence stands in the place of the network and the layer; the graphs then learn their size.
  const resized = () => window.dispatchEvent(new Event("resize"));
  document.addEventListener("click", (event) => {
    const tab = event.target instanceof Element && event.target.closest("[data-tab]");
    if (tab instanceof HTMLElement) {
      document.querySelector(".stations").classList.toggle("at-evidence", tab.dataset.tab === "evidence");
      resized();
    }
  });
  document.addEventListener(
    "toggle",
    (event) => event.target instanceof Element && event.target.matches(".drawer") && resized(),
    true
  );

  // The buttons that copy are pictures for Dash: they get a name, and the keys.
  function copying() {
    document.querySelectorAll("#copy-link:not([role]), #copy-script:not([role])").forEach((button) => {
      const names = { role: "button", tabindex: "0", "aria-label": button.getAttribute("title") };
      Object.entries(names).forEach(([name, value]) => button.setAttribute(name, value));
      button.addEventListener("keydown", (event) => {
        if (event instanceof KeyboardEvent && button instanceof HTMLElement && ["Enter", " "].includes(event.key)) {
          event.preventDefault();
          button.click();
        }
      });
    });
  }

  // An extraction has ended: show it, or why there is nothing to show, unless the visitor has gone on to another
  // example or method meanwhile. The server first says what the view becomes (callbacks/view/opening.py, `land`).
  function land(done, wanted, view) {
    const of = done && (done.ready || wanted);
    if (of && view && ["example", "method", "share"].every((name) => view[name] === of[name])) {
      const [id, data] = done.failed ? ["extraction-ready", { ...of, failed: done.failed }] : ["extraction-landed", of];
      setTimeout(() => window.dash_clientside.set_props(id, { data }), 0);
    }
  }

  // An example that the page has chosen itself, without being told to, is offered to be extracted where it is not: that
  // may take minutes. The button that is offered begins it, as a choice of the visitor's does.
  /** @type {string | null} */
  let offered = null;
  document.addEventListener("click", ({ target }) => {
    if (target instanceof Element && target.closest("#extract-now")) {
      offered = null;
      window.dash_clientside.controls.show(window.dash_clientside.controls.shown("view", "data"));
    }
  });

  // The button that stands where an extraction failed begins it again: the network is drawn as before it.
  document.addEventListener("click", (event) => {
    if (event.target.closest && event.target.closest("#extract-again")) {
      window.dash_clientside.set_props("extraction-ready", { data: null });
    }
  });

  // What a job added is brought into sight: several steps by opening all of them, what a flip-back found by scrolling.
  let known = null;
  function news(view) {
    const count = view.steps.length;
    if (known !== null && count > known + 1 && !answering) {
      document.getElementById("tree-panel").setAttribute("open", "");
    }
    known = count;
  }
  function flipped(done) {
    const text = document.getElementById("flip-text");
    if (done && text) {
      const seen = new MutationObserver(() => {
        seen.disconnect();
        text.scrollIntoView({ block: "nearest" });
      });
      seen.observe(text, { childList: true, subtree: true, characterData: true });
      setTimeout(() => seen.disconnect(), 3000);
    }
  }

  // Contributions were found: the layer is drawn anew.
  function solved(done) {
    if (done) {
      setTimeout(() => window.dash_clientside.set_props("solved", { data: done }), 0);
    }
  }

  // A job ended: what listens to its outcome is told. It listens to a store of its own. If it listened to what the job
  // writes, Dash would hold it back for as long as the job runs.
  function handOn(done) {
    const from = window.dash_clientside.callback_context.triggered_id;
    if (done !== null && done !== undefined && typeof from === "string") {
      setTimeout(() => window.dash_clientside.set_props(from.replace(/-end$/, ""), { data: done }), 0);
    }
  }

  function theme(dark) {
    const name = dark ? "dark" : "light";
    document.documentElement.setAttribute("data-bs-theme", name);
    return name;
  }

  // Treemaps and activation maps are laid out in pixels: tell the server how many there are (layer.js says how high).
  let room = 304;
  function width() {
    const [place, maps] = ["treemaps", "activations"].map((id) => document.getElementById(id));
    const most = 492 + Math.max(3 * (window.innerHeight - 930), 0); // wider maps would be too high
    room = maps && maps.clientWidth > 100 ? Math.min(maps.clientWidth, most) : room;
    return place && place.clientWidth > 100 ? Math.round(place.clientWidth / 10) * 10 : 760;
  }

  // What the visitor wrote beside the steps, into the view.
  function annotate(notes, view) {
    if (!view || notes.length !== view.steps.length) {
      return nothing();
    }
    const ids = window.dash_clientside.callback_context.inputs_list[0].map((entry) => entry.id.index);
    const steps = view.steps.map((step) => Object.assign({}, step));
    ids.forEach((number, i) => (steps[number].note = notes[i] || ""));
    const alike = JSON.stringify(steps) === JSON.stringify(view.steps);
    return alike ? nothing() : window.dash_clientside.controls.edit(view, { steps });
  }

  window.dash_clientside = Object.assign({}, window.dash_clientside);
  const { add, also, draw } = window.dash_clientside.controls;
  // Whether what is folded away behind a word stands open: nothing is asked of the server for it before.
  /** @param {string} word @param {Page} page */
  const unfolded = (word, page) => (page[`${word}.n_clicks`] || 0) % 2 === 1;
  draw({
    "paths-view": (view, page) => part("paths", view, page),
    "network-view": (view, page) => {
      const style = getComputedStyle(document.documentElement);
      const height = parseInt(style.getPropertyValue("--river-height"), 10) || null;
      return { height, offered: offered !== null && offered === view.example, ...part("network", view, page) };
    },
    "layer-view": (view, page) => {
      const { calls, fit } = window.dash_clientside.aevisLayer;
      const size = { width: page["layer-width.data"], height: fit(view) };
      return { ...size, called: calls(view), ...part("layer", view, page) };
    },
    "table-view": (view, page) => (unfolded("layer-table-switch", page) ? part("table", view, page) : null),
    "connections-view": (view, page) => (unfolded("connections-fold", page) ? part("neuron", view, page) : null),
    "neuron-view": (view, page) => ({ room, ...part("neuron", view, page) }),
    "area-view": (view, page) => part("area", view, page),
    "large-view": (view, page) => (page["large.is_open"] ? part("large", view, page) : null),
    "story-view": (view, page) => part("story", view, page),
    "trail-view": (view, page) => part("trail", view, page),
  });
  add({ "question.value": (view) => view.question, "chosen-maps.value": (view) => view.maps.join(" ") });
  // The trail's pictures have their room as soon as there are some, so that nothing above moves when they come.
  also((view) => document.querySelector(".trail-bar").classList.toggle("walked", view.at >= 0));
  also(link);
  also(news);
  const ours = { arrive, flipped, handOn, land, solved, theme, width, annotate };
  window.dash_clientside.aevis = Object.assign({}, window.dash_clientside.aevis, ours);
})();
