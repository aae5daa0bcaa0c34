// Sends a form of the dashboard over plain HTTP, from an address that is not loopback, with its password.
"use strict";
const { run, say } = require("./browser");

const [address, password] = process.argv.slice(2);

run(async (browser) => {
  const context = await browser.newContext({ httpCredentials: { username: "anybody", password } });
  const page = await context.newPage();
  const found = {};
  page.on("request", (request) => {
    if (request.method() === "POST") found.site = request.headers()["sec-fetch-site"] ?? "not said";
  });
  await page.goto(`${address}/control/pause`);
  await page.getByRole("button", { name: "Pause intake", exact: true }).click();
  await page.waitForLoadState();
  found.told = await page.locator("body").innerText();
  say(found);
});
