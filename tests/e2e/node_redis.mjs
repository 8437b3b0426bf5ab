// node-redis with its own cache (RESP3): a second look asks nobody, and a change is noticed.
import assert from "node:assert/strict";
import { createClient, BasicClientSideCache } from "redis";

const url = `redis://127.0.0.1:${process.env.RUBINE_PORT}`;
const cache = new BasicClientSideCache({ ttl: 0, maxEntries: 100, evictPolicy: "LRU" });
const reader = await createClient({ url, RESP: 3, clientSideCache: cache }).connect();
const writer = await createClient({ url }).connect();

async function until(holds) {
  for (let look = 0; look < 1000; look += 1) {
    if (await holds()) return;
    await new Promise((done) => setTimeout(done, 5));
  }
  assert.fail("it never came");
}

async function strings() {
  await writer.set("cached", "one");
  assert.equal(await reader.get("cached"), "one");
  const before = cache.stats().hitCount;
  for (let look = 0; look < 10; look += 1) {
    assert.equal(await reader.get("cached"), "one");
  }
  assert.equal(cache.stats().hitCount, before + 10);
  await writer.set("cached", "two");
  await until(async () => (await reader.get("cached")) === "two");
}

async function collections() {
  await writer.hSet("hash", { field: "value" });
  assert.deepEqual({ ...(await reader.hGetAll("hash")) }, { field: "value" });
  await writer.multi().hSet("hash", "field", "other").rPush("list", "a").exec();
  await until(async () => (await reader.hGet("hash", "field")) === "other");
  assert.deepEqual(await reader.lRange("list", 0, -1), ["a"]);
  await writer.eval("return redis.call('RPUSH', KEYS[1], 'b')", { keys: ["list"] });
  await until(async () => (await reader.lLen("list")) === 2);
}

async function flush() {
  assert.equal(await reader.get("cached"), "two");
  await writer.flushAll();
  await until(async () => (await reader.get("cached")) === null);
}

const parts = [strings, collections, flush];
for (const part of parts) {
  await part();
}
console.log(`${parts.length} parts hold with node-redis`);
process.exit(0);
