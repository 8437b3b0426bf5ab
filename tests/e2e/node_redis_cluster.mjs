// node-redis' cluster against three primaries with a replica each, whose writes a replica confirms: what programs do every day,
// and then writers whose nodes fail over, are killed and lose slots. `cargo xtask e2e` runs it.

import assert from "node:assert/strict";
import { createCluster } from "redis";
import { ports, until, writesUnderTrouble } from "./trouble.mjs";

const rootNodes = ports.map((port) => ({ url: `redis://127.0.0.1:${port}` }));
async function connect(options) {
  const cluster = createCluster({ rootNodes, ...options });
  cluster.on("error", () => {});
  cluster.on("node-error", () => {});
  await cluster.connect();
  return cluster;
}
const redis = await connect();
const names = (count, of) => Array.from({ length: count }, (_, number) => `${of}:${number}`);

async function ordinaryUse() {
  const all = names(300, "key");
  await Promise.all(all.map((name) => redis.set(name, name)));
  assert.deepEqual(await Promise.all(all.map((name) => redis.get(name))), all);
  await redis.mSet({ "{t}a": "1", "{t}b": "2" });
  assert.deepEqual(await redis.mGet(["{t}a", "{t}b", "{t}c"]), ["1", "2", null]);
  await redis.hSet("hash", { f: "v" });
  assert.deepEqual({ ...(await redis.hGetAll("hash")) }, { f: "v" });
  // Some commands the client takes apart by slot, others not.
  assert.deepEqual(await redis.mGet(all), all);
  await assert.rejects(redis.sInter(["a", "b"]), /CROSSSLOT/);
  const replies = await redis.multi().incr("{a}n").rPush("{a}l", "x").lRange("{a}l", 0, -1).exec();
  assert.deepEqual(replies, [1, 1, ["x"]]);
  const script = "redis.call('SET', KEYS[1], ARGV[1]) return redis.call('GET', KEYS[2])";
  const call = { keys: ["{s}a", "{s}a"], arguments: ["text"] };
  assert.equal(await redis.eval(script, call), "text");
}

async function messages() {
  const got = [];
  await redis.subscribe("news", (text) => got.push(text));
  await redis.publish("news", "one");
  await until("a message", async () => got.length === 1);
  const channels = ["one", "two", "three", "four"];
  for (const channel of channels) await redis.sSubscribe(channel, (text) => got.push(text));
  for (const channel of channels) await redis.sPublish(channel, `to ${channel}`);
  await until("all messages", async () => got.length === 1 + channels.length);
}

async function readsFromReplicas() {
  const reader = await connect({ useReplicas: true });
  for (let look = 0; look < 60; look += 1) assert.equal(await reader.get("key:7"), "key:7");
  reader.destroy();
}

const parts = [ordinaryUse, messages, readsFromReplicas];
for (const part of parts) await part();
const count = await writesUnderTrouble(
  (list, element) => redis.rPush(list, element),
  (list) => redis.lRange(list, 0, -1),
);
console.log(
  `${parts.length} parts hold in a cluster; ${count} confirmed writes are there once after a failover, a kill and slots that moved`,
);
process.exit(0);
