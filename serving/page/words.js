// A caption as text whose words can be pointed at.

/**
 * Return the text in pieces, with the index of the word that each piece is, or -1 between words.
 *
 * The text stays as the server wrote it: some words join without a space, as in "dog's" or in
 * Chinese. Should a word not be in the text, the words stand with spaces between them.
 *
 * @param {string} text
 * @param {string[]} words
 * @returns {{text: string, word: number}[]}
 */
export function pieces(text, words) {
  const found = [];
  let end = 0;
  for (const [word, spelling] of words.entries()) {
    const start = text.indexOf(spelling, end);
    if (start < 0 || !spelling) {
      return words.flatMap((other, index) =>
        [...(index ? [{ text: " ", word: -1 }] : []), { text: other, word: index }]);
    }
    if (start > end) found.push({ text: text.slice(end, start), word: -1 });
    found.push({ text: spelling, word });
    end = start + spelling.length;
  }
  if (end < text.length) found.push({ text: text.slice(end), word: -1 });
  return found;
}

/**
 * Fill an element with a caption whose words are buttons: one stop of the Tab key, arrows inside.
 *
 * They are spans with the role of a button. A <button> is a box of its own, and boxes break the
 * order of words in lines that run both ways.
 *
 * @param {HTMLElement} element
 * @param {{text: string, words: string[]}} caption
 * @param {string[]} descriptions What is said of each word.
 * @param {(word: number) => void} onShow Called with -1 where no word is shown.
 * @returns {() => void} Forgets the word that a click holds.
 */
export function fill(element, caption, descriptions, onShow) {
  const buttons = [];
  let held = -1;
  let shown = -1;

  function show(word) {
    if (word === shown) return;
    buttons[shown]?.classList.remove("looking");
    buttons[word]?.classList.add("looking");
    shown = word;
    onShow(word);
  }

  function hold(word) {
    buttons[held]?.setAttribute("aria-pressed", "false");
    buttons[word]?.setAttribute("aria-pressed", "true");
    held = word;
    show(word);
  }

  function onKey(event, word) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const forwards = getComputedStyle(element).direction === "rtl" ? "ArrowLeft" : "ArrowRight";
    const steps = { ArrowLeft: -1, ArrowRight: -1, Home: -buttons.length, End: buttons.length };
    steps[forwards] = 1;
    if (event.key in steps) {
      const next = Math.min(Math.max(word + steps[event.key], 0), buttons.length - 1);
      hold(-1);
      buttons[next].focus();
      show(next);
    } else if (event.key === "Enter" || event.key === " ") {
      hold(held === word ? -1 : word);
    } else {
      return;
    }
    event.preventDefault();
  }

  function button(text, word) {
    const span = document.createElement("span");
    span.className = "word";
    span.textContent = text;
    span.tabIndex = word ? -1 : 0;
    span.setAttribute("role", "button");
    span.setAttribute("aria-pressed", "false");
    span.setAttribute("aria-description", descriptions[word]);
    // A finger shows a word by its click alone.
    span.addEventListener("pointerenter", (event) => event.pointerType === "touch" || show(word));
    span.addEventListener("pointerleave", (event) => event.pointerType === "touch" || show(held));
    span.addEventListener("focus", () => {
      for (const other of buttons) other.tabIndex = other === span ? 0 : -1;
      if (span.matches(":focus-visible")) show(word);
    });
    span.addEventListener("blur", () => show(held));
    span.addEventListener("click", () => hold(held === word ? -1 : word));
    span.addEventListener("keydown", (event) => onKey(event, word));
    buttons[word] = span;
    return span;
  }

  element.replaceChildren(...pieces(caption.text, caption.words).map(({ text, word }) =>
    word < 0 ? document.createTextNode(text) : button(text, word)));
  return () => hold(-1);
}
