// @ts-check
// Keys for people who decide all day. No key approves or denies by itself: it leads to a form. Off where the settings
// say so, and while somebody types.

import { open } from "./card.js";

/** Where `g` and a second key lead to. */
const PLACES = new Map([
  ["q", "/"],
  ["s", "/sessions"],
  ["l", "/log"],
  ["r", "/rules"],
  ["g", "/grants"],
  ["t", "/status"],
]);
/** The second key comes within this. */
const SECOND_KEY_MS = 1500;

export function startKeys() {
  if (document.body.dataset.keys === "off") return;
  let leaderAt = -Infinity;
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey && event.key === "Enter") {
      const form = event.target instanceof Element ? event.target.closest("form") : null;
      if (form instanceof HTMLFormElement) form.requestSubmit();
      return;
    }
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || isTyping(event.target)) return;
    const follows = event.timeStamp - leaderAt < SECOND_KEY_MS;
    leaderAt = -Infinity;
    const place = follows ? PLACES.get(event.key) : undefined;
    if (place) {
      location.assign(place);
    } else if (!act(event.key)) {
      if (event.key !== "g") return;
      leaderAt = event.timeStamp;
    }
    event.preventDefault();
  });
}

/** @param {EventTarget | null} target */
function isTyping(target) {
  return target instanceof Element && target.closest("input, textarea, select, dialog") !== null;
}

/**
 * Whether the key means something here.
 * @param {string} key
 */
function act(key) {
  switch (key) {
    case "j":
      return move(1);
    case "k":
      return move(-1);
    case "o":
      return follow();
    case "a":
      return open("approve");
    case "d":
      return open("deny");
    case "/": {
      const field = document.querySelector("[data-filter]");
      const box = field?.closest("details");
      if (box) box.open = true;
      if (field instanceof HTMLElement) field.focus();
      return field !== null;
    }
    case "?": {
      const help = document.querySelector("[data-help]");
      if (help instanceof HTMLDialogElement && !help.open) help.showModal();
      return true;
    }
    default:
      return false;
  }
}

/** @param {number} by */
function move(by) {
  const links = [...document.querySelectorAll("a.row-link")].filter((link) => link instanceof HTMLAnchorElement);
  if (links.length === 0) return false;
  const at = links.findIndex((link) => link === document.activeElement);
  const next = links[Math.min(links.length - 1, Math.max(0, at + by))];
  next?.focus();
  next?.scrollIntoView({ block: "nearest" });
  return true;
}

function follow() {
  const link = document.activeElement;
  if (!(link instanceof HTMLAnchorElement) || !link.classList.contains("row-link")) return false;
  link.click();
  return true;
}
