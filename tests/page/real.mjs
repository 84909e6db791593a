// What a person does while two guests of a real host break, one after the other. The first one has
// the fault `lock-chain` and its report is here; the second is broken when this asks for it.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";

const check = (title, run) => Object.assign(run, { title });

export const a_list = check("the broken guest is listed with its trouble", async (looker, world) => {
  const page = await looker.open();
  await looker.go(`/guests?q=${encodeURIComponent(world.guest)}`);
  // The host tells every few seconds how its guests are, and the open page follows.
  const row = page.getByRole("row", { name: new RegExp(world.guest) });
  await row.filter({ hasText: /running.*app-label fails.*open incident/s }).first().waitFor({ timeout: 60000 });
  await looker.isSound("guests");
  await looker.shot("real-guests");
});

export const b_open = check("its incident says what is wrong and shows the evidence", async (looker, world) => {
  const page = await looker.open();
  await looker.go("/incidents?class=lock-wait");
  await page.getByRole("row", { name: new RegExp(world.guest) }).getByRole("link", { name: /wait/ }).first().click();
  await page.locator("#verdict").waitFor();
  assert.match(await page.locator("header.chart").textContent(), /lock-wait.*tasks of the guest wait/is);
  const blocked = page.locator("stack-fold").first();
  const fold = blocked.locator("details").first();
  assert.match(await fold.locator("summary").textContent(), /D\s*waits for/);
  assert.ok(await fold.evaluate((it) => it.open));
  await fold.locator("summary").click();
  assert.ok(!(await fold.evaluate((it) => it.open)));
  await page.getByRole("img", { name: /safety ladder/ }).waitFor();
  await looker.isSound("incident");
  await looker.shot("real-incident");

  const link = page.locator("#artifacts tr", { hasText: "console-tail/console" }).getByRole("link");
  const [saved] = await Promise.all([page.waitForEvent("download"), link.click()]);
  const bytes = readFileSync(await saved.path());
  assert.equal(createHash("sha256").update(bytes).digest("hex"), (await link.getAttribute("href")).split("/").pop());
});

export const c_live = check("a second fault appears on the open page by itself", async (looker, world) => {
  const page = await looker.open();
  await looker.go("/");
  await page.locator("#live-state.on").waitFor();
  const listed = page.locator("section[aria-labelledby=open] tbody tr", { hasText: world.second });
  assert.equal(await listed.count(), 0);
  console.log("next: second fault");
  await listed.first().waitFor({ timeout: 180000 });
  await looker.shot("real-second-fault");
  await listed.locator(".badge", { hasText: "qemu-stuck" }).first().waitFor({ timeout: 180000 });
  await looker.isSound("overview");
  await looker.shot("real-second-report");
});
