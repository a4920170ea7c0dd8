// Runs before the page's own scripts: when the visitor clicked, when what the page shows last changed and was painted,
// and how large the figures are that the server sent.
(function () {
  const HOVER = ".hoverlayer, .draglayer, .zoomlayer, .modebar"; // what only follows the mouse
  const NOTHING = { changed: null, painted: null, asked: 0 };
  const WEIGH = "aevis-stopwatch-weighs"; // from the next load on
  const sizes = sessionStorage.getItem(WEIGH) ? {} : null;
  const state = { ...NOTHING, from: 0, open: 0, answered: 0, stamping: false, sizes };

  // The end of the frame that shows what has just changed: a message sent from its callback comes after it is painted.
  function stamp() {
    if (state.stamping) {
      return;
    }
    state.stamping = true;
    requestAnimationFrame(() => {
      state.stamping = false;
      const channel = new MessageChannel();
      channel.port1.onmessage = () => (state.painted = performance.now());
      channel.port2.postMessage(0);
    });
  }

  function change() {
    state.changed = performance.now();
    stamp();
  }

  function counts(record) {
    const element = record.target.nodeType === 1 ? record.target : record.target.parentElement;
    return record.attributeName !== "data-dash-is-loading" && element && !element.closest(HOVER);
  }

  new MutationObserver((records) => records.some(counts) && change()).observe(document, {
    subtree: true,
    childList: true,
    attributes: true,
    characterData: true,
  });
  document.addEventListener("load", (event) => event.target.tagName === "IMG" && change(), true);
  window.addEventListener(
    "pointerup",
    (event) => state.from === null && Object.assign(state, NOTHING, { from: event.timeStamp }),
    true
  );

  async function measure(answer) {
    const found = await answer.json();
    for (const [id, changes] of Object.entries(found.response || {})) {
      if (changes.figure && changes.figure.data) {
        const size = new Blob([JSON.stringify(changes.figure)]).size;
        state.sizes[id] = Math.max(size, state.sizes[id] || 0);
      }
    }
  }

  const ask = window.fetch;
  window.fetch = function (address, ...rest) {
    const answer = ask.call(this, address, ...rest);
    if (String(address.url || address).includes("_dash-update-component")) {
      state.open += 1;
      state.asked += 1;
      answer
        .then((found) => state.sizes && found.status === 200 && measure(found.clone()))
        .catch(() => {}) // the page itself hears of it
        .finally(() => {
          state.open -= 1;
          state.answered = performance.now();
        });
    }
    return answer;
  };

  // The next click is the one to measure.
  function arm() {
    Object.assign(state, NOTHING, { from: null });
  }

  // Both ends of a slider go to these shares of its length, as they do when a handle is let go; the time runs from now.
  function slide(slider, from, to) {
    const handle = document.querySelector("#" + slider + " [role=slider]");
    const low = Number(handle.getAttribute("aria-valuemin"));
    const high = Number(handle.getAttribute("aria-valuemax"));
    const value = [from, to].map((share) => low + share * (high - low));
    Object.assign(state, NOTHING, { from: performance.now() });
    window.dash_clientside.set_props(slider, { value });
  }

  function weigh(wanted) {
    sessionStorage[wanted ? "setItem" : "removeItem"](WEIGH, "yes");
    state.sizes = wanted ? {} : null;
  }

  function drawn(graph) {
    const found = document.querySelector("#" + graph + " .js-plotly-plot");
    return Boolean(found && found.calcdata && found.data && found.data.length);
  }

  // A lazy picture that nobody sees yet.
  function waits(image) {
    const box = image.getBoundingClientRect();
    return image.loading === "lazy" && (box.bottom < 0 || box.top > window.innerHeight || !image.checkVisibility());
  }

  function idle(quiet, graphs) {
    const last = Math.max(state.changed || 0, state.answered, state.from || 0);
    return (
      !state.open &&
      performance.now() - last > quiet &&
      graphs.every(drawn) &&
      Array.from(document.images).every((image) => image.complete || waits(image))
    );
  }

  // Once nothing has changed for `quiet` ms and these graphs are drawn: ms from the click, or from the start of the
  // navigation, until the last change was painted; null where nothing changed. Undefined after `limit` ms.
  function settle(quiet, limit, graphs, done) {
    const begun = performance.now();
    const look = () => {
      if (idle(quiet, graphs)) {
        const ms = state.changed === null || state.from === null ? null : state.painted - state.from;
        done({ ms, asked: state.asked, sizes: state.sizes });
      } else if (performance.now() - begun > limit) {
        done({ late: true });
      } else {
        setTimeout(look, 20);
      }
    };
    look();
  }

  function plot(graph) {
    const found = document.querySelector("#" + graph + " .js-plotly-plot");
    if (found && found.calcdata) {
      const box = found.getBoundingClientRect();
      if (box.top < 0 || box.bottom > window.innerHeight) {
        found.scrollIntoView({ block: "center", behavior: "instant" });
      }
    }
    return found && found.calcdata ? found : null;
  }

  const at = (values, i, otherwise) =>
    values === undefined || values === null ? otherwise : values.length === undefined ? values : values[i];

  // The bars of a trace: the first of their customdata, the middle of each on the screen, and its width and height. A
  // column that stands for a closed group, which is its third, is no layer.
  function bars(graph, name) {
    const found = plot(graph);
    const trace = found && found._fullData.find((t) => t.name === name && t.customdata && t.customdata.length);
    if (!trace) {
      return [];
    }
    const box = found.getBoundingClientRect();
    const x = found._fullLayout[trace.xaxis.replace("x", "xaxis")];
    const y = found._fullLayout[trace.yaxis.replace("y", "yaxis")];
    return Array.from(trace.customdata, (data, i) => {
      const base = at(trace.base, i, 0);
      const ends = trace.type === "bar" ? [base, base + at(trace.y, i, 0)] : [at(trace.y, i, 0), at(trace.y, i, 0)];
      const width = at(trace.width, i, 0.8);
      const left = at(trace.x, i, 0);
      return [
        data[0],
        box.x + x._offset + x.d2p(left),
        box.y + y._offset + (y.d2p(ends[0]) + y.d2p(ends[1])) / 2,
        typeof left === "number" ? Math.abs(x.d2p(left + width) - x.d2p(left)) : 0,
        Math.abs(y.d2p(ends[0]) - y.d2p(ends[1])),
      ];
    }).filter(([, px, py], i) => {
      const element = document.elementFromPoint(px, py);
      const inside = px >= box.x + x._offset && px <= box.x + x._offset + x._length;
      return inside && element && element.closest("#" + graph) && !(trace.customdata[i][2] && name === "layers");
    });
  }

  // A cell of a heatmap, chosen by two shares: the middle on the screen.
  function cell(graph, across, down) {
    const found = plot(graph);
    const trace = found && found._fullData.find((t) => t.type === "heatmap");
    if (!trace) {
      return null;
    }
    const box = found.getBoundingClientRect();
    const x = found._fullLayout[trace.xaxis.replace("x", "xaxis")];
    const y = found._fullLayout[trace.yaxis.replace("y", "yaxis")];
    const column = Math.floor(across * trace.z[0].length);
    const row = Math.floor(down * trace.z.length);
    return [box.x + x._offset + x.d2p(column), box.y + y._offset + y.d2p(row)];
  }

  // ms until `count` pictures of the gallery, none of them from the browser's cache, are all on the screen.
  async function thumbnails(count, mark) {
    const known = [...new Set(Array.from(document.querySelectorAll("#gallery img"), (image) => image.src))];
    if (!known.length) {
      return null;
    }
    const sheet = document.createElement("div");
    sheet.style = "position:fixed;inset:0;z-index:9999;display:flex;flex-wrap:wrap";
    document.body.append(sheet);
    const begun = performance.now();
    const pictures = Array.from({ length: count }, (_, i) => {
      const picture = new Image(58, 58);
      picture.src = known[i % known.length] + "&" + mark + "-" + Math.floor(i / known.length);
      sheet.append(picture);
      return picture.decode();
    });
    await Promise.all(pictures);
    await new Promise((next) => requestAnimationFrame(() => setTimeout(next, 0)));
    const ms = performance.now() - begun;
    sheet.remove();
    return { ms, different: known.length };
  }

  window.stopwatch = { slide, arm, weigh, settle, bars, cell, thumbnails };
})();
