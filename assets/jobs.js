// @ts-check
// The chip of the jobs in the top bar: how many there are, and how far the first one is. Dash fills the lines of the
// list (layouts/jobs.py, callbacks/background.py); this script reads them whenever they change. Where this page has no
// job, the chip tells of those of others, which queue.js lists. It also tells the
// server which example the page shows, so that the extraction of another one gives way (callbacks/looking.py).
(function () {
  const COUNT = /\d+( to \d+)? of \d+/;
  const part = (line, name) => line.querySelector(name).textContent;
  const lines = (list) => Array.from(list.querySelectorAll(".job:not(.other)"));
  const runs = (line) => line.style.display !== "none";

  // The job that the chip tells of: the first one that is under way, or else the first that waits.
  function words(running) {
    const told = running.find((line) => COUNT.test(part(line, ".text"))) || running[0];
    const count = COUNT.exec(part(told, ".text"));
    const what = part(told, ".subject") || part(told, "b");
    const far = [what, count ? count[0].replace(" to ", "–") : ""].filter(Boolean).join(" ");
    const left = part(told, ".left").replace("about ", "~");
    const many = `${running.length} job${running.length > 1 ? "s" : ""}`;
    return [many, far, left].filter(Boolean).join(" · ");
  }

  function close(list) {
    list.querySelector("details").removeAttribute("open");
  }

  // What ended without a result is told until another job of the kind begins, or another example is shown.
  function past(line, gone) {
    line.nextElementSibling.classList.toggle("past", gone);
  }

  function say(element, text) {
    if (element.textContent !== text) {
      element.textContent = text;
    }
  }

  function draw(list) {
    const running = lines(list).filter(runs);
    if (running.length === 0 && !Number(list.dataset.others || 0)) {
      close(list);
    }
    lines(list).forEach((line) => {
      if (runs(line)) {
        past(line, true);
        line.dataset.ran = "yes";
      } else if (line.dataset.ran) {
        past(line, false);
        delete line.dataset.ran;
      }
    });
    const others = Number(list.dataset.others || 0);
    list.classList.toggle("busy", running.length + others > 0);
    const chip = list.querySelector("#jobs-chip");
    chip.firstElementChild || chip.append(document.createElement("span"));
    const ofOthers = others ? `${others} job${others > 1 ? "s" : ""} of other pages` : "";
    say(chip.firstElementChild, running.length ? words(running) : ofOthers);
    const named = running.map((line) => part(line, "b")).join(", ");
    say(list.querySelector("#jobs-said"), named && `Running: ${named}`);
  }

  function watch() {
    const list = document.getElementById("jobs");
    if (!list) {
      setTimeout(watch, 50);
      return;
    }
    const seen = { subtree: true, childList: true, characterData: true, attributeFilter: ["style", "data-others"] };
    const observer = new MutationObserver(() => {
      draw(list);
      observer.takeRecords(); // what was just drawn is no news
    });
    observer.observe(list, seen);
    draw(list);
  }

  document.addEventListener("keydown", (event) => {
    const list = document.getElementById("jobs");
    const open = list && list.querySelector("details[open]");
    if (open && event.key === "Escape") {
      close(list);
      document.getElementById("jobs-chip").focus();
    }
  });
  document.addEventListener("click", (event) => {
    const list = document.getElementById("jobs");
    const closest = (selector) => event.target.closest && event.target.closest(selector);
    if (closest("#extraction-go-on")) {
      window.dash_clientside.set_props("extraction-ready", { data: null });
    } else if (closest("#comparison-go-on")) {
      document.getElementById("compare-pairs").click();
    } else if (list && !closest("#jobs")) {
      close(list);
    }
  });

  // Which example the page shows. A page that is closed shows none; one that the browser brings back shows its own.
  let shown = "";
  function tell(example) {
    const page = window.dash_clientside.controls.shown("page-load", "data");
    if (page) {
      navigator.sendBeacon("looks-at", JSON.stringify({ page, example, at: Date.now() }));
    }
  }
  /** @param {View} view */
  function looks(view) {
    const example = view.example || "";
    if (example !== shown) {
      shown = example;
      tell(example);
      document.querySelectorAll("#jobs .ended").forEach((end) => end.classList.add("past"));
    }
  }
  window.addEventListener("pagehide", () => tell(""));
  window.addEventListener("pageshow", (event) => {
    if (event.persisted) {
      tell(shown);
    }
  });

  window.dash_clientside.controls.also(looks);
  watch();
})();
