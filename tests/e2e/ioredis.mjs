// ioredis against a server on RUBINE_PORT, in the ways that programs use it. `cargo xtask e2e` runs it.

import assert from "node:assert/strict";
import { Redis } from "ioredis";

const port = Number(process.env.RUBINE_PORT);
const redis = new Redis({ port, enableAutoPipelining: false });

async function stringsAndHashes() {
  assert.equal(await redis.set("name", "value", "EX", 100), "OK");
  assert.equal(await redis.get("name"), "value");
  assert.equal(await redis.set("name", "other", "NX"), null);
  assert.equal(await redis.incrby("count", 5), 5);
  await redis.mset({ a: 1, b: 2 });
  assert.deepEqual(await redis.mget("a", "none", "b"), ["1", null, "2"]);
  const bytes = Buffer.from(Array.from({ length: 256 }, (_, byte) => byte));
  await redis.set("binary", bytes);
  assert.deepEqual(await redis.getBuffer("binary"), bytes);
  await redis.hset("hash", { one: "1", two: "2" });
  assert.deepEqual(await redis.hgetall("hash"), { one: "1", two: "2" });
  assert.deepEqual(await redis.call("HEXPIRE", "hash", 100, "FIELDS", 2, "one", "none"), [1, -2]);
  await assert.rejects(redis.lpush("name", "x"), /WRONGTYPE/);
}

async function pipelines() {
  const pipeline = redis.pipeline();
  for (let number = 0; number < 2000; number += 1) {
    pipeline.set(`key:${number}`, number).get(`key:${number}`);
  }
  const replies = await pipeline.exec();
  replies.forEach(([error, reply], index) => {
    assert.equal(error, null);
    assert.equal(reply, index % 2 ? String((index - 1) / 2) : "OK");
  });
  const auto = new Redis({ port, enableAutoPipelining: true });
  const counts = await Promise.all(Array.from({ length: 200 }, () => auto.incr("auto")));
  assert.deepEqual(counts, Array.from({ length: 200 }, (_, index) => index + 1));
  await auto.quit();
}

async function transactions() {
  assert.deepEqual(await redis.multi().incr("n").incr("n").exec(), [[null, 1], [null, 2]]);
  await redis.watch("n");
  await redis.duplicate().set("n", "changed");
  assert.equal(await redis.multi().get("n").exec(), null);
  await assert.rejects(redis.multi().call("NONSENSE").set("x", 1).exec(), /EXECABORT/);
}

async function blocking() {
  const waiter = redis.duplicate();
  const waiting = waiter.blpop("none", "queue", 30);
  while (!/blocked_clients:1/.test(await redis.info("clients"))) {
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  await redis.rpush("queue", "job");
  assert.deepEqual(await waiting, ["queue", "job"]);
  assert.equal(await waiter.blmove("none", "target", "LEFT", "RIGHT", 0.05), null);
  waiter.disconnect();
}

async function scans() {
  await redis.flushdb();
  const pairs = Array.from({ length: 3000 }, (_, number) => [`scan:${number}`, number]).flat();
  await redis.mset(pairs);
  const seen = new Set();
  for await (const keys of redis.scanStream({ match: "scan:*", count: 100 })) {
    keys.forEach((key) => seen.add(key));
  }
  assert.equal(seen.size, 3000);
  await redis.hset("hash", pairs);
  let fields = 0;
  for await (const found of redis.hscanStream("hash")) {
    fields += found.length / 2;
  }
  assert.equal(fields, 3000);
}

async function connections() {
  const other = new Redis({ port, db: 5, connectionName: "e2e", keyPrefix: "app:" });
  await other.set("key", "value");
  assert.equal(await redis.exists("app:key"), 0);
  assert.match(await redis.client("LIST"), /name=e2e .*db=5/);
  const id = await other.client("ID");
  await redis.client("KILL", "ID", id);
  // It connects again by itself, and selects its database again.
  assert.equal(await other.get("key"), "value");
  other.disconnect();
}

const parts = [stringsAndHashes, pipelines, transactions, blocking, scans, connections];
for (const part of parts) {
  await redis.flushall();
  await part();
}
console.log(`${parts.length} parts hold with ioredis`);
process.exit(0);
