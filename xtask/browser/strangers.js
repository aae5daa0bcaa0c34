// Looks at pages on which strangers wrote; says what ran, and that the same text runs where nothing guards.
"use strict";
const { run, say } = require("./browser");

const [address, canary, ...paths] = process.argv.slice(2);

// What a script could do: a dialog, a global, a request; and what the browser refused to run.
const watch = async (browser) => {
  const context = await browser.newContext();
  const page = await context.newPage();
  const seen = { ran: [], refused: [] };
  page.on("dialog", (dialog) => {
    seen.ran.push(`dialog ${dialog.message()}`);
    dialog.dismiss();
  });
  page.on("request", (request) => {
    if (request.url().includes("canary-ran")) seen.ran.push(`request ${request.url()}`);
  });
  page.on("pageerror", (error) => seen.refused.push(`error ${error.message}`));
  page.on("console", (message) => {
    if (/Content Security Policy|violates/.test(message.text())) seen.refused.push(message.text());
  });
  const globals = async () => {
    const was = await page.evaluate("globalThis.canaryRan").catch(() => undefined);
    if (was !== undefined) seen.ran.push(`global ${was}`);
  };
  return { context, page, seen, globals };
};

run(async (browser) => {
  const found = { pages: {}, control: null };
  const look = async (path) => {
    const { context, page, seen, globals } = await watch(browser);
    const answer = await page.goto(address + path, { waitUntil: "load" });
    // A fetch of the page by its script may bring it in, too.
    if (await page.locator("[data-live]").count()) await page.waitForResponse((r) => r.url() === page.url());
    await globals();
    const text = await page.evaluate("document.documentElement.textContent");
    found.pages[path] = { status: answer.status(), shows: text.includes("canary-ran"), ...seen };
    await context.close();
  };
  await Promise.all(paths.map(look));
  const { context, page, seen, globals } = await watch(browser);
  // As a page of the dashboard's own address, without its escaping and its policy.
  await page.route(address, (route) => route.fulfill({ contentType: "text/html", body: `<title>${canary}` }));
  await page.goto(address);
  await page.waitForTimeout(300);
  await globals();
  found.control = seen.ran;
  await context.close();
  say(found);
});
