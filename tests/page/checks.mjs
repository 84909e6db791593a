// What a person does on the pages, one function each, in this order.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createHash } from "node:crypto";
import { HOST, HOSTILE } from "./agent.mjs";
import { LOG, withLens } from "./lens.mjs";

const check = (title, run) => Object.assign(run, { title });
const PAGES = [["overview", "/"], ["guests", "/guests"], ["incidents", "/incidents"], ["hosts", "/hosts"]];

/** The made-up guests; the first two are in trouble. */
const guests = (open) => [
  { n: 1, name: "recorded-1", well: false, incident: open },
  { n: 2, name: HOSTILE, well: false },
  { n: 3, name: "web-1" },
  { n: 4, name: "db-replica", state: "paused" },
  { n: 5, name: "lens-1", well: false },
];

export const a_controller_without_guests = check("an empty controller says what to do", async (looker, world) => {
  const page = await looker.open();
  for (const [name, path] of PAGES) {
    await looker.go(path);
    await looker.isSound(name);
  }
  await looker.go("/");
  assert.match(await page.locator("h1").textContent(), /No guest is known/);
  await looker.shot("empty");
});

export const b_reports_arrive = check("an agent's reports and guests are there", async (looker, world) => {
  const { agent } = world;
  await agent.hello();
  world.incident = await agent.report(1, "recorded-1");
  world.hostile = await agent.report(2, HOSTILE, undefined, (manifest, facts) => {
    const console_ = facts.observed.console;
    console_.tail = ["[    1.0] Linux", "[   17.2] BUG: unable to handle page fault </pre><script>window.hacked=3</script>", HOSTILE];
    console_.trouble = [{ kind: "oops", title: "BUG: unable to handle page fault", ago_ms: 3000, bytes: [0, 9], fatal: true }];
    const more = withLens(manifest, facts, HOSTILE);
    manifest.incident.findings[0].evidence[0].text = HOSTILE;
    manifest.incident.notice.scenario = HOSTILE;
    return more;
  });
  world.lens = await agent.report(5, "lens-1", undefined, (manifest, facts) => withLens(manifest, facts));
  await agent.status(guests(world.incident));
  const page = await looker.open();
  await looker.go("/");
  await page.getByRole("link", { name: /recorded-1/ }).first().waitFor();
});

export const c_list_and_filter = check("guests and incidents are listed and narrowed", async (looker, world) => {
  const page = await looker.open();
  await looker.go("/guests");
  const rows = page.locator("table.list tbody tr");
  const all = await rows.count();
  assert.ok(all >= 4, `${all} guests`);
  await page.getByLabel("name or id").fill("RECORDED-1");
  await page.getByRole("button", { name: "Narrow" }).click();
  await page.waitForURL(/q=RECORDED-1/);
  assert.equal(await rows.count(), 1);
  await page.getByRole("link", { name: "all", exact: true }).click();
  await page.getByLabel("state").selectOption("paused");
  await page.getByRole("button", { name: "Narrow" }).click();
  await page.waitForURL(/state=paused/);
  assert.match(await rows.first().textContent(), /db-replica.*paused/s);

  await looker.go("/incidents");
  await page.getByLabel("class").selectOption("lock-wait");
  await page.getByLabel("host").selectOption(HOST);
  await page.getByRole("button", { name: "Narrow" }).click();
  await page.waitForURL(/class=lock-wait/);
  assert.equal(await rows.count(), 3);
  await page.getByLabel("class").selectOption("panicked");
  await page.getByRole("button", { name: "Narrow" }).click();
  await page.waitForURL(/class=panicked/);
  assert.match(await page.locator(".empty").textContent(), /No incident is like that/);
  await looker.isSound("narrowed incidents");
});

