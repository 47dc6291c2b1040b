// The page: pictures come in, each becomes a card, a few at a time are sent to the server.

import { Card } from "./card.js";
import { Problem, ask, caption, check, size } from "./client.js";

const AT_ONCE = 3; // requests
const TRIALS = 4; // of one picture while the server is busy
const BREAKS = 3; // of the connection, for one picture, before its user must decide
const MOST_CARDS = 60;
const ASK_AGAIN = [1, 2, 4, 8]; // seconds, while the server does not answer
const TOKEN = "captioner-token";

const $ = (id) => document.getElementById(id);
const cards = [];
let limits = {};
let token = remembered();
let batch = []; // cards since the last announcement
let working = 0;
let serverAnswers = true;
let tokenRefused = false;

// --- What the page says ---

function say(text) {
  $("announcer").textContent = "";
  setTimeout(() => { $("announcer").textContent = text; }, 50);
}

function notice(text) {
  $("notice-text").textContent = text;
  $("notice").hidden = false;
  say(text);
}

const counted = (count, noun) => `${count} ${noun}${count === 1 ? "" : "s"}`;

function showCount() {
  $("count").textContent = counted(cards.length, "picture");
  $("pictures").hidden = !cards.length;
  document.body.classList.toggle("busy", cards.length > 0);
}

function sayOutcome() {
  if (cards.some((card) => card.state === "waiting" || card.state === "sending")) return;
  const ended = batch.filter((card) => cards.includes(card));
  batch = [];
  if (ended.length === 1) {
    say(`${ended[0].name}: ${ended[0].outcome}`);
  } else if (ended.length) {
    const failed = ended.filter((card) => card.state === "failed").length;
    say(`${counted(ended.length - failed, "picture")} captioned${failed ? `, ${failed} failed` : ""}.`);
  }
}

function showModel(model) {
  if (!model?.name) return;
  $("model").hidden = false;
  $("model-name").textContent = model.name;
  $("model-fingerprint").textContent = String(model.fingerprint ?? "").slice(0, 12);
  $("model").title = `${model.name} ${model.fingerprint ?? ""}`;
}

// --- The queue ---

function pump() {
  while (serverAnswers && !tokenRefused && working < AT_ONCE) {
    const next = cards.find((card) => card.state === "waiting");
    if (!next) break;
    working += 1;
    work(next).finally(() => {
      working -= 1;
      sayOutcome();
      pump();
    });
  }
}

async function work(card) {
  const { signal } = card.abort;
  try {
    check(card.bytes, limits);
    for (let trial = 1; ; trial += 1) {
      card.send(0);
      const start = performance.now();
      try {
        const onProgress = (share) => signal.aborted || card.send(share);
        const answer = await caption(card.file, { token, limits, signal, onProgress });
        card.finish(answer, performance.now() - start);
        showModel(answer.model);
        return;
      } catch (problem) {
        if (!problem.retryAfter || trial === TRIALS) throw problem;
        await card.countDown(problem, trial + 1, TRIALS);
        if (signal.aborted) return;
      }
    }
  } catch (problem) {
    if (!signal.aborted) stop(card, problem);
  }
}

function stop(card, problem) {
  if (problem.status === 401) {
    card.wait("Waiting for the token");
    askForToken(token !== "");
  } else if (problem.status === 0 && ++card.broken < BREAKS) {
    card.wait("Waiting for the server");
    waitForServer();
  } else if (problem instanceof Problem) {
    card.fail(problem);
  } else {
    card.fail(new Problem("This page has failed.", "Reload it.", { detail: String(problem) }));
  }
}

// --- The server: gone and back, its limits, its token ---

async function waitForServer() {
  if (!serverAnswers) return;
  serverAnswers = false;
  for (let turn = 0; !(await isBack()); turn += 1) {
    if (turn === 0) say($("offline").textContent);
    const seconds = ASK_AGAIN[Math.min(turn, ASK_AGAIN.length - 1)];
    await new Promise((resolve) => { setTimeout(resolve, 1000 * seconds); });
  }
  if (!$("offline").hidden) say("The server is back.");
  $("offline").hidden = true;
  serverAnswers = true;
  pump();
}

async function isBack() {
  const { status } = await ask("readyz");
  if (status === 200 && (await readModel())) return true;
  $("offline").textContent = `${status ? "The server is not ready." : "The server does not answer."}`
    + " Your pictures wait here and are sent when it is back.";
  $("offline").hidden = false;
  return false;
}

/** Show which model captions and what the server takes; return whether it answers at all. */
async function readModel() {
  const { status, body } = await ask("v1/model");
  if (status === 0 || status >= 502) return false;
  if (status !== 200 || !body) return true;
  limits = body;
  showModel(body);
  const formats = body.formats?.join(", ");
  const most = body.max_image_bytes ? `up to ${size(body.max_image_bytes)} each` : "";
  $("limits").textContent = [formats, most].filter(Boolean).join(" · ");
  if (body.token_required && !token) askForToken(false);
  return true;
}

