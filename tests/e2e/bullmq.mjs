// bullmq, whose queues are scripts of Lua: workers, delayed and repeated jobs, priorities, flows, failures, and queues on
// several connections at once. And ioredis' own way of calling scripts.
import assert from "node:assert/strict";
import { FlowProducer, Queue, QueueEvents, Worker } from "bullmq";
import { Redis } from "ioredis";

const connection = { host: "127.0.0.1", port: Number(process.env.E2E_PORT) };
const closing = [];
const open = (it) => (closing.push(it), it);

async function until(what, holds) {
  for (let look = 0; look < 2000; look += 1) {
    if (await holds()) return;
    await new Promise((done) => setTimeout(done, 10));
  }
  assert.fail(`it never came: ${what}`);
}

async function jobs() {
  const queue = open(new Queue("jobs", { connection }));
  const done = new Map();
  const workers = [1, 2, 3].map(() => open(new Worker("jobs", async (job) => {
    done.set(job.id, (done.get(job.id) ?? 0) + 1);
    return job.data.number * 2;
  }, { connection, concurrency: 10 })));
  await Promise.all(workers.map((worker) => worker.waitUntilReady()));
  const added = await queue.addBulk(Array.from({ length: 500 }, (_, number) => ({ name: "double", data: { number } })));
  await until("all jobs are done", async () => (await queue.getJobCounts("completed")).completed === 500);
  assert.equal(done.size, 500);
  assert([...done.values()].every((count) => count === 1), "each job is done once");
  const last = await queue.getJob(added[499].id);
  assert.equal(last.returnvalue, 998);
}

async function delayedAndPriorities() {
  const queue = open(new Queue("later", { connection }));
  const order = [];
  await queue.add("late", {}, { delay: 400 });
  await queue.add("low", {}, { priority: 10 });
  await queue.add("high", {}, { priority: 1 });
  open(new Worker("later", async (job) => order.push(job.name), { connection }));
  await until("the delayed job", async () => order.length === 3);
  assert.deepEqual(order, ["high", "low", "late"]);
}

async function repeated() {
  const queue = open(new Queue("again", { connection }));
  let count = 0;
  open(new Worker("again", async () => { count += 1; }, { connection }));
  await queue.upsertJobScheduler("tick", { every: 100 }, { name: "tick" });
  await until("three repetitions", async () => 3 <= count);
  assert(await queue.removeJobScheduler("tick"));
}

async function failures() {
  const queue = open(new Queue("shaky", { connection }));
  const events = open(new QueueEvents("shaky", { connection }));
  await events.waitUntilReady();
  let attempts = 0;
  open(new Worker("shaky", async () => {
    attempts += 1;
    if (attempts < 3) throw new Error("not yet");
    return "at last";
  }, { connection }));
  const job = await queue.add("try", {}, { attempts: 5, backoff: { type: "fixed", delay: 50 } });
  assert.equal(await job.waitUntilFinished(events, 20_000), "at last");
  assert.equal(attempts, 3);
}

async function flows() {
  open(new Worker("children", async (job) => job.data.value, { connection }));
  const sums = [];
  open(new Worker("parents", async (job) => {
    const values = Object.values(await job.getChildrenValues());
    sums.push(values.reduce((sum, value) => sum + value, 0));
  }, { connection }));
  const flow = open(new FlowProducer({ connection }));
  await flow.add({
    name: "sum",
    queueName: "parents",
    children: [1, 2, 3].map((value) => ({ name: "value", queueName: "children", data: { value } })),
  });
  await until("the parent's sum", async () => sums[0] === 6);
}

async function commands() {
  const redis = open(new Redis({ ...connection, lazyConnect: false }));
  redis.close = () => redis.quit();
  redis.defineCommand("addTo", { numberOfKeys: 1, lua: "return redis.call('INCRBY', KEYS[1], ARGV[1])" });
  assert.equal(await redis.addTo("sum", 5), 5);
  const pipeline = redis.pipeline();
  for (let count = 0; count < 100; count += 1) pipeline.addTo("sum", 1);
  assert.equal((await pipeline.exec()).at(-1)[1], 105);
  await redis.script("FLUSH");
  assert.equal(await redis.addTo("sum", 1), 106);
}

const parts = { jobs, delayedAndPriorities, repeated, failures, flows, commands };
for (const part of Object.values(parts)) await part();
await Promise.all(closing.map((it) => it.close()));
console.log(`${Object.keys(parts).length} parts`);