export const d_open_and_fold = check("an incident is opened, its stacks folded and searched", async (looker, world) => {
  const page = await looker.open();
  await looker.go("/incidents");
  await page.getByRole("row", { name: /recorded-1/ }).getByRole("link", { name: /wait/ }).click();
  await page.waitForURL(new RegExp(world.incident));
  assert.match(await page.locator("h1").textContent(), /Tasks of the guest wait/);
  await page.getByRole("heading", { name: "Next steps" }).first().waitFor();
  assert.equal(await page.locator("ol.time .mark").count(), 1);
  assert.match(await page.locator("ol.time .mark").textContent(), /noticed/);
  const blocked = page.locator("stack-fold").first();
  const folds = blocked.locator("details");
  assert.match(await folds.first().locator("summary").textContent(), /2\s*D\s*waits for a mutex\s*app-writer-1 \(pid \d+\), app-writer-2/);
  const open = () => folds.evaluateAll((all) => all.filter((it) => it.open).length);
  assert.equal(await open(), 2);
  await blocked.getByRole("button", { name: "fold all", exact: true }).click();
  assert.equal(await open(), 0);
  await blocked.getByRole("button", { name: "unfold all" }).click();
  assert.equal(await open(), 2);
  await blocked.getByRole("searchbox").fill("lock-holder");
  assert.equal(await blocked.locator(".tasks > li:visible").count(), 1);
  assert.match(await blocked.locator("output").textContent(), /1 of 2/);
  const time = page.locator("header.chart time").first();
  const utc = await time.getAttribute("title");
  assert.match(utc, /UTC$/);
  // Berlin is an hour ahead of UTC in November.
  assert.notEqual(utc.slice(11, 19), (await time.textContent()).slice(11, 19));
  await page.getByRole("button", { name: "Times: local" }).click();
  assert.equal(utc.slice(11, 19), (await time.textContent()).slice(11, 19));
});

export const e_ladder = check("the steps are drawn, and told to who cannot see", async (looker, world) => {
  const page = await looker.open();
  await looker.go(`/incidents/${world.incident}`);
  const drawing = page.getByRole("img", { name: "Steps of the diagnosis on the safety ladder" });
  await drawing.scrollIntoViewIfNeeded();
  assert.match(await drawing.locator("desc").textContent(), /20 steps, up to rung L3: 15 done, 1 partial, 4 skipped/);
  assert.equal(await drawing.locator("path.skipped").count(), 4 + 1, "four steps and the legend");
  await page.locator("figure.ladder").screenshot({ path: world.shot("ladder") });
});

export const e_lens = check("who waits for whom and who owes whom are drawn, and told to who cannot see", async (looker, world) => {
  for (const [look, options] of [
    ["light", {}],
    ["dark", { colorScheme: "dark" }],
    ["narrow", { viewport: { width: 400, height: 800 } }],
  ]) {
    const page = await looker.open(options);
    await looker.go(`/incidents/${world.lens}`);
    assert.match(await page.locator("h1").textContent(), /2 tasks of the guest wait for lock-holder \(pid 96\)/);
    const drawing = page.getByRole("img", { name: "Who waits for whom" });
    await drawing.scrollIntoViewIfNeeded();
    assert.match(await drawing.locator("desc").textContent(), /2 tasks wait for lock-holder \(pid 96\), which waits for a page of a file/);
    assert.equal(await drawing.locator("rect.root").count(), 1);
    assert.match(await drawing.locator("text.name").nth(1).textContent(), /^root: lock-holder \(pid 96\)/);
    assert.equal(await drawing.locator("path.edge").count(), 3);
    assert.equal(await page.locator("#waits tbody tr").count(), 3);
    const owes = page.locator("#border .owes");
    assert.match(await owes.textContent(), /on the host.*owes the answer.*nbd\+unix/s);
    assert.equal(await page.locator("#border ol.way > li").count(), 4);
    assert.match(await page.locator("#kernel").textContent(), /6\.1\.0-50-cloud-amd64.*Run queues.*Memory and who has it.*Disks/s);
    await looker.isSound(`a look at memory, ${look}`);
    for (const part of ["waits", "border", "kernel"]) await page.locator(`#${part}`).screenshot({ path: world.shot(`${part}-${look}`) });
  }
  const page = looker.page;
  await page.locator("#kernel-log summary").click();
  assert.match(await page.locator("#kernel-log mark").first().textContent(), /blocked for more than 10 seconds/);
  const [saved] = await Promise.all([page.waitForEvent("download"), page.locator("#kernel-log a[download]").click()]);
  assert.equal(readFileSync(await saved.path(), "utf8"), LOG);
});

