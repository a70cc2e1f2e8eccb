// @ts-check
// News of requests over one event stream: the count in title and icon, and whatever the page's own modules make of it.

/** @typedef {{ request: string, state: string, version: number, impact?: boolean }} News */
/** @typedef {((news: News | null) => unknown) | null} Listener */

const WISH = "countersign-notify";

/**
 * The count of those that wait, in title, icon and navigation.
 * @param {number} waiting
 */
export function setCount(waiting) {
  const title = document.body.dataset.title ?? "Countersign";
  document.title = `${waiting > 0 ? `(${waiting}) ` : ""}${title} · Countersign`;
  const icon = document.querySelector('link[rel="icon"]');
  if (icon instanceof HTMLLinkElement) icon.href = waiting > 9 ? "/icon/more.svg" : `/icon/${waiting}.svg`;
  const count = document.querySelector("[data-count]");
  if (count instanceof HTMLElement) {
    count.textContent = String(waiting);
    count.hidden = waiting === 0;
  }
  document.body.dataset.waiting = String(waiting);
}

/**
 * Words for everybody, read out by screen readers, without taking the focus.
 * @param {string} text
 */
export function tell(text) {
  const news = document.querySelector("[data-news]");
  if (news) news.textContent = text;
}

/** @param {string} state */
function setLive(state) {
  const shown = document.querySelector("[data-live]");
  if (shown instanceof HTMLElement) {
    shown.hidden = false;
    shown.dataset.state = state;
    shown.textContent = state === "live" ? "live" : "reconnecting";
  }
}

/** @param {Listener[]} listeners */
export function startLive(listeners) {
  const source = new EventSource("/api/v1/events");
  /** Requests that are known to wait already. */
  const known = new Set();
  const each = (/** @type {News | null} */ news) => listeners.forEach((listener) => listener?.(news));
  source.addEventListener("open", () => {
    setLive("live");
    // What has happened before the stream was open is told by nobody else.
    each(null);
  });
  source.addEventListener("error", () => {
    setLive("lost");
  });
  source.addEventListener("missed", () => each(null));
  source.addEventListener("request", (event) => {
    /** @type {News} */
    const news = JSON.parse(event.data);
    if (news.state === "pending" && !news.impact && !known.has(news.request)) {
      known.add(news.request);
      notify(news);
    }
    each(news);
  });
}

/** @param {News} news */
function notify(news) {
  const wanted = localStorage.getItem(WISH) === "on" && "Notification" in window;
  if (!wanted || Notification.permission !== "granted" || document.visibilityState === "visible") return;
  const note = new Notification("A statement waits", { body: `Request ${news.request}`, tag: news.request });
  note.addEventListener("click", () => {
    window.focus();
    location.assign(`/r/${encodeURIComponent(news.request)}`);
  });
}

/** The part of the settings that asks the browser for leave. */
export function startNotifications() {
  const part = document.querySelector("[data-notify]");
  if (!(part instanceof HTMLElement) || !("Notification" in window)) return;
  part.hidden = false;
  const ask = part.querySelector("[data-notify-ask]");
  const state = part.querySelector("[data-notify-state]");
  const show = () => {
    const on = localStorage.getItem(WISH) === "on" && Notification.permission === "granted";
    if (ask) ask.textContent = on ? "Stop notifications" : "Allow notifications";
    if (state) state.textContent = Notification.permission === "denied" ? "the browser refuses them" : on ? "on" : "off";
  };
  ask?.addEventListener("click", async () => {
    const on = localStorage.getItem(WISH) === "on" && Notification.permission === "granted";
    if (on) {
      localStorage.setItem(WISH, "off");
    } else if ((await Notification.requestPermission()) === "granted") {
      localStorage.setItem(WISH, "on");
    }
    show();
  });
  show();
}
