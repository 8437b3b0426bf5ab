// Trouble for those who write to a cluster (E2E_CLUSTER has the ports of its nodes): nodes fail over, are killed and lose
// slots. Whoever is killed is started again by `cargo xtask e2e`. In the end each confirmed write is there once.

import assert from "node:assert/strict";
import { Redis } from "ioredis";

export const ports = process.env.E2E_CLUSTER.split(",").map(Number);
const LISTS = 200;
const WRITERS = 3;
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

setTimeout(() => {
  console.error("it takes too long");
  process.exit(1);
}, 120_000).unref();

export async function until(what, step) {
  const end = Date.now() + 45_000;
  let last;
  while (Date.now() < end) {
    const result = await step().catch((error) => void (last = error));
    if (result) return result;
    await pause(20);
  }
  throw new Error(`it never came: ${what}: ${last ?? ""}`);
}

// One node, asked without a client of the cluster.
async function ask(port, ...words) {
  const options = { port, lazyConnect: true, retryStrategy: null, enableOfflineQueue: false };
  const node = new Redis(options);
  node.on("error", () => {});
  try {
    await node.connect();
    return await node.call(...words);
  } finally {
    node.disconnect();
  }
}

async function info(port, section) {
  const lines = (await ask(port, "INFO", section)).split("\r\n");
  return Object.fromEntries(lines.map((line) => line.split(":", 2)));
}

async function owner(slot) {
  for (const port of ports) {
    const ranges = await ask(port, "CLUSTER", "SLOTS").catch(() => []);
    for (const [first, last, primary] of ranges) {
      if (first <= slot && slot <= last) return primary[1];
    }
  }
  return undefined;
}

async function isWell() {
  for (const port of ports) {
    if (!/cluster_state:ok/.test(await ask(port, "CLUSTER", "INFO"))) return false;
    const state = await info(port, "replication");
    if (state.role === "slave" && state.master_link_status !== "up") return false;
    if (state.role === "master" && state.connected_slaves !== "1") return false;
  }
  return true;
}

async function failOver(slot) {
  const before = await owner(slot);
  for (const port of ports) {
    const state = await info(port, "replication");
    if (state.role !== "slave" || Number(state.master_port) !== before) continue;
    await until("a failover begins", () => ask(port, "CLUSTER", "FAILOVER"));
    await until("the replica is the primary", async () => (await owner(slot)) === port);
  }
}

async function kill(slot) {
  const before = await owner(slot);
  process.kill(Number((await info(before, "server")).process_id), "SIGKILL");
  const isReplaced = async () => ![before, undefined].includes(await owner(slot));
  await until("a replica takes its place", isReplaced);
}

// As operators do it by hand.
async function move(slot) {
  const source = await owner(slot);
  let target;
  for (const port of ports) {
    if (port !== source && (await info(port, "replication")).role === "master") target = port;
  }
  const [from, to] = [await ask(source, "CLUSTER", "MYID"), await ask(target, "CLUSTER", "MYID")];
  await ask(target, "CLUSTER", "SETSLOT", slot, "IMPORTING", from);
  await ask(source, "CLUSTER", "SETSLOT", slot, "MIGRATING", to);
  for (;;) {
    const keys = await ask(source, "CLUSTER", "GETKEYSINSLOT", slot, 10);
    if (keys.length === 0) break;
    await ask(source, "MIGRATE", "127.0.0.1", target, "", 0, 5000, "KEYS", ...keys);
  }
  await ask(target, "CLUSTER", "SETSLOT", slot, "NODE", to);
  await ask(source, "CLUSTER", "SETSLOT", slot, "NODE", to);
  await until("all know the owner", async () => (await owner(slot)) === target);
}

// `push(list, element)` must not try again by itself: it would write some elements twice. `read(list)` gives a list.
export async function writesUnderTrouble(push, read) {
  const confirmed = Array.from({ length: WRITERS }, () => []);
  let isOver = false;
  const writers = confirmed.map(async (own, number) => {
    for (let attempt = 0; !isOver; attempt += 1) {
      const [list, element] = [`list:${attempt % LISTS}`, `${number}:${attempt}`];
      const isPushed = await push(list, element).then(() => true, () => false);
      if (isPushed) own.push([list, element]);
      else await pause(20);
    }
  });
  const slot = await ask(ports[0], "CLUSTER", "KEYSLOT", "list:7");
  for (const trouble of [move, failOver, kill, move]) {
    await until("all is well", isWell);
    const before = confirmed.map((own) => own.length);
    await trouble(slot);
    const goOn = async () => confirmed.every((own, index) => before[index] + 20 < own.length);
    await until("all writers go on", goOn);
  }
  await until("all is well", isWell);
  isOver = true;
  await Promise.all(writers);
  const elements = new Set();
  for (let number = 0; number < LISTS; number += 1) {
    const found = await read(`list:${number}`);
    assert.equal(new Set(found).size, found.length, `list:${number} has elements twice`);
    for (const element of found) elements.add(`list:${number} ${element}`);
  }
  const all = confirmed.flat();
  const lost = all.filter(([list, element]) => !elements.has(`${list} ${element}`));
  assert.deepEqual(lost, []);
  return all.length;
}
