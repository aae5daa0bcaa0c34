// Fetches the page again every 2 s and shows it when it changed. Pages work without it.
"use strict";
(() => {
  const live = document.querySelector("[data-live]");
  const button = document.getElementById("pause");
  const fresh = document.getElementById("fresh");
  let tag = "", paused = false, asking = false, since = "";
  const clock = () => new Date().toISOString().slice(11, 19);
  const inUse = () => {
    const chosen = getSelection();
    return live.contains(document.activeElement) && document.activeElement !== live
      || (!chosen.isCollapsed && live.contains(chosen.anchorNode));
  };
  const show = (text) => {
    const next = new DOMParser().parseFromString(text, "text/html");
    const left = [...live.querySelectorAll(".scroll")].map((box) => box.scrollLeft);
    live.replaceChildren(...next.getElementById("live").childNodes);
    live.querySelectorAll(".scroll").forEach((box, i) => { box.scrollLeft = left[i] || 0; });
    document.title = next.title;
  };
  const ask = async () => {
    if (asking || paused || document.hidden || inUse()) return;
    asking = true;
    try {
      const answer = await fetch(location.href, { headers: { "If-None-Match": tag }, cache: "no-store" });
      const text = await answer.text();
      if (paused || inUse()) return;
      if (answer.status !== 304 && text.includes('id="live"')) {
        show(text);
        tag = answer.headers.get("ETag") || "";
      }
      const at = answer.headers.get("X-Read-At");
      if (at) fresh.textContent = `As of ${at} UTC`;
      since = "";
    } catch {
      since = since || clock();
      fresh.textContent = `No answer from the dashboard since ${since} UTC`;
    } finally {
      asking = false;
    }
  };
  button.hidden = false;
  button.addEventListener("click", () => {
    paused = !paused;
    button.setAttribute("aria-pressed", paused);
    ask();
  });
  document.addEventListener("visibilitychange", ask);
  setInterval(ask, 2000);
})();
