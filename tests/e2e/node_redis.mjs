// node-redis with its own cache (RESP3): a second look asks nobody, and a change is noticed. Also over TLS, as a user of
// its own.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createClient, BasicClientSideCache } from "redis";

const url = `redis://127.0.0.1:${process.env.E2E_PORT}`;
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

async function tlsAndUsers() {
  const file = (name) => readFileSync(process.env[name]);
  const ca = file("E2E_CA_CRT");
  const papers = { ca, cert: file("E2E_CLIENT_CRT"), key: file("E2E_CLIENT_KEY") };
  const rules = ["on", ">secret", "%R~shared:*", "~bert:*", "+@all", "-@admin"];
  await writer.sendCommand(["ACL", "SETUSER", "bert", ...rules]);
  const at = (password) => `rediss://bert:${password}@127.0.0.1:${process.env.E2E_TLS_PORT}`;
  const cache = new BasicClientSideCache({ ttl: 0, maxEntries: 100, evictPolicy: "LRU" });
  const options = { url: at("secret"), RESP: 3, clientSideCache: cache, socket: papers };
  const bert = await createClient(options).connect();
  assert.equal(await bert.aclWhoAmI(), "bert");
  await assert.rejects(bert.set("shared:a", "x"), /NOPERM/);
  await assert.rejects(bert.configGet("port"), /NOPERM/);
  await writer.set("shared:a", "one");
  for (let look = 0; look < 5; look += 1) assert.equal(await bert.get("shared:a"), "one");
  assert.equal(cache.stats().hitCount, 4);
  await writer.set("shared:a", "two");
  await until(async () => (await bert.get("shared:a")) === "two");
  const values = Array.from({ length: 500 }, (_, number) => `${number}`.repeat(1000));
  await Promise.all(values.map((value, number) => bert.set(`bert:${number}`, value)));
  assert.deepEqual(await bert.mGet(values.map((_, number) => `bert:${number}`)), values);
  const refused = async (url, socket) => {
    const client = createClient({ url, socket: { ...socket, reconnectStrategy: false } });
    client.on("error", () => {});
    await assert.rejects(client.connect().then(() => client.get("shared:a")));
  };
  await refused(at("wrong"), papers);
  await refused(at("secret"), { ca });
  bert.destroy();
}

const parts = [strings, collections, flush, tlsAndUsers];
for (const part of parts) {
  await part();
}
console.log(`${parts.length} parts hold with node-redis`);
process.exit(0);
