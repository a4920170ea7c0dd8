// @ts-check
// The server may be gone for a while: stopped, started anew, or out of reach. What the page asks of it meanwhile is
// asked again until it is answered, so that no click is lost; for Dash, the answer only takes long. Until then the page
// says that what it shows is old, and dims it.
(function () {
  const [FIRST, LONGEST, PATIENCE] = [1000, 10000, 10000]; // ms: pauses between two tries; until a server is late
  const AWAY = [502, 503, 504]; // a proxy's answers for a server that does not answer
  const TRYING = "The server does not answer. What is shown is older than your last click; trying again …";
  const LATE = "The server has not answered for 10 seconds. What is shown may be older than your last click; waiting …";
  const ask = window.fetch;
  const [away, late, refused] = [new Set(), new Set(), new Map()]; // what was asked, and what was refused by its output
  const missing = new Set(); // pictures that did not come
  let [rest, pause] = [null, FIRST];
  /** @type {(value?: any) => void} */
  let wake = () => {};

  function sentence() {
    const [wrong] = refused.values();
    const advised = /\. \S/.test(wrong); // a second sentence is the server's own, on what to do
    const again = advised ? "" : " Reload the page; its address keeps what you see.";
    const older = `What is shown is older than your last click.${again}`;
    return away.size ? TRYING : wrong ? `The server ${wrong.replace(/\.$/, "")}. ${older}` : late.size ? LATE : "";
  }

  function say() {
    const words = sentence();
    document.body.classList.toggle("stale", Boolean(words));
    let strip = document.getElementById("server-gone");
    if (!strip) {
      strip = Object.assign(document.createElement("div"), { id: "server-gone" });
      strip.setAttribute("role", "alert");
      document.body.append(strip);
    }
    strip.hidden = !words;
    if (strip.textContent !== words) {
      strip.textContent = words;
    }
  }

  // All that was not answered waits together, and is asked again together; sooner where anything else was answered.
  function resting() {
    rest =
      rest ||
      new Promise((go) => {
        wake = go;
        setTimeout(go, pause);
        pause = Math.min(2 * pause, LONGEST);
      }).then(() => (rest = null));
    return rest;
  }

  // An answer to the end, for the server may go while it speaks; null where it does not answer.
  async function answer(given) {
    try {
      const found = await ask.apply(window, given);
      const body = await found.arrayBuffer();
      const { status, statusText, headers } = found;
      const whole = body.byteLength ? body : null;
      return AWAY.includes(status) ? null : new Response(whole, { status, statusText, headers });
    } catch (error) {
      if (error.name === "AbortError") {
        throw error;
      }
      return null;
    }
  }

  // Why an answer is none of this page's server. A server that was started anew may serve something else, which would
  // be shown beside what this page has, or not know what this page asks; and a proxy may answer with a page of its own,
  // to log in for example.
  let serves = null;
  async function why(found) {
    const by = found.headers.get("aevis-serves");
    serves = serves || by;
    if (by !== serves && by) {
      return "has another workspace, model or version now";
    }
    const type = found.headers.get("content-type") || "";
    if (!found.ok) {
      const told = by && type.includes("text/plain") ? `: ${(await found.clone().text()).trim()}` : ""; // its own words
      return `refused what was asked (${found.status})${told}`;
    }
    return found.status === 204 || type.includes("application/json") ? null : "sent no answer";
  }

  async function judged(found, of) {
    const wrong = await why(found);
    if (wrong || refused.has(of())) {
      wrong ? refused.set(of(), wrong) : refused.delete(of());
    }
    return wrong && found.ok ? new Response(null, { status: 502 }) : found; // Dash would read it as an answer
  }

  // The page's name, which the server's log names with what was asked.
  /** @param {any[]} given */
  function named(given) {
    const [address, asked] = given;
    const page = window.dash_clientside?.controls?.shown?.("page-load", "data");
    return [address, page ? { ...asked, headers: { ...asked.headers, "AEVis-Page": page } } : asked];
  }

  async function answered(...given) {
    given = named(given);
    const asked = {};
    const of = () => JSON.parse(given[1].body).output;
    const timer = setTimeout(() => (late.add(asked), say()), PATIENCE);
    try {
      let found = await answer(given);
      while (found === null) {
        away.add(asked);
        say();
        await resting();
        found = await answer(given);
      }
      pause = FIRST;
      wake();
      return await judged(found, of);
    } finally {
      clearTimeout(timer);
      away.delete(asked) && !away.size && look();
      late.delete(asked);
      (document.body.classList.contains("stale") || refused.size) && say();
    }
  }

  // The server is back: pictures that did not come are asked for again.
  function look() {
    missing.forEach((picture) => picture.isConnected && picture.setAttribute("src", picture.getAttribute("src")));
    missing.clear();
  }

  document.addEventListener("error", (event) => event.target.tagName === "IMG" && missing.add(event.target), true);
  window.addEventListener("online", () => wake());
  window.fetch = (...given) =>
    String(given[0]).includes("/_dash-update-component") ? answered(...given) : ask.apply(window, given);
})();
