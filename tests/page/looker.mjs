// One window of the browser, with what has to hold on every page: no error on the console, nothing
// fetched from elsewhere, nothing serious for axe, no sideways scrolling.

import assert from "node:assert/strict";
import { AxeBuilder } from "@axe-core/playwright";

const TIMEOUT = 20000;

export class Looker {
  errors = [];

  constructor(browser, world) {
    this.browser = browser;
    this.world = world;
  }

  async open(options = {}) {
    await this.context?.close();
    const usual = { viewport: { width: 1280, height: 900 }, timezoneId: "Europe/Berlin", colorScheme: "light" };
    this.context = await this.browser.newContext({ ...usual, ...options });
    this.context.setDefaultTimeout(TIMEOUT);
    this.page = await this.context.newPage();
    this.page.on("console", (it) => {
      if (it.type() === "error") this.errors.push(`console: ${it.text()}`);
    });
    this.page.on("pageerror", (it) => this.errors.push(`script: ${it}`));
    this.page.on("request", (it) => {
      if (new URL(it.url()).origin !== new URL(this.world.url).origin) this.errors.push(`fetched ${it.url()}`);
    });
    return this.page;
  }

  async go(path) {
    const answer = await this.page.goto(this.world.url + path, { waitUntil: "load" });
    const headers = answer.headers();
    assert.match(headers["content-security-policy"], /^default-src 'none'; style-src 'self'; script-src 'self';/);
    assert.doesNotMatch(headers["content-security-policy"], /unsafe/);
    assert.equal(headers["x-content-type-options"], "nosniff");
    assert.equal(headers["cross-origin-opener-policy"], "same-origin");
    assert.ok(headers["referrer-policy"]);
    return answer;
  }

  /** What must hold on each page, whoever looks. */
  async isSound(name) {
    const wide = await this.page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
    assert.ok(wide <= 0, `${name} is ${wide} px too wide`);
    const { violations } = await new AxeBuilder({ page: this.page }).analyze();
    const grave = violations.filter((it) => ["serious", "critical"].includes(it.impact));
    const told = grave.map((it) => `${it.id} (${it.impact}): ${it.nodes.map((n) => n.target.join(" ")).slice(0, 5).join("; ")}`);
    assert.deepEqual(told, [], `axe on ${name}`);
    assert.equal(await this.page.evaluate(() => window.hacked), undefined, `${name}: guest text was run`);
  }

  async shot(name) {
    await this.page.screenshot({ path: this.world.shot(name), fullPage: true });
  }

  async end() {
    await this.context?.close();
    assert.deepEqual(this.errors, []);
  }
}
