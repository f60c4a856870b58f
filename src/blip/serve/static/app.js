// The page: sends a picture and texts to the service that it came from, and shows the answers.

const part = (id) => document.getElementById(id);

let picture = null; // the file that was chosen
let bitmap = null; // its pixels, if the browser can read it
let sent = new AbortController(); // of requests about this picture

// Requests

async function ask(path, fields, about = picture) {
  const form = new FormData();
  if (about) form.append("image", about);
  for (const [name, value] of Object.entries(fields)) {
    for (const one of [value].flat()) form.append(name, one);
  }
  const { signal } = sent;
  for (;;) {
    const answer = await fetch(`/v1/${path}`, { method: "POST", body: form, signal });
    const wait = Number(answer.headers.get("retry-after"));
    if ((answer.status === 429 || answer.status === 503) && wait) {
      report(`The service is busy; asking again in ${wait} s.`);
      await new Promise((resolve) => setTimeout(resolve, 1000 * wait));
      signal.throwIfAborted();
      continue;
    }
    return read(answer);
  }
}

// What an answer holds. A proxy before the service answers with a page of its own.
async function read(answer) {
  const text = await answer.text();
  let content = null;
  try {
    content = JSON.parse(text);
  } catch {
    // It has no detail.
  }
  if (answer.ok && content) return content;
  throw new Error(content?.detail || `The service, or a proxy before it, answered with status ${answer.status}.`);
}

function report(text) {
  part("problem").textContent = text;
}

// One piece of work at a time for each place of results: while it lasts, its form says so.
async function fill(form, results, work) {
  const buttons = form.querySelectorAll("button");
  report("");
  results.setAttribute("aria-busy", "true");
  for (const button of buttons) button.disabled = true;
  try {
    results.replaceChildren(...(await work()));
  } catch (error) {
    if (error.name !== "AbortError") report(error.message);
  } finally {
    results.removeAttribute("aria-busy");
    for (const button of buttons) button.disabled = false;
  }
}

function needPicture() {
  if (picture) return true;
  report("Choose a picture first.");
  part("file").focus();
  return false;
}

// Elements; texts are never read as HTML

function make(name, fields = {}, ...children) {
  const element = Object.assign(document.createElement(name), fields);
  element.append(...children);
  return element;
}

function row(text, details, ...more) {
  const look = make("button", { className: "plain", textContent: "Where it looks" });
  look.setAttribute("aria-label", `Where it looks: ${text}`);
  look.addEventListener("click", () => showWords(text));
  const shown = make("div", {}, make("p", { textContent: text }), ...more);
  shown.append(make("small", { textContent: details }));
  return make("div", { className: "row" }, shown, ...(canLook ? [look] : []));
}

let canLook = false;
const percent = (share) => `${(100 * share).toFixed(1)} %`;

// The picture, and where words look

async function choose(file) {
  if (!file) return;
  sent.abort();
  sent = new AbortController();
  picture = file;
  bitmap = null;
  for (const results of document.querySelectorAll("#jobs .results")) {
    if (results.id !== "hits") results.replaceChildren();
  }
  part("words-part").hidden = true;
  part("file-label").textContent = `${file.name || "A pasted picture"}; choose, drop or paste another`;
  report("");
  const { signal } = sent;
  const pixels = await createImageBitmap(file).catch(() => null);
  // Another picture may have been chosen meanwhile.
  if (signal.aborted) return;
  bitmap = pixels;
  if (!bitmap) report("This browser cannot show the picture; the service may read it all the same.");
  part("shown").hidden = !bitmap;
  draw();
  if (can.caption) writeCaptions();
}

function draw(weights = null) {
  if (!bitmap) return;
  const canvas = part("canvas");
  const side = Math.max(bitmap.width, bitmap.height);
  const scale = Math.min(1024, Math.max(480, side)) / side;
  canvas.width = Math.max(1, Math.round(bitmap.width * scale));
  canvas.height = Math.max(1, Math.round(bitmap.height * scale));
  const context = canvas.getContext("2d");
  context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  if (!weights) return;
  // A veil with a pixel for each patch, stretched: the more a patch is looked at, the thinner it is.
  const [rows, columns] = [weights.length, weights[0].length];
  const veil = new OffscreenCanvas(columns, rows);
  const pixels = new ImageData(columns, rows);
  const [least, most] = [Math.min(...weights.flat()), Math.max(...weights.flat())];
  weights.flat().forEach((weight, place) => {
    pixels.data[4 * place + 3] = 215 * (1 - (weight - least) / (most - least || 1));
  });
  veil.getContext("2d").putImageData(pixels, 0, 0);
  context.imageSmoothingQuality = "high";
  context.drawImage(veil, 0, 0, canvas.width, canvas.height);
}

function whereMost(weights) {
  const flat = weights.flat();
  const place = flat.indexOf(Math.max(...flat));
  const third = (at, of) => Math.min(2, Math.floor((3 * (at + 0.5)) / of));
  const vertical = ["top", "middle", "bottom"][third(Math.floor(place / weights[0].length), weights.length)];
  const horizontal = ["left", "centre", "right"][third(place % weights[0].length, weights[0].length)];
  return `${vertical} ${horizontal}`;
}

