// Keeps a page open while the test lets its tunnel hang and go on again.
"use strict";
const { ask, run, say } = require("./browser");

const [address] = process.argv.slice(2);

run(async (browser) => {
  const page = await browser.newPage();
  await page.goto(address);
  const fresh = () => page.locator("#fresh").textContent();
  // It would be gone after a reload.
  await page.evaluate("globalThis.sameDocument = true");
  await page.waitForResponse((answer) => answer.url() === page.url());
  const gaveUp = [];
  page.on("requestfailed", (request) => gaveUp.push(request.failure().errorText));
  await ask({ before: await fresh() });

  const isOld = (old) => document.getElementById("fresh").textContent.includes("no answer") === old;
  await page.waitForFunction(isOld, true, { timeout: 60_000 });
  await ask({ during: await fresh(), gaveUp, shown: await page.locator("main").textContent() });

  await page.waitForFunction(isOld, false, { timeout: 60_000 });
  say({ after: await fresh(), same: await page.evaluate("globalThis.sameDocument === true") });
});
