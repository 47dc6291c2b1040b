// One picture: what is shown of it, its state, and its captions.

import { size } from "./client.js";
import * as heat from "./heat.js";
import { fill } from "./words.js";

const HINTS = {
  words: "Point at a word, tap it, or walk along the words with the arrow keys to see where the model looked.",
  still: "This model looks at the same places for every word.",
  none: "This model does not tell where it looked.",
};

export class Card {
  /**
   * @param {HTMLTemplateElement} template
   * @param {File} file
   * @param {{onRemove: (card: Card) => void, onAgain: (card: Card) => void, say: (text: string) => void}} on
   */
  constructor(template, file, on) {
    this.file = file;
    this.bytes = file.size; // a file that was removed has none any more
    this.name = file.name || "Pasted picture";
    this.state = "waiting"; // then: sending, done, failed
    this.broken = 0; // times that the connection broke
    this.abort = new AbortController();
    this.release = () => {};
    this.element = template.content.firstElementChild.cloneNode(true);
    this.$ = (selector) => this.element.querySelector(selector);
    this.$(".name").textContent = this.name;
    this.$(".remove").setAttribute("aria-label", `Remove ${this.name}`);
    this.$(".again").setAttribute("aria-label", `Try again: ${this.name}`);
    this.$(".remove").addEventListener("click", () => on.onRemove(this));
    this.$(".again").addEventListener("click", () => on.onAgain(this));
    this.$(".copy").addEventListener("click", () => this.#copy(on.say));
    heat.drawScale(this.$(".scale canvas"));
    this.#showPicture();
    this.wait();
  }

  #showPicture() {
    const image = this.$("img");
    this.url = URL.createObjectURL(this.file);
    this.ratio = 1;
    image.alt = this.name;
    image.addEventListener("load", () => {
      this.ratio = image.naturalWidth / image.naturalHeight;
      this.element.style.setProperty("--ratio", this.ratio);
      this.element.classList.add("visible");
    });
    image.addEventListener("error", () => {
      const placeholder = this.$(".placeholder");
      const suffix = /\.(\w{1,5})$/.exec(this.name)?.[1].toUpperCase();
      placeholder.textContent = `This browser cannot show this ${suffix ? `${suffix} file` : "file"}.`;
      placeholder.hidden = false;
      image.hidden = true;
      this.#describe();
    });
    image.src = this.url;
  }

  /** Wait for a turn, or for what `reason` says. */
  wait(reason = "Waiting for its turn") {
    this.state = "waiting";
    this.#show("state");
    this.$(".doing").textContent = reason;
    this.$("progress").hidden = true;
  }

  /** Show how much of the file is sent; from 1 on the server works on it. */
  send(share) {
    this.state = "sending";
    this.#show("state");
    const progress = this.$("progress");
    progress.hidden = false;
    progress.setAttribute("aria-label", this.name);
    if (share < 1) progress.value = share;
    else progress.removeAttribute("value");
    this.$(".doing").textContent = share < 1 ? `Sending, ${Math.floor(100 * share)}%` : "Captioning";
  }

  /** Count the seconds down after which a busy server is asked again. */
  async countDown(problem, trial, trials) {
    this.$("progress").hidden = true;
    for (let seconds = problem.retryAfter; seconds > 0 && !this.abort.signal.aborted; seconds -= 1) {
      this.$(".doing").textContent =
        `${problem.what} Trying again in ${seconds} s (${trial} of ${trials})`;
      await new Promise((resolve) => { setTimeout(resolve, 1000); });
    }
  }

  fail(problem) {
    this.state = "failed";
    this.#show("problem");
    this.$(".what").textContent = problem.what;
    this.$(".remedy").textContent = problem.remedy;
    const detail = this.$(".detail");
    detail.textContent = problem.detail;
    detail.hidden = !problem.detail;
    this.$(".again").hidden = !problem.again;
    this.outcome = problem.what;
  }

  /**
   * @param {{model: object, captions: object[], milliseconds: number}} answer
   * @param {number} elapsed Milliseconds from sending to the answer.
   * @param {boolean} shows Whether the picture's model tells where it looked.
   */
  finish(answer, elapsed) {
    this.state = "done";
    this.#show("result");
    const { model, captions, milliseconds } = answer;
    this.captions = captions.map((caption) => ({
      text: String(caption.text ?? ""),
      words: Array.isArray(caption.words) ? caption.words.map(String) : [],
      score: caption.score,
      grids: caption.attention,
    }));
    this.#listOthers();
    this.choose(0);
    const facts = [];
    if (Number.isFinite(milliseconds)) facts.push(`${Math.round(milliseconds)} ms on the server`);
    if (this.captions.length === 1) facts.unshift(`score ${spell(this.captions[0].score)}`);
    facts.push(`${Math.round(elapsed)} ms in all`, size(this.bytes));
    if (model.name) facts.push(`${model.name} ${String(model.fingerprint ?? "").slice(0, 12)}`);
    this.$(".facts").replaceChildren(...facts.map((fact) => {
      const span = document.createElement("span");
      span.textContent = fact;
      return span;
    }));
  }

