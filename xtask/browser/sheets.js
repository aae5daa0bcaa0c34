// Goes through all sheets of a chunk's page, and reads the reasons on a job's page.
"use strict";
const { run, say } = require("./browser");

const [address, chunk, job] = process.argv.slice(2);

// Of the sheet alone: the near duplicates show some of the pictures again.
const SHEET = "ul.pictures figure";

const look = async (page, found) => {
  // Far down they are loaded when they come into view.
  for (let y = 0; y < (await page.evaluate("document.body.scrollHeight")); y += 400) {
    await page.evaluate((top) => scrollTo(0, top), y);
  }
  await page.waitForFunction(() => [...document.images].every((picture) => picture.complete));
  const figures = await page.locator(SHEET).evaluateAll((all) => all.map((figure) => {
    const picture = figure.querySelector("img");
    return {
      key: figure.querySelector("figcaption").textContent,
      width: picture ? picture.naturalWidth : null,
      says: figure.textContent,
    };
  }));
  for (const { key, width, says } of figures) {
    if (width === null && says.includes("no browser shows it")) found.not_shown.push(key);
    else (width > 0 ? found.shown : found.empty).push(key);
  }
};

run(async (browser) => {
  const page = await (await browser.newContext()).newPage();
  const found = { shown: [], not_shown: [], empty: [], sheets: 0 };
  await page.goto(`${address}${chunk}?pictures=shown`);
  found.pairs = await page.locator("ul.pairs > li").count();
  for (;;) {
    await look(page, found);
    found.sheets += 1;
    const next = page.getByRole("navigation", { name: "Sheets of pictures" }).getByRole("link", { name: "Next" });
    if (!(await next.count())) break;
    await Promise.all([page.waitForURL(/sheet=/), next.click()]);
    await page.waitForLoadState();
    if (found.sheets > 20) throw new Error("there is no end of sheets");
  }
  await page.goto(address + job);
  const rows = page.getByRole("region", { name: "Why images are not in the dataset" }).locator("tbody tr");
  const cells = await rows.evaluateAll((all) => all.map((row) => [...row.cells].map((cell) => cell.textContent)));
  found.reasons = Object.fromEntries(cells.map(([reason, n]) => [reason, Number(n.replaceAll(",", ""))]));
  say(found);
});
