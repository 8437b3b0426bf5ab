// ioredis' Cluster against three primaries with a replica each, whose writes a replica confirms: what programs do every day, and
// then writers whose nodes fail over, are killed and lose slots. `cargo xtask e2e` runs it.

import assert from "node:assert/strict";
import { Cluster } from "ioredis";
import { ports, until, writesUnderTrouble } from "./trouble.mjs";

const nodes = ports.map((port) => ({ host: "127.0.0.1", port }));
function connect(options) {
  const cluster = new Cluster(nodes, options);
  cluster.on("error", () => {});
  return cluster;
}
const redis = connect();
const names = (count, of) => Array.from({ length: count }, (_, number) => `${of}:${number}`);

async function keysOfAllSlots() {
  const all = names(600, "key");
  await Promise.all(all.map((name) => redis.set(name, name, "EX", 1000)));
  assert.deepEqual(await Promise.all(all.map((name) => redis.get(name))), all);
  const found = new Set();
  for (const node of redis.nodes("master")) {
    for await (const keys of node.scanStream({ match: "key:*" })) {
      for (const key of keys) found.add(key);
    }
  }
  assert.equal(found.size, 600);
  await assert.rejects(redis.mget("a", "b"), /CROSSSLOT|same slot/);
}

async function everyType() {
  assert.equal(await redis.mset({ "{t}a": 1, "{t}b": 2 }), "OK");
  assert.deepEqual(await redis.mget("{t}a", "{t}b", "{t}c"), ["1", "2", null]);
  assert.equal(await redis.hset("hash", { f: "v" }), 1);
  assert.deepEqual(await redis.hgetall("hash"), { f: "v" });
  await redis.sadd("{t}s", 1, 2);
  await redis.sadd("{t}o", 2, 3);
  assert.equal(await redis.sinterstore("{t}i", "{t}s", "{t}o"), 1);
  assert.equal(await redis.zadd("z", 1, "a", 2, "b"), 2);
  assert.equal(await redis.xadd("{t}x", "1-1", "f", "v"), "1-1");
  assert.equal(await redis.xgroup("CREATE", "{t}x", "g", "0"), "OK");
  assert.equal((await redis.xreadgroup("GROUP", "g", "c", "STREAMS", "{t}x", ">")).length, 1);
  const waiter = connect();
  const waiting = waiter.blpop("queue", 30);
  const waits = async (node) => /blocked_clients:[1-9]/.test(await node.info("clients"));
  await until("somebody waits", async () => (await Promise.all(redis.nodes("master").map(waits))).includes(true));
  await redis.rpush("queue", "job");
  assert.deepEqual(await waiting, ["queue", "job"]);
  waiter.disconnect();
}

async function pipelinesAndTransactions() {
  const pipeline = redis.pipeline();
  for (let number = 0; number < 500; number += 1) pipeline.incr("{p}n").get("{p}n");
  const replies = await pipeline.exec();
  assert.deepEqual(replies.at(-1), [null, "500"]);
  const auto = connect({ enableAutoPipelining: true });
  const all = names(300, "auto");
  await Promise.all(all.map((name) => auto.set(name, name)));
  assert.deepEqual(await Promise.all(all.map((name) => auto.get(name))), all);
  auto.disconnect();
  const transaction = redis.multi().incr("{a}n").rpush("{a}l", "x").lrange("{a}l", 0, -1);
  assert.deepEqual(await transaction.exec(), [[null, 1], [null, 1], [null, ["x"]]]);
}

async function scripts() {
  redis.defineCommand("setAndGet", {
    numberOfKeys: 2,
    lua: "redis.call('SET', KEYS[1], ARGV[1]) return redis.call('GET', KEYS[2])",
  });
  for (const tag of "abcdef") {
    assert.equal(await redis.setAndGet(`{${tag}}one`, `{${tag}}one`, tag), tag);
  }
  await assert.rejects(redis.eval("return 1", 2, "a", "b"), /CROSSSLOT|same slot/);
}

async function messages() {
  const listener = connect();
  const got = [];
  listener.on("message", (channel, text) => got.push(`${channel} ${text}`));
  await listener.subscribe("news");
  for (const [number, node] of redis.nodes("all").entries()) await node.publish("news", number);
  await until("all messages", async () => got.length === ports.length);
  listener.disconnect();
  const shard = connect({ shardedSubscribers: true });
  const channels = ["one", "two", "three", "four"];
  const came = [];
  shard.on("smessage", (channel, text) => came.push(`${channel} ${text}`));
  await until("the cluster is known", async () => shard.status === "ready");
  for (const channel of channels) await shard.ssubscribe(channel);
  for (const channel of channels) await redis.spublish(channel, `to ${channel}`);
  await until("all messages", async () => came.length === channels.length);
  assert.deepEqual(came.sort(), channels.map((it) => `${it} to ${it}`).sort());
  shard.disconnect();
}

async function readsFromReplicas() {
  const all = names(60, "read");
  await Promise.all(all.map((name) => redis.set(name, name)));
  const reader = connect({ scaleReads: "slave" });
  assert.deepEqual(await Promise.all(all.map((name) => reader.get(name))), all);
  await until("the replicas are known", async () => reader.nodes("slave").length === 3);
  for (const node of reader.nodes("slave")) {
    assert.match(await node.info("commandstats"), /cmdstat_get:calls=[1-9]/);
  }
  reader.disconnect();
}

const parts = [
  keysOfAllSlots,
  everyType,
  pipelinesAndTransactions,
  scripts,
  messages,
  readsFromReplicas,
];
for (const part of parts) {
  await Promise.all(redis.nodes("master").map((node) => node.flushall()));
  await part();
}
await Promise.all(redis.nodes("master").map((node) => node.flushall()));
const writer = connect({ retryDelayOnFailover: 0 });
const count = await writesUnderTrouble(
  (list, element) => writer.rpush(list, element),
  (list) => redis.lrange(list, 0, -1),
);
console.log(
  `${parts.length} parts hold in a cluster; ${count} confirmed writes are there once after a failover, a kill and slots that moved`,
);
process.exit(0);