export const f_raw_artifact = check("a raw artifact is saved, never shown", async (looker, world) => {
  const page = await looker.open();
  await looker.go(`/incidents/${world.incident}`);
  const row = page.locator("#artifacts tr", { hasText: "console-tail/console" });
  const link = row.getByRole("link");
  const [saved] = await Promise.all([page.waitForEvent("download"), link.click()]);
  const bytes = readFileSync(await saved.path());
  const href = await link.getAttribute("href");
  assert.equal(createHash("sha256").update(bytes).digest("hex"), href.split("/").pop());
  assert.match(bytes.toString(), /app: label/);
  const answer = await page.request.get(world.url + href);
  assert.match(answer.headers()["content-disposition"], /^attachment/);
  assert.equal(answer.headers()["content-type"], "application/octet-stream");
  assert.equal(answer.headers()["x-content-type-options"], "nosniff");
  const withheld = page.locator("#artifacts tr", { hasText: "wire-log" });
  assert.match(await withheld.textContent(), /withheld by the host's configuration/);
  assert.equal(await withheld.getByRole("link").count(), 0);
});

export const g_hostile_text = check("a guest's text is shown for what it is and does nothing", async (looker, world) => {
  const page = await looker.open();
  for (const path of ["/", "/guests", "/incidents", "/guests/00000000-0000-4000-8000-000000000002", `/incidents/${world.hostile}`]) {
    await looker.go(path);
    const text = await page.locator("body").innerText();
    assert.ok(text.includes("<script>window.hacked=1</script>\\u{202e}gpj.exe\\e]0;x\\u{7}<img"), path);
    const html = await page.content();
    assert.doesNotMatch(html, /[\u202e\u001b\u0007]/, path);
    assert.equal(await page.locator("main script, main img").count(), 0, path);
    await looker.isSound(path);
  }
  assert.match(await page.locator("#console mark").first().textContent(), /BUG: unable to handle page fault/);
  assert.equal(await page.locator("#console .why").first().textContent(), "oops");
  // Its name in a filter, an address and the title of the window.
  await looker.go(`/guests?q=${encodeURIComponent(HOSTILE)}`);
  assert.equal(await page.evaluate(() => window.hacked), undefined);
  await looker.shot("hostile");
});

export const h_live = check("a second fault appears by itself and folds stay as they are", async (looker, world) => {
  const page = await looker.open();
  await looker.go("/");
  await page.locator("#live-state.on").waitFor();
  await looker.shot("before-second-fault");
  const listed = page.locator("section[aria-labelledby=open] tbody tr");
  const before = await listed.count();
  world.second = await world.agent.incident(3, "web-1", "opened", "app-label failed: no label for 5.5 s");
  await listed.filter({ hasText: "web-1" }).first().waitFor();
  assert.ok((await listed.count()) > before);
  // Polite words for who cannot see it.
  assert.match(await page.locator("live-updates [aria-live=polite]").textContent(), /web-1/);
  await looker.shot("after-second-fault");

  // The page of an incident without a report fills itself when that comes.
  await looker.go(`/incidents/${world.second}`);
  await page.locator("#live-state.on").waitFor();
  await looker.isSound("an incident without a report");
  await looker.shot("waiting");
  assert.match(await page.locator(".note").textContent(), /not here yet/);
  await world.agent.report(3, "web-1", world.second);
  await page.getByRole("heading", { name: "Steps taken" }).waitFor();

  // What a reader has unfolded stays so when the incident is closed meanwhile.
  await page.locator("#live-state.on").waitFor();
  const fold = page.locator("details", { hasText: "the same as a table" });
  await fold.locator("summary").click();
  await page.evaluate(() => scrollTo(0, 600));
  await world.agent.incident(3, "web-1", "closed", "the guest is well again", world.second);
  await page.locator("header.chart .badge", { hasText: "closed" }).waitFor();
  assert.ok(await fold.evaluate((it) => it.open), "an unfolded table was folded");
  assert.ok(await page.evaluate(() => Math.abs(scrollY - 600) < 80), "the page jumped");
  assert.ok(await fold.evaluate((it) => it.contains(document.activeElement)), "the focus was lost");
});

export const i_without_script = check("everything works without a script", async (looker, world) => {
  const page = await looker.open({ javaScriptEnabled: false });
  await page.goto(world.url);
  await page.getByRole("link", { name: "Incidents", exact: true }).click();
  await page.getByLabel("guest, words or id").fill("recorded-1");
  await page.getByRole("button", { name: "Narrow" }).click();
  await page.getByRole("row", { name: /recorded-1/ }).getByRole("link", { name: /wait/ }).click();
  await page.locator("#tasks details summary").first().click();
  assert.equal(await page.locator("stack-fold .tools").count(), 0);
  assert.equal(await page.locator("#live-state").isVisible(), false);
  assert.match(await page.locator("header.chart time").first().textContent(), /Z$/);
  const [saved] = await Promise.all([page.waitForEvent("download"), page.locator("#artifacts a[download]").first().click()]);
  assert.ok(await saved.path());
  await looker.shot("without-script");
});

export const j_every_page = check("every page is sound: light, dark, narrow, by keyboard", async (looker, world) => {
  const all = [
    ...PAGES,
    ["guest", "/guests/00000000-0000-4000-8000-000000000001"],
    ["incident", `/incidents/${world.incident}`],
  ];
  for (const [look, options] of [
    ["light", {}],
    ["dark", { colorScheme: "dark" }],
    ["narrow", { viewport: { width: 360, height: 740 } }],
  ]) {
    await looker.open(options);
    for (const [name, path] of all) {
      await looker.go(path);
      await looker.isSound(`${name}, ${look}`);
      await looker.shot(`${name}-${look}`);
    }
  }
  const page = await looker.open();
  await looker.go("/");
  await page.keyboard.press("Tab");
  assert.equal(await page.evaluate(() => document.activeElement.className), "skip");
  await page.keyboard.press("Enter");
  assert.equal(await page.evaluate(() => document.activeElement.id), "main");
  await page.emulateMedia({ media: "print" });
  await looker.go(`/incidents/${world.incident}`);
  await looker.shot("print");
});

export const k_errors = check("what is not there is a page for people and a problem for programs", async (looker, world) => {
  const page = await looker.open();
  const answer = await looker.go("/incidents/00000000-0000-4000-8000-00000000dead");
  assert.equal(answer.status(), 404);
  assert.equal(await page.locator(".status").textContent(), "404");
  await looker.isSound("an error");
  await looker.shot("error");
  const program = await page.request.get(`${world.url}/incidents/00000000-0000-4000-8000-00000000dead`, { headers: { accept: "application/json" } });
  assert.match(program.headers()["content-type"], /problem\+json/);
  const missing = await page.request.get(`${world.url}/nowhere`, { headers: { accept: "text/html" } });
  assert.equal(missing.status(), 404);
  assert.match(missing.headers()["content-type"], /text\/html/);
  const style = await page.locator("link[rel=stylesheet]").getAttribute("href");
  const sheet = await page.request.get(world.url + style);
  assert.match(sheet.headers()["cache-control"], /immutable/);
  // The browser itself tells of the page that is not there; nothing else may be wrong.
  looker.errors = looker.errors.filter((it) => !it.includes("404"));
});
