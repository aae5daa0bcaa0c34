// Keeps a page open while the test lets a job run, takes the database away and brings it back.
"use strict";
const { ask, run, say } = require("./browser");

const [address] = process.argv.slice(2);

const fact = (page, name) =>
  page.locator("dl.facts div", { has: page.locator("dt", { hasText: name }) }).locator("dd").textContent();

// Different values that `look` gives, until there are three of them.
const changes = async (page, look) => {
  const seen = [];
  while (seen.length < 3) {
    const now = await look();
    if (now !== seen.at(-1)) seen.push(now);
    await page.waitForTimeout(250);
  }
  return seen;
};

// The next `n` times that the script has shown or confirmed what the page says. The page must ask each time.
const updates = async (page, n) => {
  for (let i = 0; i < n; i += 1) await page.waitForResponse((answer) => answer.url() === page.url());
};

const shown = (page, text) => page.locator("main", { hasText: text }).waitFor();

// What somebody who reads the page has: a place, a chosen text, and something in focus.
const use = async (page) => {
  await page.setViewportSize({ width: 800, height: 300 });
  const at = await page.evaluate(() => {
    scrollTo(0, 200);
    getSelection().removeAllRanges();
    return scrollY;
  });
  await updates(page, 10);
  const scrolled = await page.evaluate("scrollY");
  const text = await page.evaluate(() => {
    const heading = document.querySelector("main h2");
    getSelection().selectAllChildren(heading);
    return String(getSelection());
  });
  await page.waitForTimeout(4500);
  const chosen = await page.evaluate("String(getSelection())");
  await page.evaluate("getSelection().removeAllRanges()");
  await page.getByRole("region", { name: "Processes" }).focus();
  await page.waitForTimeout(4500);
  const focus = await page.evaluate("document.activeElement.getAttribute('aria-label')");
  const waits = await page.locator("#fresh").textContent();
  await page.evaluate("document.activeElement.blur()");
  return { at, scrolled, text, chosen, focus, waits };
};

run(async (browser) => {
  const context = await browser.newContext({ reducedMotion: "reduce" });
  const page = await context.newPage();
  await page.goto(address);
  // It would be gone after a reload.
  await page.evaluate("globalThis.sameDocument = true");
  await ask({ active: await fact(page, "Active chunks") });

  const rates = await changes(page, () => fact(page, "Images/s"));
  const active = await fact(page, "Active chunks");
  const moving = await page.evaluate("document.getAnimations().length");
  await ask({ rates, active, moving });

  await shown(page, "Images/s");
  const used = await use(page);
  await ask({ used });

  await shown(page, "No answer from the database since");
  const away = await page.locator(".banner.away").textContent();
  const still = await fact(page, "Active chunks");
  await ask({ away, still });

  await page.locator(".banner.away").waitFor({ state: "detached" });
  await shown(page, "Active chunks");
  const before = await page.locator("#fresh").textContent();
  await page.waitForFunction((text) => document.getElementById("fresh").textContent !== text, before);
  say({ same: await page.evaluate("globalThis.sameDocument === true"), after: await page.locator("#fresh").textContent() });
});
