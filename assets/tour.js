// @ts-check
// The tour: one card, which stands beside the station that its step speaks of and frames it.
(function () {
  let at = -1;
  const card = () => document.getElementById("tour");
  const steps = () => Array.from(card().querySelectorAll("[data-place]"));

  function place(box) {
    const own = card().getBoundingClientRect(), gap = 12;
    const room = window.innerWidth - box.right > own.width + gap;
    const left = room ? box.right + gap : box.left > own.width + gap ? box.left - own.width - gap : box.left + gap;
    card().style.left = Math.min(Math.max(left, gap), window.innerWidth - own.width - gap) + "px";
    const top = room || box.left > own.width + gap ? box.top : box.bottom + gap; // below what is as wide as the page
    card().style.top = Math.min(Math.max(top, gap), window.innerHeight - own.height - gap) + "px";
  }

  function show(step) {
    document.querySelectorAll(".toured").forEach((node) => node.classList.remove("toured"));
    at = step;
    card().hidden = step < 0;
    steps().forEach((node, i) => (node.hidden = i !== step));
    if (step < 0) {
      document.getElementById("tour-button").focus();
      return;
    }
    const [station, inner] = steps()[step].dataset.place.split(" ");
    const panel = document.querySelector("section." + station);
    const target = (inner && panel.querySelector(inner)) || panel;
    target.classList.add("toured");
    panel.scrollTop = 0;
    target.scrollIntoView({ block: "nearest" });
    card().querySelector("[data-tour=back]").disabled = step === 0;
    card().querySelector("[data-tour=next]").hidden = step === steps().length - 1;
    place(target.getBoundingClientRect());
    card().querySelector(step === steps().length - 1 ? "[data-tour=end]" : "[data-tour=next]").focus();
  }

  document.addEventListener("click", (event) => {
    const pressed = event.target.closest && event.target.closest("[data-tour]");
    if (event.target.id === "tour-button") {
      show(0);
    } else if (pressed) {
      show({ back: at - 1, next: at + 1, end: -1 }[pressed.dataset.tour]);
    }
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && at >= 0) {
      show(-1);
    }
  });
})();
