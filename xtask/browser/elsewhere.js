// A page of another site sends a form to the dashboard, in each way that a page can.
"use strict";
const http = require("node:http");
const { run, say } = require("./browser");

const [address] = process.argv.slice(2);
const DEED = `${address}/control/pause`;
const PAGE = `<!doctype html><form method="post" action="${DEED}"><input name="minutes" value="30"></form>`;

run(async (browser) => {
  const site = http.createServer((_, answer) => answer.setHeader("Content-Type", "text/html").end(PAGE));
  await new Promise((listens) => site.listen(0, "127.0.0.1", listens));
  const page = await (await browser.newContext()).newPage();
  const found = { answers: [] };
  page.on("response", (answer) => {
    if (answer.request().method() === "POST") found.answers.push(answer.status());
  });
  const load = () => page.goto(`http://127.0.0.1:${site.address().port}/`);
  await load();
  const answered = page.waitForResponse((answer) => answer.request().method() === "POST");
  await page.evaluate("document.forms[0].submit()");
  await answered;
  await page.waitForLoadState();
  found.said = await page.locator("body").innerText();
  await load();
  found.fetched = await page.evaluate(async (url) => {
    const type = { "Content-Type": "application/x-www-form-urlencoded" };
    const answer = await fetch(url, { method: "POST", mode: "no-cors", headers: type, body: "minutes=30" })
      .catch((error) => error);
    return String(answer.type || answer);
  }, DEED);
  say(found);
});
