// Small help for the pages: durations count on, moments are shown in the reader's time, logs stay at their end.
// Everything is readable without it.
"use strict";

const MAX_LINES = 5000;

function span(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min`;
  if (whole < 172800) return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
  return `${Math.floor(whole / 86400)} days`;
}

function tick() {
  const now = Date.now() / 1000;
  for (const time of document.querySelectorAll("time[data-since]")) {
    const text = span(now - Number(time.dataset.since));
    if (time.textContent !== text) time.textContent = text;
  }
  for (const time of document.querySelectorAll("time[data-at]")) {
    const at = new Date(Number(time.dataset.at) * 1000);
    const today = at.toDateString() === new Date().toDateString();
    const text = today ? at.toLocaleTimeString() : at.toLocaleDateString() + " " + at.toLocaleTimeString();
    if (time.textContent !== text) time.textContent = text;
    time.title = at.toLocaleString();
  }
}

function follow(log) {
  const growing = document.getElementById("growing");
  let atEnd = true;
  window.addEventListener("scroll", () => {
    atEnd = window.innerHeight + window.scrollY >= document.documentElement.scrollHeight - 40;
  });
  const stay = new MutationObserver(() => {
    if (atEnd) while (log.childElementCount > MAX_LINES) log.firstElementChild.remove();
    if (atEnd) window.scrollTo(0, document.documentElement.scrollHeight);
  });
  stay.observe(log, { childList: true });
  stay.observe(growing, { childList: true });
  const count = document.getElementById("count");
  log.addEventListener("htmx:sse:after:message", (event) => {
    const lines = Number(event.detail.message.id);
    if (count && lines) count.textContent = lines === 1 ? "1 line" : `${lines} lines`;
  });
  log.addEventListener("growing", (event) => (growing.innerHTML = event.detail.data)); // (escaped, as the lines are)
  log.addEventListener("end", () => document.getElementById("writing")?.remove());
  window.scrollTo(0, document.documentElement.scrollHeight);
}

document.addEventListener("DOMContentLoaded", () => {
  tick();
  setInterval(tick, 1000);
  const main = document.getElementById("main");
  if (main && main.hasAttribute("hx-sse:connect")) new MutationObserver(tick).observe(main, { childList: true, subtree: true });
  const log = document.getElementById("log");
  if (log && log.hasAttribute("hx-sse:connect")) follow(log);
});
