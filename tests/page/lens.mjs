// A report of a guest whose memory was read: the kernel's part is of a real guest (`findings/tests/recorded`),
// the way of its request and its log are made up.

import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";

const recorded = new URL("../../findings/tests/recorded/lock-chain-6.1.json", import.meta.url);

/** Lines as the kernel prints them. */
export const LOG = [
  "[    0.000000] Linux version 6.1.0-50-cloud-amd64",
  "[    5.101204] virtio_blk virtio2: [vdb] 32768 512-byte logical blocks (16.8 MB/16.0 MiB)",
  "[   17.204311] INFO: task app-writer-1:92 blocked for more than 10 seconds.",
  "[   17.204502] Call Trace:",
  "",
].join("\n");

const queue = (index, who, outstanding, more = {}) => ({
  index, name: `req.${index}`, avail_idx: 2, last_used_idx: 2 - outstanding, used_idx: 2 - outstanding, outstanding, who_owes: { who },
  qemu: [0, 1004].map((at_ms) => ({ at_ms, inuse: outstanding, last_avail_idx: 2, used_idx: 2 - outstanding })), ...more,
});

const device = (n, disk, backend, queues, who) => ({
  name: `virtio${n}`, driver: "virtio_blk", address: `0000:00:0${n + 2}.0`, serves: [disk], matched_by: "ring-address",
  qemu_path: `/machine/peripheral/disk${n - 1}/virtio-backend`, backend: [backend],
  threads: [{ tid: 6955, comm: "qemu-system-x86", state: "S", wchan: "do_poll", cpu_percent: 3 }], queues, who_owes: { who },
});

/** Puts a look at memory into a report; `text`, where given, stands wherever a guest chooses a text. Gives the
 *  contents to upload with it. */
export function withLens(manifest, facts, text) {
  // Addresses are larger than what a number holds here: their last digits tell them apart as well.
  const kernel = readFileSync(recorded, "utf8").replace(/\d{16,}/g, (it) => String(Number(it.slice(-15))));
  facts.kernel = JSON.parse(kernel);
  const { look, tasks, blocked } = facts.kernel;
  const request = { disk: text ?? "vdb", operation: "read", sector: 0, bytes: 4096, tag: 1, age_ms: 2236, inode: [text ?? "bdev", 7], waiters: [96] };
  facts.kernel.border = {
    devices: [
      device(1, text ?? "vda", text ?? "/var/lib/images/root.qcow2", [queue(0, "nobody", 0)], "nobody"),
      device(2, text ?? "vdb", text ?? "nbd+unix:///spare?socket=/run/nbd.sock", [
        queue(0, "nobody", 0),
        queue(1, "host-storage", 1, { since_ms: 2236, requests: [request], evidence: [text ?? "QEMU holds 1 request, and answered none in 1004 ms"] }),
      ], "host-storage"),
    ],
  };
  if (text) {
    for (const it of [...tasks, ...blocked]) it.comm = it.command_line = text;
    for (const it of look.waits.edges) it.object_name = text;
    for (const it of look.machine.disks) it.name = text;
    for (const it of look.machine.mounts.mounts) it.path = it.source = text;
    look.machine.system.command_line = look.machine.system.node = text;
    look.problems = [text];
  }
  const sign = (it) => ({ source: "capture:memory", text: it, supports: true });
  const holder = text ?? "lock-holder (pid 96)";
  manifest.incident.findings = [{
    code: "VW1303", rule: "lock-chain", class: "lock-wait", confidence: "likely",
    evidence: [sign(`app-writer-1 (pid 92) waits for a mutex at 0xff1327ec145959f8 held by ${holder}, for 2.2 s: its list of waiters holds the task`)],
    details: { waiters: "2 tasks", verb: "wait", root: holder, does: "waits for a page of a file", since: "2.3 s", longest: "2.2 s", pid: "96", disk: text ?? "vdb" },
  }];
  const log = Buffer.from(text ? `${LOG}[   18.0] ${text}\n` : LOG);
  const [like] = manifest.artifacts;
  manifest.artifacts.push({
    kind: "kernel-log", media_type: "text/plain", sha256: createHash("sha256").update(log).digest("hex"), size: log.length, sensitivity: "text",
    provenance: { ...like.provenance, capture: "memory", rung: "L1" },
  });
  return [log];
}
