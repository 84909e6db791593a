// Looks at the controller's pages as a person does, in a real browser.
//
//   node tests/page/run.mjs URL OUT [GUEST SECOND]
//
// URL is a controller that only this test uses; OUT gets the screenshots. With GUEST, a guest of that
// name is in trouble already, told by a real agent; the test then prints "next: second fault" and
// waits for whoever started it to break the guest SECOND. Without, what is needed is sent by HTTP.

import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { chromium } from "playwright-core";
import { Agent } from "./agent.mjs";
import { Looker } from "./looker.mjs";
import * as recorded from "./checks.mjs";
import * as real from "./real.mjs";

const [url, out, guest, second] = process.argv.slice(2);
if (!url || !out) throw new Error("usage: node run.mjs URL OUT [GUEST]");
mkdirSync(out, { recursive: true });

const args = [
  "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
  "--disable-background-networking", "--disable-component-update", "--disable-sync",
];
// A profile of its own, which goes with the browser.
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args });
let failed = 0;
try {
  const checks = guest ? real : recorded;
  const world = { url, out, guest, second, agent: new Agent(url), shot: (name) => join(out, `${name}.png`) };
  for (const check of Object.values(checks)) {
    const looker = new Looker(browser, world);
    try {
      await check(looker, world);
      await looker.end();
      console.log(`ok: ${check.title}`);
    } catch (error) {
      failed += 1;
      await looker.page?.screenshot({ path: world.shot(`failed-${failed}`) }).catch(() => {});
      await looker.context?.close().catch(() => {});
      console.log(`FAILED: ${check.title}\n${error.stack ?? error}`);
    }
  }
} finally {
  await browser.close();
}
if (failed > 0) process.exit(1);
console.log("all is well");
