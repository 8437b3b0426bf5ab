// ioredis against a server on E2E_PORT, in the ways that programs use it. `cargo xtask e2e` runs it.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { Redis } from "ioredis";

const port = Number(process.env.E2E_PORT);
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

// A user of its own, over TLS, with a certificate that the server asks for.
async function tlsAndUsers() {
  const file = (name) => readFileSync(process.env[name]);
  const ca = file("E2E_CA_CRT");
  const tls = { ca, cert: file("E2E_CLIENT_CRT"), key: file("E2E_CLIENT_KEY") };
  const rules = ["on", ">secret", "~anna:*", "&anna:*", "+@all", "-@dangerous", "+info"];
  await redis.call("ACL", "SETUSER", "anna", ...rules);
  const options = { port: Number(process.env.E2E_TLS_PORT), username: "anna", password: "secret" };
  const anna = new Redis({ ...options, tls });
  assert.equal(await anna.call("ACL", "WHOAMI"), "anna");
  await assert.rejects(anna.set("other", "x"), /NOPERM/);
  await assert.rejects(anna.flushall(), /NOPERM/);
  const large = "x".repeat(5_000_000);
  assert.equal(await anna.set("anna:large", large), "OK");
  assert.equal(await anna.get("anna:large"), large);
  const pipeline = anna.pipeline();
  for (let number = 0; number < 2000; number += 1) pipeline.incr("anna:n");
  const replies = await pipeline.exec();
  replies.forEach(([error, reply], index) => assert.deepEqual([error, reply], [null, index + 1]));
  const listener = anna.duplicate();
  const heard = new Promise((resolve) => listener.on("message", (_, text) => resolve(text)));
  await listener.subscribe("anna:news");
  assert.equal(await anna.publish("anna:news", "hello"), 1);
  assert.equal(await heard, "hello");
  // Whoever has a wrong password, or shows no certificate, gets nothing.
  const refused = async (what) => {
    const client = new Redis({ ...options, tls, lazyConnect: true, retryStrategy: null, ...what });
    client.on("error", () => {});
    await assert.rejects(client.connect().then(() => client.get("anna:n")));
    client.disconnect();
  };
  await refused({ password: "wrong" });
  await refused({ tls: { ca } });
  // A quota slows it down, or tells it so, and nobody else.
  await redis.call("QUOTA", "SET", "user", "anna", "ops=100/s", "burst=1");
  const begin = Date.now();
  for (let number = 0; number < 20; number += 1) await anna.get("anna:n");
  assert.ok(150 < Date.now() - begin);
  await redis.call("QUOTA", "SET", "user", "anna", "ops=1/m", "mode=error");
  await anna.get("anna:n");
  await assert.rejects(anna.get("anna:n"), /THROTTLED .*retry after \d+ ms/);
  assert.equal(await redis.get("anna:n"), "2000");
  await redis.call("QUOTA", "DEL", "user", "anna");
  // It goes with its user.
  const closed = new Promise((resolve) => anna.once("close", resolve));
  anna.on("error", () => {});
  await redis.call("ACL", "DELUSER", "anna");
  await closed;
  [anna, listener].forEach((client) => client.disconnect());
}

const parts =
  [stringsAndHashes, pipelines, transactions, blocking, scans, connections, tlsAndUsers];
for (const part of parts) {
  await redis.flushall();
  await part();
}
console.log(`${parts.length} parts hold with ioredis`);
process.exit(0);
