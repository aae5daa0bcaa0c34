// Does each action: "plain" with a mouse and without JavaScript, "keys" by the keyboard alone.
"use strict";
const { run, say } = require("./browser");

const [way, address, ...acts] = process.argv.slice(2);

const focused = () => {
  const { outlineStyle, outlineWidth } = getComputedStyle(document.activeElement);
  return {
    text: document.activeElement.textContent.trim(),
    visible: outlineStyle !== "none" && parseFloat(outlineWidth) >= 2,
  };
};

// Goes on with Tab to the button or link of this text.
const tabTo = async (page, name) => {
  for (let i = 0; i < 200; i += 1) {
    await page.keyboard.press("Tab");
    const { text, visible } = await page.evaluate(focused);
    const tag = await page.evaluate("document.activeElement.tagName");
    if (tag === "BODY") continue;
    if (!visible) throw new Error(`the focus is not to be seen on ${text}`);
    if (text === name) return;
  }
  throw new Error(`Tab leads to no ${name} on ${page.url()}`);
};

const press = {
  plain: async (page, name) => {
    const both = page.getByRole("link", { name, exact: true }).or(page.getByRole("button", { name, exact: true }));
    await both.first().click();
  },
  keys: async (page, name) => {
    await tabTo(page, name);
    await page.keyboard.press("Enter");
  },
};

run(async (browser) => {
  const context = await browser.newContext({ javaScriptEnabled: way !== "plain" });
  const page = await context.newPage();
  const done = [];
  for (const act of acts) {
    const [path, link, button] = act.split("|");
    await page.goto(address + path);
    await press[way](page, link);
    await page.waitForURL("**/control/**");
    const form = await page.locator("main").innerText();
    await press[way](page, button);
    await page.waitForURL(address + path);
    done.push({ form, told: await page.locator(".banner.done").innerText() });
  }
  const fixed = {};
  for (const path of ["/", "/jobs", "/jobs/9", "/jobs/7/chunks/0", "/rejected"]) {
    await page.goto(address + path);
    fixed[path] = await page.locator("main").innerText();
  }
  say({ done, pages: fixed });
});
