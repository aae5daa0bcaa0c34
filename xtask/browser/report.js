// Opens a written report as a file: what it asks for, what the console says, and its pictures before and after
// its box is ticked.
"use strict";
const { pathToFileURL } = require("node:url");
const { run, say } = require("./browser");

const url = pathToFileURL(process.argv[2]).href;

run(async (browser) => {
  const page = await browser.newPage();
  const [found, said] = [{ asked: [] }, []];
  page.on("console", (message) => said.push(message.text()));
  page.on("pageerror", (error) => said.push(error.message));
  page.on("request", (request) => {
    if (!request.url().startsWith("data:")) found.asked.push(request.url());
  });
  await page.goto(url, { waitUntil: "load" });
  const pictures = () => page.$$eval(".pictures img", (images) => images.map((image) => ({
    has_pixels: image.naturalWidth > 0, is_blurred: getComputedStyle(image).filter.startsWith("blur"),
  })));
  found.border = await page.$eval(".sheet", (sheet) => getComputedStyle(sheet).borderTopWidth);
  found.before = await pictures();
  await page.getByLabel("Show them without a blur").check();
  found.after = await pictures();
  found.asked = found.asked.filter((other) => other !== url);
  found.console = [...said];
  // The policy is in force: a style of somebody else is refused.
  const refusal = page.waitForEvent("console");
  await page.evaluate("document.head.append(Object.assign(document.createElement('style'), { textContent: 'p{}' }))");
  found.refusal = (await refusal).text();
  say(found);
});
