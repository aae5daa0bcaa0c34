// Fetches the page again every 2 s and shows it when it changed. Pages work without it.
"use strict";
(() => {
  const live = document.querySelector("[data-live]");
  const button = document.getElementById("pause");
  const fresh = document.getElementById("fresh");
  let tag = "", paused = false, asking = false, read = fresh.textContent;
  const say = (more) => { fresh.textContent = read + more; };
  const inUse = () => {
    const chosen = getSelection(), is = live.matches(":has(:focus)")
      || (!chosen.isCollapsed && live.contains(chosen.anchorNode));
    if (is) say(", waits while a part is in use");
    return is;
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
      const headers = { "If-None-Match": tag }, signal = AbortSignal.timeout(15000);
      const answer = await fetch(location.href, { headers, cache: "no-store", signal });
      const text = await answer.text();
      if (paused || inUse()) return;
      if (text.includes('id="live"')) {
        show(text);
        tag = answer.headers.get("ETag") || "";
      }
      const at = answer.headers.get("X-Read-At");
      if (at) read = `As of ${at} UTC`;
      say("");
    } catch {
      say(", no answer since");
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
