// @ts-check
// The card: the approval opens once the end of the statement was in view; a change of the request is told; the denial
// shows what the agent will read.

import { tell } from "./live.js";

/** Starts what a card needs; gives what is to be told of news, or null where no card is shown. */
export function startCard() {
  const card = document.querySelector("[data-card]");
  if (!(card instanceof HTMLElement)) return null;
  openWhenRead();
  preview();
  openByBar();
  return async (/** @type {import("./live.js").News | null} */ news) => {
    if (news !== null && news.request !== card.dataset.card) return;
    const told = news ?? (await asked(card.dataset.card ?? ""));
    const isSame = told === null || (told.state === card.dataset.state && String(told.version) === card.dataset.version);
    const wantsImpact = news?.impact === true && document.querySelector("[data-estimating]") !== null;
    if (isSame && !wantsImpact) return;
    const isRevealed = card.dataset.revealed !== undefined;
    if (isBusy() || (isRevealed && told?.state === card.dataset.state)) {
      tell("This request has changed meanwhile: load the page again before you decide.");
    } else if (isRevealed) {
      // To load it again would ask for the values again, and that would be recorded as a look of this person.
      location.replace(`/r/${encodeURIComponent(card.dataset.card ?? "")}`);
    } else {
      location.reload();
    }
  };
}

/**
 * What the request is now: news may have come before the stream was open.
 * @param {string} id
 * @returns {Promise<{ state: string, version: number } | null>}
 */
async function asked(id) {
  const answer = await fetch(`/api/v1/requests/${encodeURIComponent(id)}`, { headers: { accept: "application/json" } });
  return answer.ok ? answer.json() : null;
}

/** Whether somebody is in the middle of deciding. */
function isBusy() {
  for (const act of document.querySelectorAll("details.act")) {
    if (act instanceof HTMLDetailsElement && act.open) return true;
  }
  return false;
}

function openWhenRead() {
  const approve = document.querySelector("[data-approve]");
  const unread = document.querySelector("[data-unread]");
  const end = document.querySelector("[data-end]");
  if (!(approve instanceof HTMLDetailsElement) || !(unread instanceof HTMLElement) || !end) return;
  approve.hidden = true;
  unread.hidden = false;
  const bar = document.querySelector('.bar [data-open="approve"]');
  if (bar instanceof HTMLElement) bar.hidden = true;
  const seen = new IntersectionObserver((entries) => {
    if (!entries.some((entry) => entry.isIntersecting)) return;
    seen.disconnect();
    approve.hidden = false;
    unread.hidden = true;
    if (bar instanceof HTMLElement) bar.hidden = false;
    const word = approve.querySelector("[data-read] input");
    const label = approve.querySelector("[data-read]");
    if (word instanceof HTMLInputElement && label instanceof HTMLElement) {
      word.checked = true;
      label.hidden = true;
    }
  });
  seen.observe(end);
}

/** Opens one of the two forms and goes to its first field. */
/** @param {"approve" | "deny"} which */
export function open(which) {
  const act = document.getElementById(which);
  if (!(act instanceof HTMLDetailsElement)) return false;
  if (act.hidden) {
    document.querySelector("[data-end]")?.scrollIntoView({ block: "center" });
    return true;
  }
  act.open = true;
  act.scrollIntoView({ block: "nearest" });
  const field = act.querySelector('input:not([type="hidden"])');
  if (field instanceof HTMLElement) field.focus();
  return true;
}

function openByBar() {
  for (const link of document.querySelectorAll("[data-open]")) {
    link.addEventListener("click", (event) => {
      const which = link.getAttribute("data-open") === "deny" ? "deny" : "approve";
      if (open(which)) event.preventDefault();
    });
  }
}

/** How long somebody pauses before the words are asked for, in milliseconds. */
const PAUSE = 150;

/** The very words of the error, as the server says them: there is one text for page, command line and agent. */
function preview() {
  const reason = document.querySelector("[data-reason]");
  const shown = document.querySelector("[data-preview]");
  const card = document.querySelector("[data-card]");
  if (!(reason instanceof HTMLInputElement) || !shown || !(card instanceof HTMLElement)) return;
  const csrf = reason.form?.elements.namedItem("_csrf");
  const path = `/api/v1/requests/${encodeURIComponent(card.dataset.card ?? "")}/preview`;
  const empty = shown.textContent;
  let timer = 0;
  let latest = 0;
  const ask = async () => {
    const mine = ++latest;
    if (reason.value.trim() === "") {
      shown.textContent = empty;
      return;
    }
    const answer = await fetch(path, {
      method: "POST",
      headers: {
        accept: "application/json",
        "content-type": "application/json",
        "x-csrf-token": csrf instanceof HTMLInputElement ? csrf.value : "",
      },
      body: JSON.stringify({ reason: reason.value }),
    });
    const told = await answer.json();
    // A later word may have been answered first.
    if (mine === latest) shown.textContent = answer.ok ? told.message : `${told.detail}: ${told.next_step}`;
  };
  reason.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(() => void ask(), PAUSE);
  });
}
