// @ts-check
// The view as the query part of an address: what callbacks/view/address.py reads (`from_search`).
(function () {
  const LISTS = ["compared", "folds", "pinned"];
  const SPANS = ["margins", "scores"];
  const quoted = (text) => encodeURIComponent(text).replace(/~/g, "%7E");

  // The ends of an area, and the chosen places as the bits of a hexadecimal number.
  function areaText(area) {
    const [ends, places] = [(area || []).slice(0, 4), (area || []).slice(4)];
    const bits = places.reduce((sum, place) => sum | (1n << BigInt(place)), 0n);
    return ends.join(",") + (places.length ? "," + bits.toString(16) : "");
  }

  /** @param {Step} step */
  function stepText(step) {
    const map = step.map === null ? "" : step.map;
    const place = [step.parent, step.layer, map, areaText(step.area), step.source, step.maps.join(",")];
    const on = step.on === "adversarial" ? [] : [step.on];
    return [...place, step.replacement, quoted(step.note), ...on].join(":");
  }

  // `plain` has the fields that are left out of the address where the view does not differ from it.
  /** @param {View} view @param {Partial<View>} plain @returns {string} */
  function address(view, plain) {
    const fields = {};
    ["example", "target", "method", "share", "layer", "map"].forEach((name) => (fields[name] = view[name]));
    fields.area = areaText(view.area);
    fields.maps = view.maps.join(",");
    SPANS.forEach((name) => (fields[name] = (view[name] || []).join(",")));
    fields.steps = view.steps.map(stepText).join("~");
    LISTS.forEach((name) => (fields[name] = view[name].map(quoted).join("~")));
    Object.keys(plain).forEach((name) => (fields[name] = view[name] === plain[name] ? "" : view[name]));
    const readable = (text) => encodeURIComponent(text).replace(/%3A/g, ":").replace(/%2C/g, ",");
    const given = Object.entries(fields).filter(([, value]) => value !== null && value !== "");
    return given.length ? "?" + given.map(([name, value]) => `${name}=${readable(value)}`).join("&") : "";
  }

  window.dash_clientside = Object.assign({}, window.dash_clientside, { address: { address } });
})();
