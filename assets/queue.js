// @ts-check
// The part of the list of jobs that tells of the jobs of other pages, so that people see why theirs waits
// (callbacks/all_jobs.py). It is asked for often while a job of this page runs or the list is open, and else now and
// then.
(function () {
  const OFTEN = 2000;
  const SELDOM = 10000;
  const lines = (list) => Array.from(list.querySelectorAll(".job:not(.other)"));
  const text = (line, name) => line.querySelector(name).textContent;
  let asked = 0;

  function part(name, className, said) {
    const element = document.createElement(name);
    element.className = className;
    element.textContent = said;
    return element;
  }

  function whose(job) {
    return job.user || (job.mine ? "this page" : "another page");
  }

  // A job that this page has no line for.
  function row(job) {
    const line = part("div", "job other", "");
    const name = part("div", "name", "");
    name.append(part("b", "", job.kind), " ", part("span", "subject", job.subject));
    const bar = part("div", "progress", "");
    const done = part("div", "progress-bar", "");
    done.style.width = `${job.percent}%`;
    bar.append(done);
    const said = job.away ? `was left and gives way: ${job.text}` : job.text;
    line.append(name, part("span", "whose quiet", whose(job)), bar);
    line.append(part("span", "text quiet", said), part("span", "left quiet", job.left));
    line.style.display = "flex";
    return line;
  }

  // Own jobs stand in the list already, but for learning and for extractions that were left.
  function others(list, jobs) {
    const shown = lines(list).filter((line) => line.style.display !== "none");
    const own = shown.map((line) => `${text(line, "b")} ${text(line, ".subject")}`);
    return jobs.filter((job) => !job.mine || !own.includes(`${job.kind} ${job.subject}`));
  }

  function draw(list, jobs) {
    const found = others(list, jobs);
    list.querySelector("#jobs-of-others").replaceChildren(...found.map(row));
    const counted = found.filter((job) => !job.mine && !job.away && job.kind !== "Learned features");
    list.dataset.others = String(counted.length);
  }

  function look() {
    const list = document.getElementById("jobs");
    const page = list && window.dash_clientside.controls.shown("page-load", "data");
    if (!page || document.hidden) {
      return;
    }
    const busy = list.querySelector("details[open]") || lines(list).some((line) => line.style.display !== "none");
    if (Date.now() - asked < (busy ? OFTEN : SELDOM)) {
      return;
    }
    asked = Date.now();
    fetch(`all-jobs?page=${encodeURIComponent(page)}`)
      .then((answer) => (answer.ok ? answer.json() : []))
      .then((jobs) => draw(list, jobs))
      .catch(() => draw(list, [])); // gone.js says that the server is out of reach
  }

  document.addEventListener("toggle", (event) => {
    if (event.target.closest && event.target.closest("#jobs")) {
      asked = 0;
      look();
    }
  }, true);
  setInterval(look, 500);
})();