function look({ word, weights }, button) {
  for (const other of part("words").children) other.setAttribute("aria-pressed", "false");
  button.setAttribute("aria-pressed", "true");
  draw(weights);
  const said = `"${word}" looks most at the ${whereMost(weights)}`;
  part("canvas").setAttribute("aria-label", `The picture: ${said}`);
  part("looking").textContent = said;
}

async function showWords(text) {
  if (!needPicture()) return;
  const { signal } = sent;
  await fill(part("words-part"), part("words"), async () => {
    const { words } = await ask("attention", { text });
    part("words-part").hidden = false;
    return words.map((one) => {
      const button = make("button", { textContent: one.word });
      button.setAttribute("aria-pressed", "false");
      button.addEventListener("click", () => look(one, button));
      return button;
    });
  });
  // Of a picture that was chosen meanwhile nothing is known.
  const first = signal.aborted ? null : part("words").firstElementChild;
  if (first) {
    first.click();
    first.focus();
  }
}

// What the service can do

const DECODINGS = [
  ["greedy", { decode: "greedy" }],
  ["beam", { decode: "beam", captions: 3 }],
  ["nucleus", { decode: "nucleus", captions: 3 }],
];

async function writeCaptions() {
  if (!needPicture()) return;
  const seed = part("seed").value || "0";
  await fill(part("caption-form"), part("captions"), async () => {
    const found = await Promise.all(
      DECODINGS.map(([, fields]) => ask("caption", { ...fields, seed })),
    );
    return found.flatMap(({ captions }, place) => [
      make("h3", { textContent: DECODINGS[place][0] }),
      ...captions.map((one) =>
        row(
          one.text,
          `${percent(Math.exp(one.log_likelihood_per_token))} a token; log-likelihood ` +
            `${one.log_likelihood.toFixed(2)} of ${one.tokens} tokens`,
        ),
      ),
    ]);
  });
}

async function score() {
  const texts = part("texts").value.split("\n").filter((text) => text.trim());
  if (!needPicture() || !texts.length) return;
  await fill(part("match-form"), part("scores"), async () => {
    const { scores } = await ask("match", { texts });
    return scores.map(({ text, probability, cosine }) => {
      const meter = make("meter", { min: 0, max: 1, value: probability });
      meter.setAttribute("aria-label", `Probability that "${text}" matches`);
      return row(text, `${percent(probability)} match; cosine ${cosine.toFixed(3)}`, meter);
    });
  });
}

async function answer() {
  const asked = part("question").value.trim();
  if (!needPicture() || !asked) return;
  const before = [...part("answers").children];
  await fill(part("ask-form"), part("answers"), async () => {
    const { answers } = await ask("ask", { questions: asked });
    const rows = answers.map((one) =>
      make(
        "div",
        { className: "row" },
        make("p", {}, make("small", { textContent: one.question }), make("br"), one.answer || "(no answer)"),
      ),
    );
    return [...rows, ...before];
  });
}

async function search(fields, about) {
  await fill(part("search-form"), part("hits"), async () => {
    const { hits } = await ask("search", { ...fields, results: 12, thumbnails: true }, about);
    if (!hits.length) return [make("p", { textContent: "No picture found." })];
    const items = hits.map((hit) => {
      const more = hit.texts.length > 1 ? ` (and ${hit.texts.length - 1} more)` : "";
      const said = hit.texts.length ? `${hit.texts[0]}${more}` : hit.key;
      const shown = hit.thumbnail
        ? make("img", { src: hit.thumbnail, alt: said })
        : make("p", { textContent: "The picture is no longer where it was." });
      const match = hit.probability === null ? "" : `${percent(hit.probability)} match; `;
      const details = `${match}cosine ${hit.cosine.toFixed(3)}`;
      return make(
        "li",
        {},
        shown,
        make("small", { textContent: said }),
        make("small", { textContent: details }),
      );
    });
    return [make("ol", { className: "hits" }, ...items)];
  });
}

// Start

let can = {};

function onSubmit(form, work) {
  part(form).addEventListener("submit", (event) => {
    event.preventDefault();
    work();
  });
}

onSubmit("caption-form", writeCaptions);
onSubmit("match-form", score);
onSubmit("ask-form", answer);
onSubmit("search-form", () => search({ text: part("query").value }, null));
part("alike").addEventListener("click", () => needPicture() && search({}, picture));
part("file").addEventListener("change", (event) => choose(event.target.files[0]));

const drop = document.body;
drop.addEventListener("dragover", (event) => {
  event.preventDefault();
  part("drop").classList.add("over");
});
drop.addEventListener("dragleave", () => part("drop").classList.remove("over"));
drop.addEventListener("drop", (event) => {
  event.preventDefault();
  part("drop").classList.remove("over");
  choose(event.dataTransfer.files[0]);
});
document.addEventListener("paste", (event) => {
  const file = [...event.clipboardData.files].find(({ type }) => type.startsWith("image/"));
  if (file) choose(file);
});

try {
  const facts = await (await fetch("/v1/service")).json();
  can = facts.can;
  canLook = Boolean(can.attention);
  const shown = ["caption", "match", "ask", "search"].filter((job) => can[job]);
  for (const job of shown) part(job).hidden = false;
  part("facts").textContent = shown.map((job) => `${job}: ${can[job]}`).join("; ");
} catch {
  report("The service does not answer.");
}
