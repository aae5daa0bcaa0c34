// Judges pages with axe-core at WCAG 2.2 AA, light and dark, narrow and wide; also whether a page scrolls
// sideways.
"use strict";
const axe = require("axe-core").source;
const { ask, run, say } = require("./browser");

const [address, ...paths] = process.argv.slice(2);
const TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"];

const judge = async (page, path, found) => {
  const answer = await page.goto(address + path);
  await page.evaluate(axe);
  const judged = await page.evaluate((tags) => axe.run({ runOnly: tags }), TAGS);
  const place = `${answer.status()} ${path} ${page.viewportSize().width}`;
  for (const { id, nodes } of judged.violations) {
    found.violations.push(`${place}: ${id}: ${nodes.map((node) => node.html).slice(0, 3).join(" ")}`);
  }
  found.passes += judged.passes.length;
  const [wide, seen] = await page.evaluate("[document.documentElement.scrollWidth, innerWidth]");
  if (wide > seen) found.violations.push(`${place}: ${wide} px wide`);
};

const judgeAll = async (browser, paths) => {
  const found = { violations: [], passes: 0 };
  for (const colorScheme of ["light", "dark"]) {
    // The page's policy lets no script in; axe is ours.
    const context = await browser.newContext({ colorScheme, bypassCSP: true });
    const page = await context.newPage();
    for (const width of [360, 1440]) {
      await page.setViewportSize({ width, height: 900 });
      for (const path of paths) await judge(page, path, found);
    }
    await context.close();
  }
  return found;
};

run(async (browser) => {
  await ask(await judgeAll(browser, paths));
  // The database is away.
  say(await judgeAll(browser, ["/jobs/7", "/rejected?page=2"]));
});
