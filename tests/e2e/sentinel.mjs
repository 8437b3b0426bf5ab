// ioredis with Sentinels: it finds the master and the replicas, and goes on with the new master after a failover.

import assert from "node:assert/strict";
import Redis from "ioredis";

const sentinels = process.env.E2E_SENTINELS.split(",").map((port) => ({
  host: "127.0.0.1",
  port: Number(port),
}));
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

async function until(what, step) {
  const end = Date.now() + 60_000;
  while (Date.now() < end) {
    const result = await step().catch(() => undefined);
    if (result) return result;
    await pause(20);
  }
  throw new Error(`it never came: ${what}`);
}

const group = { sentinels, name: "mymaster", sentinelRetryStrategy: () => 50 };
const master = new Redis(group);
const replica = new Redis({ ...group, role: "slave" });
const sentinel = new Redis(sentinels[0]);
for (const client of [master, replica, sentinel]) client.on("error", () => {});

const address = () => sentinel.call("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "mymaster");
const before = await until("a master", address);
assert.equal(await until("a write", () => master.set("node", "1")), "OK");
await until("the replica has it", async () => (await replica.get("node")) === "1");
await until("a failover begins", () => sentinel.call("SENTINEL", "FAILOVER", "mymaster"));
await until("another master", async () => (await address())[1] !== before[1]);
await until("writes are taken", () => master.set("node", "2"));
assert.equal(await master.get("node"), "2");
console.log("the master was found, and found again after a failover");
process.exit(0);