function remembered() {
  try {
    return sessionStorage.getItem(TOKEN) ?? "";
  } catch {
    return "";
  }
}

function remember(text) {
  token = text;
  try {
    sessionStorage.setItem(TOKEN, text);
  } catch {
    // The browser keeps nothing for this page: the token lasts until it is reloaded.
  }
}

function askForToken(refused) {
  if (tokenRefused && !$("token-form").hidden) return;
  tokenRefused = true;
  remember("");
  $("token-form").hidden = false;
  $("token-refused").hidden = !refused;
  say(refused ? "The server refused the token." : "This server asks for a token.");
  $("token").focus();
}

$("token-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const text = $("token").value.trim();
  $("token").value = "";
  // What cannot stand in a header is no token of any server.
  if (!/^[\x21-\x7e]+$/.test(text)) {
    $("token-refused").hidden = false;
    return;
  }
  remember(text);
  tokenRefused = false;
  $("token-form").hidden = true;
  $("choose").focus();
  pump();
});

// --- Pictures come and go ---

function add(files) {
  if (!files.length) return;
  $("notice").hidden = true;
  const pending = cards.filter((card) => card.state === "waiting" || card.state === "sending");
  const taken = files.slice(0, MOST_CARDS - pending.length);
  const excess = cards.length + taken.length - MOST_CARDS;
  for (const card of cards.filter((old) => !pending.includes(old)).slice(0, Math.max(excess, 0))) {
    drop(card);
  }
  const added = taken.map((file) => new Card($("card"), file, { onRemove: remove, onAgain: again, say }));
  cards.push(...added);
  batch.push(...added);
  $("cards").append(...added.map((card) => card.element));
  showCount();
  added[0]?.element.scrollIntoView({ block: "nearest" });
  if (taken.length > 1) say(`Captioning ${counted(taken.length, "picture")}.`);
  if (taken.length < files.length) {
    notice(`${counted(files.length - taken.length, "picture")} of ${files.length} not taken: `
      + `this page holds ${MOST_CARDS}. Add the others when these are done.`);
  }
  pump();
}

function drop(card) {
  card.dispose();
  cards.splice(cards.indexOf(card), 1);
}

function remove(card) {
  const index = cards.indexOf(card);
  drop(card);
  showCount();
  const next = cards[Math.min(index, cards.length - 1)];
  (next ? next.$(".remove") : $("choose")).focus();
}

function again(card) {
  card.broken = 0;
  card.wait();
  batch.push(card);
  card.$(".remove").focus();
  pump();
}

$("clear").addEventListener("click", () => {
  for (const card of [...cards]) drop(card);
  showCount();
  say("All pictures removed.");
  $("choose").focus();
});

$("notice-close").addEventListener("click", () => {
  $("notice").hidden = true;
  $("choose").focus();
});

for (const [button, input] of [["choose", "files"], ["photograph", "camera"]]) {
  $(button).addEventListener("click", () => $(input).click());
  $(input).addEventListener("change", () => {
    add([...$(input).files]);
    $(input).value = ""; // the same file may be chosen again
  });
}

const carriesFiles = (event) => event.dataTransfer?.types.includes("Files");
let depth = 0; // dragenter of an element comes before dragleave of the one before it

document.addEventListener("dragenter", (event) => {
  depth += 1;
  $("dropping").hidden = !carriesFiles(event);
});
document.addEventListener("dragleave", () => {
  depth = Math.max(depth - 1, 0);
  if (!depth) $("dropping").hidden = true;
});
document.addEventListener("dragover", (event) => event.preventDefault());
document.addEventListener("drop", (event) => {
  event.preventDefault();
  depth = 0;
  $("dropping").hidden = true;
  const entries = [...event.dataTransfer.items].filter((item) => item.kind === "file");
  const folders = entries.filter((item) => item.webkitGetAsEntry?.()?.isDirectory).length;
  const files = entries.filter((item) => !item.webkitGetAsEntry?.()?.isDirectory)
    .map((item) => item.getAsFile()).filter(Boolean);
  add(files);
  if (folders) notice("A folder was left out: open it and drop the pictures in it.");
  else if (!files.length) notice("That was no file. Save the picture first, then drop or choose it.");
});

document.addEventListener("paste", (event) => {
  const files = [...(event.clipboardData?.files ?? [])];
  if (files.length) {
    event.preventDefault();
    add(files);
  } else if (!event.target.closest?.("input")) {
    notice("There is no picture in the clipboard. Copy a picture, not its address.");
  }
});

// Escape, or a click elsewhere, lets go of the word that is held.
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") for (const card of cards) card.release();
});
document.addEventListener("pointerdown", (event) => {
  for (const card of cards) {
    if (!card.$(".caption").contains(event.target)) card.release();
  }
});

showCount();
if (!(await readModel())) waitForServer();
