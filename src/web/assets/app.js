// @ts-check
// Begins what a page needs. Never builds markup from text: rows are cloned from a template, words are set as text.
// Everything works without these modules; they add news, countdowns, keys and the opening of the approval.

import { startCard } from "./card.js";
import { startClock } from "./clock.js";
import { startFile } from "./file.js";
import { startFollow } from "./follow.js";
import { startKeys } from "./keys.js";
import { startLive, startNotifications } from "./live.js";
import { startPasskeys } from "./passkeys.js";
import { startQueue } from "./queue.js";

startClock();
startKeys();
startNotifications();
startFollow();
startFile();
startPasskeys();
takeFragment();
const refreshQueue = startQueue();
const cardNews = startCard();
if (document.body.dataset.signedIn !== undefined) {
  startLive([refreshQueue, cardNews]);
}

// A form that decides something is sent once.
for (const form of document.querySelectorAll("form[data-once]")) {
  form.addEventListener("submit", (event) => {
    if (form.hasAttribute("data-sent")) {
      event.preventDefault();
      return;
    }
    form.setAttribute("data-sent", "");
    // Disabled after the browser has read the form.
    setTimeout(() => {
      for (const button of form.querySelectorAll("button")) {
        button.disabled = true;
      }
    }, 0);
  });
}
// Back from the page that followed: the form can be sent again, and its key makes it count once all the same.
addEventListener("pageshow", () => {
  for (const form of document.querySelectorAll("form[data-sent]")) {
    form.removeAttribute("data-sent");
    for (const button of form.querySelectorAll("button")) {
      button.disabled = false;
    }
  }
});

/** A code that came behind the `#` of an address, which browsers send to nobody. */
function takeFragment() {
  const field = document.querySelector("[data-from-fragment]");
  if (!(field instanceof HTMLInputElement) || location.hash.length < 2) return;
  field.value = decodeURIComponent(location.hash.slice(1));
  history.replaceState(null, "", location.pathname);
}