  /** Show one of the captions with its words, and describe the picture by it. */
  choose(index) {
    this.release();
    const caption = this.captions[index];
    const element = this.$(".caption");
    for (const [place, button] of this.$$(".others button").entries()) {
      button.setAttribute("aria-pressed", String(place === index));
    }
    this.shown = caption;
    this.$(".copy").hidden = !caption?.text;
    if (!caption?.text) {
      element.textContent = "The model found no caption for this picture.";
      element.lang = "en";
      this.outcome = element.textContent;
      return;
    }
    this.outcome = caption.text;
    const { grids, words } = caption;
    const attends = Array.isArray(grids) && words.length > 0 && grids.length === words.length
      && grids.every(heat.isGrid);
    this.$(".hint").textContent =
      HINTS[attends ? (heat.still(grids) ? "still" : "words") : "none"];
    this.element.classList.toggle("attends", attends);
    if (attends) {
      element.setAttribute("role", "toolbar");
      element.setAttribute("aria-label", "Words of the caption: where the model looked");
      const descriptions = grids.map((grid) => `looked ${heat.place(grid)}`);
      this.release = fill(element, caption, descriptions, (word) => this.#showHeat(word));
    } else {
      element.textContent = caption.text;
    }
    this.#describe();
  }

  #showHeat(word) {
    this.element.classList.toggle("heated", word >= 0);
    if (word < 0) return;
    heat.draw(this.$(".heat"), this.shown.grids[word], this.ratio);
    const spelling = document.createElement("bdi"); // its direction does not turn the sentence
    spelling.textContent = this.shown.words[word];
    this.$(".looked").replaceChildren("“", spelling, `” looked ${heat.place(this.shown.grids[word])}`);
  }

  #listOthers() {
    const list = this.$(".others ol");
    this.$(".others").hidden = this.captions.length < 2;
    list.replaceChildren(...this.captions.map(({ text, score }, index) => {
      const item = document.createElement("li");
      const button = document.createElement("button");
      const spelling = document.createElement("span");
      const value = document.createElement("span");
      button.type = "button";
      spelling.dir = "auto";
      spelling.lang = "";
      spelling.textContent = text;
      value.className = "score";
      value.textContent = spell(score);
      value.title = "Score: the higher, the surer the model is";
      button.append(spelling, value);
      button.addEventListener("click", () => this.choose(index));
      item.append(button);
      return item;
    }));
  }

  /** Let the caption stand for the picture, where the picture or its placeholder is. */
  #describe() {
    const text = this.shown?.text;
    this.$("img").alt = text || this.name;
    this.$("img").lang = text ? "" : "en";
    if (text) {
      this.$(".placeholder").setAttribute("role", "img");
      this.$(".placeholder").setAttribute("aria-label", text);
    }
  }

  async #copy(say) {
    const button = this.$(".copy");
    let done = true;
    try {
      await navigator.clipboard.writeText(this.shown.text);
    } catch {
      done = copySelected(this.$(".caption")); // the clipboard is for secure addresses only
    }
    button.textContent = done ? "Copied" : "Select it and copy";
    say(button.textContent);
    clearTimeout(this.timer);
    this.timer = setTimeout(() => { button.textContent = "Copy caption"; }, 2000);
  }

  #show(part) {
    for (const name of ["state", "problem", "result"]) this.$(`.${name}`).hidden = name !== part;
    this.$(".copy").hidden = part !== "result";
    this.$(".again").hidden = true;
    this.element.dataset.state = this.state;
    this.element.setAttribute("aria-busy", String(part === "state"));
  }

  $$(selector) {
    return [...this.element.querySelectorAll(selector)];
  }

  /** Stop the request and free the picture. */
  dispose() {
    this.abort.abort();
    clearTimeout(this.timer);
    URL.revokeObjectURL(this.url);
    this.element.remove();
  }
}

const spell = (score) => (Number.isFinite(score) ? score.toFixed(2).replace("-", "−") : "unknown");

function copySelected(element) {
  const selection = getSelection();
  selection.selectAllChildren(element);
  const done = document.execCommand("copy");
  if (done) selection.removeAllRanges();
  return done;
}
