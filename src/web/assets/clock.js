// @ts-check
// Countdowns by the server's time: what this computer believes of the time does not matter.

const serverNow = Number(document.body.dataset.now ?? Date.now());
const startedAt = performance.now();

/** The server's time now, in milliseconds since 1970. */
export function now() {
  return serverNow + (performance.now() - startedAt);
}

/**
 * `13:18` or `2:05:00`.
 * @param {number} millis
 */
export function countdown(millis) {
  const seconds = Math.max(0, Math.floor(millis / 1000));
  const two = (/** @type {number} */ number) => String(number).padStart(2, "0");
  const hours = Math.floor(seconds / 3600);
  const rest = `${two(Math.floor((seconds % 3600) / 60))}:${two(seconds % 60)}`;
  return hours > 0 ? `${hours}:${rest}` : rest.replace(/^0/, "");
}

/**
 * `42 s`, `3 min`, `2 h 5 min`, `4 d`.
 * @param {number} millis
 */
export function span(millis) {
  const seconds = Math.max(0, Math.floor(millis / 1000));
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 86400) {
    const minutes = Math.floor((seconds % 3600) / 60);
    return minutes === 0 ? `${Math.floor(seconds / 3600)} h` : `${Math.floor(seconds / 3600)} h ${minutes} min`;
  }
  return `${Math.floor(seconds / 86400)} d`;
}

function tick() {
  const at = now();
  for (const shown of document.querySelectorAll("[data-until]")) {
    if (shown instanceof HTMLElement) setText(shown, countdown(Number(shown.dataset.until) - at));
  }
  for (const shown of document.querySelectorAll("[data-since]")) {
    if (shown instanceof HTMLElement) setText(shown, span(at - Number(shown.dataset.since)));
  }
}

/**
 * @param {HTMLElement} shown
 * @param {string} text
 */
function setText(shown, text) {
  if (shown.textContent !== text) shown.textContent = text;
}

export function startClock() {
  tick();
  setInterval(tick, 1000);
}
