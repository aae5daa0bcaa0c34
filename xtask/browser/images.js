// Writes pictures of two pages, and of the timeline of a report, into a folder.
"use strict";
const { run, say } = require("./browser");

const [address, report, folder] = process.argv.slice(2);

run(async (browser) => {
  const page = await (await browser.newContext({ colorScheme: "light" })).newPage();
  // Photographs cost most: one row of them.
  for (const [name, path, width, height] of [
    ["overview", "/", 1200, 780],
    ["chunk", "/jobs/42/chunks/0?pictures=shown&verdict=failed", 760, 530],
    ["round", "", 1000, 640],
  ]) {
    await page.setViewportSize({ width, height });
    await page.goto(path ? address + path : report, { waitUntil: "networkidle" });
    // Of a chunk the pictures, with the failed URLs above them.
    if (name === "chunk") await page.locator("form.filter").evaluate((form) => form.scrollIntoView());
    await page.waitForFunction(() => [...document.images].slice(0, 8).every((picture) => picture.complete));
    const shown = name === "round" ? page.locator("section.sheet", { has: page.locator(".lanes") }) : page;
    await shown.screenshot({ path: `${folder}/${name}.png` });
  }
  say({});
});
