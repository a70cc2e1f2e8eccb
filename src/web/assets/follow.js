// @ts-check
// Follows the log on its page: only when asked to, never moving what somebody reads, never more rows than a page holds.

import { tell } from "./live.js";

/**
 * @typedef {{ text: string, mark: string, why: string }} Piece
 * @typedef {{ id: string, at: { exact: string, short: string }, kind: string, verdict: string, class: string,
 *   principal: string, request: string, pieces: Piece[], is_cut: boolean, words: string }} Row
 */

/** Rows in the list; the oldest leave at the end. */
const ROWS_MAX = 200;
/** Rows that wait while somebody reads further down. */
const WAITING_MAX = 200;

export function startFollow() {
  const part = document.querySelector("[data-follow]");
  const list = document.querySelector("[data-records]");
  const template = document.querySelector("template[data-record]");
  if (!(part instanceof HTMLElement) || !(list instanceof HTMLElement)) return;
  if (!(template instanceof HTMLTemplateElement)) return;
  const button = part.querySelector("[data-follow-switch]");
  const more = part.querySelector("[data-follow-more]");
  const state = part.querySelector("[data-follow-state]");
  if (!(button instanceof HTMLElement) || !(more instanceof HTMLElement) || !state) return;
  part.hidden = false;

  /** @type {EventSource | null} */
  let source = null;
  /** Where the next stream begins: behind the last row that came. */
  let address = part.dataset.follow ?? "";
  /** @type {Row[]} */
  let waiting = [];
  let left = 0;

  const isRead = () => list.getBoundingClientRect().top < 0;
  const showWaiting = () => {
    more.hidden = waiting.length === 0;
    const dropped = left > 0 ? `, ${left} more after loading the page again` : "";
    more.textContent = `Show ${waiting.length} new${dropped}`;
  };
  const flush = () => {
    for (const row of waiting) prepend(list, template, row);
    waiting = [];
    showWaiting();
  };
  const take = (/** @type {Row} */ row) => {
    if (!isRead() && waiting.length === 0) {
      prepend(list, template, row);
      return;
    }
    waiting.push(row);
    if (waiting.length > WAITING_MAX) {
      waiting.shift();
      left += 1;
    }
    showWaiting();
  };
  const say = (/** @type {string} */ text) => {
    state.textContent = text;
  };
  const stop = () => {
    source?.close();
    source = null;
    button.setAttribute("aria-pressed", "false");
    button.textContent = "Follow";
    say("");
  };
  const start = () => {
    source = new EventSource(address);
    button.setAttribute("aria-pressed", "true");
    button.textContent = "Stop following";
    say("connecting");
    source.addEventListener("open", () => say("following"));
    source.addEventListener("error", () => say(source?.readyState === EventSource.CLOSED ? "lost: load the page again" : "reconnecting"));
    source.addEventListener("missed", () => {
      left += 1;
      tell("Too much has happened meanwhile to show it all: load the page again.");
      say("following; some is missing: load the page again");
    });
    source.addEventListener("record", (event) => {
      if (event.lastEventId) {
        const next = new URL(address, location.href);
        next.searchParams.set("after", event.lastEventId);
        address = next.pathname + next.search;
      }
      take(JSON.parse(event.data));
    });
    tell("New records appear at the top of the list.");
  };
  button.addEventListener("click", () => (source ? stop() : start()));
  more.addEventListener("click", () => {
    flush();
    part.scrollIntoView({ block: "start" });
    button.focus({ preventScroll: true });
  });
  addEventListener("scroll", () => {
    if (waiting.length > 0 && !isRead()) flush();
  });
}

/**
 * @param {HTMLElement} list
 * @param {HTMLTemplateElement} template
 * @param {Row} row
 */
function prepend(list, template, row) {
  for (const item of list.children) {
    if (item instanceof HTMLElement && item.dataset.id === row.id) return;
  }
  list.prepend(made(template, row));
  const empty = document.querySelector("[data-empty]");
  if (empty instanceof HTMLElement) empty.hidden = true;
  while (list.children.length > ROWS_MAX) {
    const last = list.lastElementChild;
    if (last?.contains(document.activeElement)) return;
    last?.remove();
  }
}

/**
 * @param {HTMLTemplateElement} template
 * @param {Row} row
 */
function made(template, row) {
  const copy = template.content.cloneNode(true);
  const item = copy instanceof DocumentFragment ? copy.querySelector("li") : null;
  if (!item) throw new Error("the template of a record has no item");
  item.dataset.id = row.id;
  item.classList.add("fresh");
  if (row.verdict) item.classList.add(`verdict-edge-${row.verdict}`);
  const time = item.querySelector("time");
  if (time) {
    time.dateTime = row.at.exact;
    time.title = row.at.exact;
    time.textContent = row.at.short;
  }
  const link = item.querySelector("a.row-link");
  if (link instanceof HTMLAnchorElement) {
    link.href = `/log/${encodeURIComponent(row.id)}`;
    link.textContent = row.id;
  }
  const request = item.querySelector("[data-request]");
  if (request instanceof HTMLAnchorElement && row.request) {
    request.href = `/r/${encodeURIComponent(row.request)}`;
    request.textContent = row.request;
  } else {
    request?.remove();
  }
  const words = { kind: row.kind, "verdict-word": row.verdict, class: row.class, agent: row.principal, words: row.words };
  for (const [name, text] of Object.entries(words)) {
    const shown = item.querySelector(`.${name}`);
    if (text && shown) shown.textContent = text;
    else shown?.remove();
  }
  if (row.verdict) item.querySelector(".verdict-word")?.classList.add(`verdict-${row.verdict}`);
  const code = item.querySelector("code");
  if (row.pieces.length === 0) code?.remove();
  for (const piece of row.pieces) {
    const shown = document.createElement("span");
    if (piece.mark) shown.className = `m-${piece.mark}`;
    if (piece.why) shown.title = piece.why;
    shown.textContent = piece.text;
    code?.append(shown);
  }
  if (row.is_cut) code?.append("…");
  return item;
}
