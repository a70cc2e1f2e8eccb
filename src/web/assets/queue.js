// @ts-check
// Keeps the list of the queue as it is on the server. Rows are cloned from the page's own template and filled as text.

import { countdown, now, span } from "./clock.js";
import { setCount, tell } from "./live.js";

/**
 * @typedef {{ text: string, mark: string, why: string }} Piece
 * @typedef {{ id: string, state: string, state_words: string, risk: string, sign: string, class: string, place: string,
 *   principal: string, held_since: number, held: string, is_open: boolean, until: number, left: string,
 *   pieces: Piece[], is_cut: boolean, impact: string, said: string }} Row
 * @typedef {{ rows: Row[], waiting: number, mine: number, now: number }} Rows
 */

/** A burst of news is one look at the server. */
const GATHER_MS = 120;

/** Starts to keep the queue; gives what is to be told of news, or null where no queue is shown. */
export function startQueue() {
  const list = document.querySelector("[data-queue]");
  const template = document.querySelector("template[data-row]");
  const isFirstPage = !new URLSearchParams(location.search).has("cursor");
  if (!(list instanceof HTMLElement) || !(template instanceof HTMLTemplateElement)) return startCount();
  /** @type {number | undefined} */
  let timer;
  return () => {
    clearTimeout(timer);
    timer = setTimeout(async () => {
      const answer = await fetch(`/queue.json${location.search}`, { headers: { accept: "application/json" } });
      if (!answer.ok || answer.redirected) return;
      /** @type {Rows} */
      const told = await answer.json();
      setCount(told.waiting);
      setNumber("[data-waiting-count]", told.waiting);
      setNumber("[data-mine-count]", told.mine);
      if (isFirstPage) fill(list, template, told.rows);
    }, GATHER_MS);
  };
}

/** On other pages only the count is kept. */
function startCount() {
  /** @type {number | undefined} */
  let timer;
  return () => {
    clearTimeout(timer);
    timer = setTimeout(async () => {
      const answer = await fetch("/queue.json", { headers: { accept: "application/json" } });
      if (answer.ok && !answer.redirected) setCount((await answer.json()).waiting);
    }, GATHER_MS);
  };
}

/**
 * @param {string} selector
 * @param {number} number
 */
function setNumber(selector, number) {
  const shown = document.querySelector(selector);
  if (shown) shown.textContent = String(number);
}

/**
 * Puts the rows in their order, keeping those that are there, so that nobody's focus is lost.
 * @param {HTMLElement} list
 * @param {HTMLTemplateElement} template
 * @param {Row[]} rows
 */
function fill(list, template, rows) {
  /** @type {Map<string, HTMLElement>} */
  const there = new Map();
  for (const item of list.children) {
    if (item instanceof HTMLElement && item.dataset.id) there.set(item.dataset.id, item);
  }
  let fresh = 0;
  const wanted = rows.map((row) => {
    const old = there.get(row.id);
    if (old) {
      there.delete(row.id);
      update(old, row);
      return old;
    }
    fresh += 1;
    return made(template, row);
  });
  for (const gone of there.values()) {
    if (gone.contains(document.activeElement)) document.getElementById("main")?.focus();
    gone.remove();
  }
  wanted.forEach((item, at) => {
    if (list.children[at] !== item) list.insertBefore(item, list.children[at] ?? null);
  });
  const empty = document.querySelector("[data-empty]");
  if (empty instanceof HTMLElement) empty.hidden = rows.length > 0;
  if (fresh > 0) tell(fresh === 1 ? "One more statement waits." : `${fresh} more statements wait.`);
}

/**
 * @param {HTMLTemplateElement} template
 * @param {Row} row
 */
function made(template, row) {
  const copy = template.content.cloneNode(true);
  const item = copy instanceof DocumentFragment ? copy.querySelector("li") : null;
  if (!item) throw new Error("the template of a row has no item");
  item.dataset.id = row.id;
  item.classList.add(`risk-edge-${row.risk}`, "fresh");
  item.querySelector(".risk")?.classList.add(`risk-${row.risk}`);
  const link = item.querySelector("a.row-link");
  if (link instanceof HTMLAnchorElement) link.href = `/r/${encodeURIComponent(row.id)}`;
  const code = item.querySelector("code");
  for (const piece of row.pieces) {
    const shown = document.createElement("span");
    if (piece.mark) shown.className = `m-${piece.mark}`;
    if (piece.why) shown.title = piece.why;
    shown.textContent = piece.text;
    code?.append(shown);
  }
  if (row.is_cut) {
    const cut = document.createElement("span");
    cut.className = "cut";
    cut.textContent = " … whole on the card";
    code?.append(cut);
  }
  update(item, row);
  return item;
}

/**
 * @param {HTMLElement} item
 * @param {Row} row
 */
function update(item, row) {
  const at = now();
  const words = {
    ...{ id: row.id, sign: row.sign, risk: row.risk, class: row.class, place: row.place, principal: row.principal },
    ...{ state: row.state, impact: row.impact, said: row.said },
    held: span(at - row.held_since),
    left: countdown(row.until - at),
  };
  for (const [name, text] of Object.entries(words)) {
    const shown = item.querySelector(`[data-f="${name}"]`);
    if (shown && shown.textContent !== text) shown.textContent = text;
  }
  const held = item.querySelector('[data-f="held"]');
  if (held instanceof HTMLElement) held.dataset.since = String(row.held_since);
  const left = item.querySelector('[data-f="left"]');
  if (left instanceof HTMLElement) left.dataset.until = String(row.until);
  const leftPart = item.querySelector(".left");
  if (leftPart instanceof HTMLElement) leftPart.hidden = !row.is_open;
  const state = item.querySelector(".state");
  if (state instanceof HTMLElement) {
    state.className = `state state-${row.state}`;
    state.title = row.state_words;
    state.textContent = row.state;
  }
}
