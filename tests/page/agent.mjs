// A small agent: sends a recorded report and made-up guests to a controller, as an agent would.

import { createHash } from "node:crypto";
import { readFileSync, readdirSync } from "node:fs";

const recorded = new URL("recorded/", import.meta.url);
const json = { "content-type": "application/json" };

export const HOST = "11111111-2222-4333-8444-555555555555";
/** What a guest may be called by whoever starts it. */
export const HOSTILE = "<script>window.hacked=1</script>\u202egpj.exe\u001b]0;x\u0007<img src=x onerror=window.hacked=2>";

const digest = (bytes) => createHash("sha256").update(bytes).digest("hex");
const id = (n) => `00000000-0000-4000-8000-${String(n).padStart(12, "0")}`;
/** Incidents are named by UUID v7: the first 48 bits are milliseconds. */
const incidentId = (at, n) => {
  const hex = at.toString(16).padStart(12, "0");
  return `${hex.slice(0, 8)}-${hex.slice(8)}-7000-8000-${String(n).padStart(12, "0")}`;
};

export class Agent {
  #events = 0;

  constructor(url) {
    this.url = url;
    this.began = Date.now();
  }

  async #send(method, path, headers, body) {
    const answer = await fetch(this.url + path, { method, headers, body, signal: AbortSignal.timeout(30000) });
    const text = await answer.text();
    if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${text}`);
    return text ? JSON.parse(text) : null;
  }

  hello() {
    const software = "vmward 0.1.0 (recorded)";
    const words = { host: HOST, host_name: "recorded-host", software, protocols: [1, 2], capabilities: ["artifact-resume", "guest-status"] };
    return this.#send("POST", "/api/hello", json, JSON.stringify(words));
  }

  /** `guests`: number, name, state, whether it is well, its open incident. */
  status(guests) {
    const at = this.stamp(0);
    const one = ({ n, name, state = "running", well = true, incident }) => ({
      guest: id(n),
      name,
      state,
      scenarios: [
        { name: "app-label", well, last: well ? "pass" : "fail: no label for 5.5 s (at most 2.0 s allowed)", at },
        { name: "shell-answers", well: true, last: "pass", at },
      ],
      ...(incident ? { incident } : {}),
    });
    const body = { host_name: "recorded-host", at, guests: guests.map(one) };
    return this.#send("PUT", `/api/v1/hosts/${HOST}/guests`, json, JSON.stringify(body));
  }

  stamp(ms) {
    return { utc: new Date(this.began + ms).toISOString(), mono_ms: 1_000_000 + ms };
  }

  /** Tells that an incident of a guest was opened, or moved on. Gives the incident's id. */
  async incident(n, name, what, summary, known) {
    const incident = known ?? incidentId(Date.now(), n);
    this.#events += 1;
    const event = {
      format: 1, seq: this.#events, at: this.stamp(Date.now() - this.began), severity: "ERROR", guest: id(n), guest_name: name,
      event: "incident", id: incident, what, summary,
    };
    await this.#send("POST", "/api/v1/events", json, JSON.stringify({ host: HOST, host_name: "recorded-host", events: [event] }));
    return incident;
  }

  /** Sends the recorded report as that of guest `n`. `change` may change its manifest and case first, and give
   *  contents of further artifacts. */
  async report(n, name, known, change = () => {}) {
    const manifest = JSON.parse(readFileSync(new URL("manifest.json", recorded)));
    const entry = manifest.artifacts.find((it) => it.kind === "case");
    const facts = JSON.parse(readFileSync(new URL(`artifacts/${entry.sha256}.txt`, recorded)));
    const incident = manifest.incident;
    incident.id = known ?? incidentId(Date.parse(incident.notice.at.utc), n);
    incident.guest = facts.guest = id(n);
    incident.guest_name = name;
    manifest.host = "recorded-host";
    const more = change(manifest, facts) ?? [];
    const bytes = Buffer.from(JSON.stringify(facts));
    entry.size = bytes.length;
    entry.sha256 = digest(bytes);
    for (const it of [bytes, ...more]) await this.#upload(it);
    const sent = new Set(more.map(digest));
    const here = new Set(readdirSync(new URL("artifacts/", recorded)));
    const withheld = new Set();
    for (const it of manifest.artifacts) {
      if (it === entry || sent.has(it.sha256)) continue;
      if (here.has(`${it.sha256}.txt`)) await this.#upload(readFileSync(new URL(`artifacts/${it.sha256}.txt`, recorded)));
      else withheld.add(it.sha256);
    }
    const commit = { host: HOST, manifest, withheld: [...withheld] };
    const receipt = await this.#send("PUT", `/api/v1/reports/${incident.id}`, json, JSON.stringify(commit));
    if (!["stored", "duplicate"].includes(receipt.outcome)) throw new Error(`the report was not taken: ${JSON.stringify(receipt)}`);
    return incident.id;
  }

  async #upload(bytes) {
    const path = `/api/v1/uploads/${digest(bytes)}`;
    const state = await this.#send("GET", path, {});
    if (state.stored) return;
    const kind = { "content-type": "application/octet-stream" };
    const query = `?offset=${state.offset}&size=${bytes.length}`;
    await this.#send("PUT", path + query, kind, bytes.subarray(state.offset));
  }
}
