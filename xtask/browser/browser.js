// What the scripts share: a browser over the dashboard, and talk with the test that started them. A script
// says one JSON document a line, and fails by an exception.
"use strict";
const { chromium } = require("playwright-core");
const input = require("node:readline").createInterface({ input: process.stdin })[Symbol.asyncIterator]();

// The machine has no network, and nothing but the pages is to be fetched.
const FLAGS = [
  "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
  "--disable-component-update", "--disable-sync",
  // An address that is not this machine's own, as browsers judge it (RFC 5737: nobody's).
  "--host-resolver-rules=MAP 203.0.113.7 127.0.0.1",
];

const say = (found) => process.stdout.write(`${JSON.stringify(found)}\n`);

// Says something, and waits until the test has done its part.
const ask = async (found) => {
  say(found);
  await input.next();
};

// Runs `work` with a browser; `work` has 100 s.
const run = async (work) => {
  setTimeout(() => {
    console.error("the script did not end within 100 s");
    process.exit(1);
  }, 100_000);
  const browser = await chromium.launch({ executablePath: program(), args: FLAGS, chromiumSandbox: false });
  try {
    await work(browser);
  } catch (error) {
    console.error(error);
    process.exitCode = 1;
  }
  await browser.close();
  process.exit();
};

const program = () => {
  const { CHROMIUM: name, PATH } = process.env;
  const places = PATH.split(":").map((directory) => `${directory}/${name}`);
  return places.find((place) => require("node:fs").existsSync(place));
};

module.exports = { ask, run, say };
