"use strict";
// Reads the counts in #data and shows what the chosen thresholds would keep. Texts of the job get
// into the page through textContent alone, so that nothing in them is markup.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const sources = Object.keys(data.totals);
  const ranges = 50;
  const shown = 6;
  const find = (id) => document.getElementById(id);
  const sum = (numbers) => numbers.reduce((total, number) => total + number, 0);
  const thousands = (number) => number.toLocaleString("en");

  function make(tag, about = {}, ...inside) {
    const { style = {}, ...attributes } = about;
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    Object.assign(made.style, style);
    made.append(...inside);
    return made;
  }

  function nearest(edges, value) {
    let best = 0;
    edges.forEach((edge, place) => {
      if (Math.abs(edge - value) < Math.abs(edges[best] - value)) best = place;
    });
    return best;
  }

  // Texts kept at each pair of thresholds: the cells at or above both.
  function reaching(cells) {
    const wide = data.itc.length + 1;
    const kept = new Float64Array((data.itm.length + 1) * wide);
    for (const [itm, itc, count] of cells) kept[itm * wide + itc] += count;
    for (let itm = data.itm.length - 1; itm >= 0; itm--)
      for (let itc = data.itc.length - 1; itc >= 0; itc--) {
        const at = itm * wide + itc;
        kept[at] += kept[at + wide] + kept[at + 1] - kept[at + wide + 1];
      }
    return (itm, itc) => kept[itm * wide + itc];
  }

  const kept = Object.fromEntries(sources.map((name) => [name, reaching(data.counts[name])]));
  const jobs = {
    itm: nearest(data.itm, data.threshold),
    itc: data.itc.length > 1 && data.min_itc !== null ? nearest(data.itc, data.min_itc) : 0,
  };
  const chosen = { ...jobs };

  function drawTable() {
    const rows = [];
    const row = (name, now, before, total) => {
      const change = now - before;
      const cells = [
        thousands(now),
        thousands(total - now),
        total ? ((100 * now) / total).toFixed(1) + "%" : "-",
        (change > 0 ? "+" : "") + thousands(change),
      ];
      const head = make("td", sources.includes(name) ? { class: name } : {}, name);
      rows.push(make("tr", {}, head, ...cells.map((text) => make("td", { class: "n" }, text))));
    };
    const at = (name, place) => kept[name](place.itm, place.itc);
    for (const name of sources) row(name, at(name, chosen), at(name, jobs), data.totals[name]);
    const all = (place) => sum(sources.map((name) => at(name, place)));
    row("both", all(chosen), all(jobs), sum(Object.values(data.totals)));
    find("would").tBodies[0].replaceChildren(...rows);
    const place = "ITM at least " + data.itm[chosen.itm] +
      (chosen.itc ? ", ITC at least " + data.itc[chosen.itc] : "");
    find("moved").textContent = place + ": " + thousands(all(chosen)) + " texts kept";
  }

  function drawBars() {
    const figures = sources.filter((name) => data.counts[name].length).map((name) => {
      const bins = Array.from({ length: ranges }, () => [0, 0]);
      for (const [itm, itc, count] of data.counts[name]) {
        const bin = Math.min(Math.floor(data.itm[itm] * ranges + 1e-9), ranges - 1);
        bins[bin][itm >= chosen.itm && itc >= chosen.itc ? 0 : 1] += count;
      }
      const most = Math.max(...bins.map(sum));
      const share = (number) => (100 * number) / most + "%";
      const bars = bins.map(([full, light], number) => {
        const from = (number / ranges).toFixed(2);
        const to = ((number + 1) / ranges).toFixed(2);
        const title = `${from} to ${to}: ${thousands(full)} kept, ${thousands(light)} dropped`;
        return make("span", { title },
          make("i", { class: "drop", style: { height: share(light) } }),
          make("i", { class: "keep", style: { height: share(full) } }));
      });
      const line = (kind, place) =>
        make("b", { class: kind, style: { left: 100 * data.itm[place] + "%" } });
      const box = make("div", { class: "bars", role: "img", "aria-label":
        `ITM probability of ${name} texts; the most in a bar is ${thousands(most)}` },
        ...bars, line("jobs", jobs.itm), line("now", chosen.itm));
      const ticks = make("div", { class: "ticks", "aria-hidden": "true" },
        ...["0", "0.25", "0.5", "0.75", "1"].map((text) => make("span", {}, text)));
      return make("figure", {},
        make("figcaption", {}, `ITM probability, ${name} texts `,
          make("small", {}, `(most in a bar ${thousands(most)}; dashed: the job's threshold)`)),
        box, ticks);
    });
    find("bars").replaceChildren(...figures);
  }

  // How far an example is inside (or, below 0, outside) of what is kept.
  function margin(example) {
    const byMatch = example.itm - data.itm[chosen.itm];
    if (!chosen.itc || example.itc === null) return byMatch;
    return Math.min(byMatch, example.itc - data.itc[chosen.itc]);
  }

  function card(example) {
    const picture = example.picture === null
      ? make("span", { class: "none" }, "no picture")
      : make("img", { src: data.pictures[example.picture], alt: "", loading: "lazy" });
    const scores = `ITM ${example.itm.toFixed(3)}` +
      (example.itc === null ? "" : `, ITC ${example.itc.toFixed(3)}`);
    return make("div", { class: "card", title: example.name }, picture,
      make("div", { class: "about" },
        make("span", { dir: "auto" }, example.text || "(no text)"), make("small", {}, scores)));
  }

  function drawExamples() {
    const parts = [];
    for (const name of sources) {
      const of = data.examples.filter((example) => example.source === name)
        .map((example) => [margin(example), example])
        .sort((one, other) => Math.abs(one[0]) - Math.abs(other[0]));
      if (!of.length) continue;
      const side = (title, kind, some) => make("div", {},
        make("h4", { class: kind }, title),
        ...(some.length ? some.slice(0, shown).map((entry) => card(entry[1]))
          : [make("p", {}, "No example.")]));
      parts.push(make("h3", {}, name[0].toUpperCase() + name.slice(1) + " texts at the threshold"),
        make("div", { class: "sides" },
          side("Just kept", "kept", of.filter(([inside]) => inside >= 0)),
          side("Just dropped", "dropped", of.filter(([inside]) => inside < 0))));
    }
    find("near").replaceChildren(...parts);
  }

  // The job is the folder of this file, where it was opened from a disk.
  function folder() {
    if (location.protocol !== "file:") return "JOB";
    const path = decodeURIComponent(location.pathname).replace(/^\/(?=[A-Za-z]:)/, "");
    return path.slice(0, path.lastIndexOf("/")) || "/";
  }

  function quoted(word) {
    return /^[\w@%+=:,./-]+$/.test(word) ? word : "'" + word.replaceAll("'", "'\"'\"'") + "'";
  }

  function drawCommand() {
    const job = folder();
    const threshold = String(data.itm[chosen.itm]);
    const cosine = chosen.itc ? String(data.itc[chosen.itc]) : "";
    const words = ["blip", "capfilt", "recut", job, "--threshold", threshold, ...data.options];
    if (cosine) words.push("--min-itc=" + cosine);
    words.push("--out", `${job}-threshold-${threshold}${cosine ? "-itc-" + cosine : ""}`);
    find("command").textContent = words.map(quoted).join(" ");
    find("copied").textContent = "";
  }

  function show(except) {
    for (const score of ["itm", "itc"]) {
      const slider = find(score + "-slider");
      if (!slider) continue;
      slider.value = chosen[score];
      slider.setAttribute("aria-valuetext", String(data[score][chosen[score]]));
      const number = find(score + "-number");
      if (number !== except) number.value = data[score][chosen[score]];
    }
    drawTable();
    drawBars();
    drawExamples();
    drawCommand();
  }

  for (const score of ["itm", "itc"]) {
    const slider = find(score + "-slider");
    if (!slider) continue;
    const number = find(score + "-number");
    slider.max = data[score].length - 1;
    find(score + "-marks").append(make("option", { value: jobs[score] }));
    slider.addEventListener("input", () => {
      chosen[score] = Number(slider.value);
      show();
    });
    number.addEventListener("input", () => {
      if (number.value === "" || !Number.isFinite(number.valueAsNumber)) return;
      chosen[score] = nearest(data[score], number.valueAsNumber);
      show(number);
    });
    number.addEventListener("change", () => show());
  }
  find("reset").addEventListener("click", () => {
    Object.assign(chosen, jobs);
    show();
  });
  find("copy").addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(find("command").textContent);
      find("copied").textContent = "Copied.";
    } catch {
      getSelection().selectAllChildren(find("command"));
      find("copied").textContent = "Selected; copy it with your browser.";
    }
  });
  find("whole-job").hidden = !data.whole_job;
  find("threshold").hidden = false;
  show();
})();
