// What the page asks the server, and what each answer means in words.

const BUSY = new Set([429, 502, 503]);
const ANSWER_WITHIN = 90_000; // ms after the upload; the server's own deadline comes first
const PATIENCE = 10_000; // ms for a short question
const LONGEST_WAIT = 60; // s
const RELOAD = "Reload the page: it may be older than the server.";
const AGAIN = "Try again in a moment.";

/** Why a picture has no caption: what happened, what to do, and what the server said of it. */
export class Problem extends Error {
  /**
   * @param {string} what What happened.
   * @param {string} remedy What to do.
   * @param {{status?: number, detail?: string, again?: boolean, retryAfter?: number}} more
   *     `status`: of HTTP, 0 where the server did not answer; `again`: trying again may help;
   *     `retryAfter`: seconds to wait before that, where the server is busy.
   */
  constructor(what, remedy, { status = -1, detail = "", again = false, retryAfter = 0 } = {}) {
    super(what);
    Object.assign(this, { what, remedy, status, detail, again, retryAfter });
  }
}

/** Return bytes as people read them: 1.5 MB. */
export function size(bytes) {
  if (bytes < 1000) return `${bytes} bytes`;
  return bytes < 1e6 ? `${Math.round(bytes / 1000)} kB` : `${(bytes / 1e6).toFixed(1).replace(/\.0$/, "")} MB`;
}

function explain(status, limits) {
  const formats = limits.formats?.join(", ");
  const largest = limits.max_image_bytes ? ` of up to ${size(limits.max_image_bytes)}` : "";
  switch (status) {
    case 400: return ["The server could not read the request.", RELOAD];
    case 401: return ["The server asks for a token.", "Enter it at the top of the page."];
    case 404: case 405: return ["This server gives no captions at this address.", RELOAD];
    case 408: return ["The picture took too long to arrive.", "Try again, or choose a smaller one."];
    case 413: return ["This picture is too large for the server.", `Choose one${largest}, or make it smaller.`];
    case 415: return ["This is no picture in a format that the server reads.",
      formats ? `Choose one of these: ${formats}.` : "Save it as JPEG or PNG."];
    case 422: return ["This file is damaged: the picture in it cannot be read.",
      "Open it in another program and save it anew, or choose another file."];
    case 429: return ["The server has too much to do.", AGAIN];
    case 502: return ["The server behind this address does not answer.", AGAIN];
    case 503: return ["The server is starting or stopping.", AGAIN];
    case 504: return ["The server took too long.", AGAIN];
    default: return [`The server failed (${status}).`, AGAIN];
  }
}

function refused(status, error, retryAfter, limits) {
  const [what, remedy] = explain(status, limits);
  const seconds = Number.parseInt(retryAfter, 10);
  return new Problem(what, remedy, {
    status,
    detail: typeof error?.message === "string" ? error.message : "",
    again: status === 408 || status >= 429,
    retryAfter: BUSY.has(status) ? Math.min(Math.max(seconds || 2, 1), LONGEST_WAIT) : 0,
  });
}

/** Refuse what need not be sent: a file that had so many bytes when it was chosen. */
export function check(bytes, limits) {
  if (!bytes) throw new Problem("This file is empty.", "Choose another one.");
  if (limits.max_image_bytes && bytes > limits.max_image_bytes) {
    const [what, remedy] = explain(413, limits);
    throw new Problem(what, remedy, { detail: `${size(bytes)}; it was not sent.` });
  }
}

/** Return the answer to GET `path`: its status, 0 where there was none, and its JSON or null. */
export async function ask(path) {
  try {
    const response = await fetch(path, { cache: "no-store", signal: AbortSignal.timeout(PATIENCE) });
    return { status: response.status, body: await response.json().catch(() => null) };
  } catch {
    return { status: 0, body: null };
  }
}

/**
 * Send one picture and return what the server answers about it.
 *
 * @param {File} file
 * @param {{token: string, limits: object, signal: AbortSignal, onProgress: (share: number) => void}} how
 * @returns {Promise<{model: object, captions: object[], milliseconds: number}>}
 * @throws {Problem}
 */
export async function caption(file, how) {
  let reply;
  try {
    reply = await post(file, how);
  } catch (problem) {
    // A file that was changed or moved since it was chosen fails like a lost connection.
    if (problem.status === 0 && !(await readable(file))) {
      throw new Problem("This file cannot be read any more.",
        "It was moved or changed after it was chosen. Choose it again.");
    }
    throw problem;
  }
  const { status, body, retryAfter } = reply;
  if (status !== 200) throw refused(status, body?.error, retryAfter, how.limits);
  const image = body?.images?.[0];
  if (image?.error) throw refused(422, image.error, null, how.limits);
  if (!Array.isArray(image?.captions)) {
    throw new Problem("The server's answer makes no sense to this page.", RELOAD);
  }
  return { model: body.model ?? {}, captions: image.captions, milliseconds: body.milliseconds };
}

/** Send with XMLHttpRequest: `fetch` does not tell how much of an upload is done. */
function post(file, { token, signal, onProgress }) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    let timer = 0;
    const fail = (what, status, again) => () =>
      reject(new Problem(what, AGAIN, { status, again }));
    request.open("POST", "v1/captions?attention=true");
    request.responseType = "json";
    // The server tells a picture's format by its bytes; what a file's name says may be wrong.
    request.setRequestHeader("Content-Type", "application/octet-stream");
    if (token) request.setRequestHeader("Authorization", `Bearer ${token}`);
    request.upload.onprogress = (event) => onProgress(event.loaded / event.total);
    request.upload.onload = () => {
      onProgress(1);
      timer = setTimeout(() => {
        request.onabort = fail("The server did not answer in time.", 504, true);
        request.abort();
      }, ANSWER_WITHIN);
    };
    request.onload = () => resolve({
      status: request.status,
      body: request.response,
      retryAfter: request.getResponseHeader("Retry-After"),
    });
    request.onerror = fail("The connection to the server broke.", 0, true);
    request.onabort = fail("Removed.", -1, false);
    request.onloadend = () => clearTimeout(timer);
    signal.addEventListener("abort", () => request.abort(), { once: true });
    request.send(file);
  });
}

async function readable(file) {
  try {
    return (await file.slice(0, 1).arrayBuffer()).byteLength > 0;
  } catch {
    return false;
  }
}
