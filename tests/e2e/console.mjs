// The console in a real browser against a server on E2E_PORT: every page is clicked through, as a person would, at the
// size of a desk and of a phone, with scripts and without. Pictures are kept in `screenshots`. `cargo xtask e2e` runs it.

import assert from "node:assert/strict";
import { mkdirSync } from "node:fs";
import { get } from "node:http";
import { createServer } from "node:net";
import { Redis } from "ioredis";
import { chromium } from "playwright-core";

const redis = new Redis({ port: Number(process.env.E2E_PORT) });
const folder = "screenshots";
const browserPath = process.env.CHROMIUM ?? "/usr/bin/chromium";

async function freePort() {
  const server = createServer();
  await new Promise((done) => server.listen(0, "127.0.0.1", done));
  const { port } = server.address();
  await new Promise((done) => server.close(done));
  return port;
}

async function fill() {
  const pipeline = redis.pipeline();
  for (let number = 0; number < 3000; number += 1) pipeline.set(`user:${number}:name`, `name ${number}`);
  for (let number = 0; number < 500; number += 1) pipeline.rpush("queue", `job ${number}`);
  for (let number = 0; number < 300; number += 1) pipeline.hset("profile", `field ${number}`, `value ${number}`);
  for (let number = 0; number < 50; number += 1) pipeline.zadd("scores", number, `member ${number}`);
  for (let number = 0; number < 40; number += 1) pipeline.xadd("events", "*", "kind", "click", "number", number);
  pipeline.sadd("tags", "red", "green", "blue");
  pipeline.set("document", JSON.stringify({ name: "Ann", tags: ["a", "b"] }));
  pipeline.set("temporary", "soon gone", "EX", 3600);
  pipeline.set(Buffer.from([0, 255, 60, 98, 62]), Buffer.from([1, 2, 3, 255]));
  pipeline.set("large", Buffer.alloc(64 << 20, "x"));
  await pipeline.exec();
  await redis.call("ACL", "SETUSER", "ann", "on", ">secret", "allkeys", "+@all", "-flushall");
  await redis.call("ACL", "SETUSER", "bob", "on", ">secret", "~user:*", "+@read", "+select");
}

class Visitor {
  constructor(page, base) {
    Object.assign(this, { page, base, faults: [] });
    page.on("pageerror", (error) => this.faults.push(`a script failed: ${error}`));
    page.on("console", (message) => {
      if (message.type() === "error" && !message.text().includes("403")) this.faults.push(message.text());
    });
    page.on("request", (request) => {
      const url = request.url();
      if (!url.startsWith(base) && !url.startsWith("data:")) this.faults.push(`a request to elsewhere: ${url}`);
    });
  }

  async picture(name) {
    await this.page.screenshot({ path: `${folder}/${name}.png`, fullPage: true });
  }

  async logIn(user, password) {
    await this.page.goto(`${this.base}/`);
    await this.page.getByLabel("User").fill(user);
    await this.page.getByLabel("Password").fill(password);
    await this.page.getByRole("button", { name: "Log in" }).click();
  }

  async open(name) {
    await this.page.getByRole("navigation").getByRole("link", { name, exact: true }).click();
    await this.sees(name);
  }

  async sees(text) {
    await this.page.getByText(text).first().waitFor({ timeout: 20000 });
  }

  async run(line) {
    await this.page.getByLabel("Command").fill(line);
    await this.page.getByLabel("Command").press("Enter");
    await this.page.waitForLoadState("load");
  }
}

async function wrongPassword(visitor) {
  await visitor.logIn("ann", "wrong");
  await visitor.sees("There is no such user with that password.");
  await visitor.picture("login-refused");
}

async function overview(visitor) {
  await visitor.logIn("ann", "secret");
  await visitor.sees("Commands a second");
  await visitor.page.locator("figure path").first().waitFor({ state: "attached", timeout: 20000 });
  await visitor.picture("overview");
  const cookies = await visitor.page.context().cookies();
  assert.ok(cookies.every((it) => it.httpOnly && it.sameSite === "Strict"), JSON.stringify(cookies));
  const bytes = await visitor.page.evaluate(() =>
    [...performance.getEntriesByType("navigation"), ...performance.getEntriesByType("resource")]
      .filter((it) => !it.name.includes("/api/"))
      .reduce((sum, it) => sum + it.transferSize, 0),
  );
  assert.ok(0 < bytes && bytes <= 100 * 1024, `the first page takes ${bytes} bytes`);
}

async function keys(visitor) {
  const { page } = visitor;
  await visitor.open("Keys");
  await visitor.sees("were looked at");
  await visitor.picture("keys");
  await page.getByLabel("Pattern").fill("user:1?:name");
  await page.getByRole("button", { name: "Search" }).click();
  await visitor.sees("10 match");
  await page.getByLabel("Pattern").fill("*");
  await page.getByLabel("Type").selectOption("list");
  await page.getByRole("button", { name: "Search" }).click();
  await page.getByRole("link", { name: "queue" }).click();
  await visitor.sees("job 99");
  await visitor.picture("key-list");
  await page.getByRole("link", { name: "Further" }).click();
  await visitor.sees("job 199");
  await visitor.open("Keys");
  await page.getByRole("link", { name: "As a tree" }).click();
  await page.getByRole("link", { name: "user:…" }).click();
  await visitor.sees("user:10:…");
  await visitor.picture("tree");
}

async function key(visitor, name) {
  await visitor.page.goto(`${visitor.base}/console/key?db=0&key=${name}`);
}

async function everyType(visitor) {
  const { page } = visitor;
  for (const [name, text] of [["profile", "field 1"], ["scores", "member 7"], ["events", "kind: click"], ["tags", "green"]]) {
    await key(visitor, name);
    await visitor.sees(text);
    await visitor.picture(`key-${name}`);
  }
  await key(visitor, "document");
  await page.getByRole("link", { name: "JSON" }).click();
  await visitor.sees('"name": "Ann"');
  await page.getByRole("link", { name: "Hex" }).click();
  await visitor.sees("7b 22");
  await key(visitor, "%00%FF%3Cb%3E");
  await visitor.sees("\\x00\\xff<b>");
  await visitor.picture("key-binary");
  const begun = Date.now();
  await key(visitor, "large");
  await visitor.sees("67 108 864".replaceAll(" ", "\u2009"));
  assert.ok(Date.now() - begun < 10000, "a large value is shown in parts");
  await visitor.picture("key-large");
}

async function edit(visitor) {
  const { page } = visitor;
  await key(visitor, "fresh");
  await page.getByLabel("Text").fill("first\nsecond <b>");
  await page.getByRole("button", { name: "Set" }).click();
  await visitor.sees("second <b>");
  assert.equal(await redis.get("fresh"), "first\nsecond <b>");
  await page.getByLabel("Text").fill("changed");
  await page.getByRole("button", { name: "Save" }).click();
  await visitor.sees("changed");
  await page.getByLabel("Stays for seconds").fill("500");
  await page.getByRole("button", { name: "Set", exact: true }).click();
  await visitor.sees("8 min");
  await page.getByLabel("Text").fill("and again");
  await page.getByRole("button", { name: "Save" }).click();
  await visitor.sees("and again");
  assert.ok((await redis.ttl("fresh")) > 0, "saving keeps the deadline");
  await page.getByText("Delete", { exact: true }).click();
  await visitor.picture("key-edit");
  await page.getByRole("button", { name: "Delete this key" }).click();
  await page.waitForURL("**/console/keys?db=0");
  assert.equal(await redis.exists("fresh"), 0);
  await key(visitor, "tags");
  await page.getByRole("button", { name: "Remove green" }).click();
  await page.waitForLoadState("load");
  await page.getByLabel("Member").fill("yellow");
  await page.getByRole("button", { name: "Add" }).click();
  await visitor.sees("yellow");
  assert.deepEqual((await redis.smembers("tags")).sort(), ["blue", "red", "yellow"]);
}

async function deleteByPattern(visitor) {
  const { page } = visitor;
  await visitor.open("Delete by pattern");
  await page.getByLabel("Pattern").fill("user:1*");
  await page.getByRole("button", { name: "Count" }).click();
  await visitor.sees("Done.");
  await visitor.sees("1\u2009111 match, 0 deleted");
  assert.equal(await redis.exists("user:1:name"), 1);
  await visitor.picture("delete-counted");
  await page.getByLabel("Yes, delete these").check();
  await page.getByRole("button", { name: "Delete", exact: true }).click();
  await visitor.sees("1\u2009111 deleted");
  assert.equal(await redis.exists("user:1:name", "user:1999:name"), 0);
  assert.equal(await redis.exists("user:2:name"), 1);
}

async function commandLine(visitor) {
  const { page } = visitor;
  await visitor.open("Command line");
  await page.getByLabel("Command").fill("GETRANGE");
  await visitor.sees("GETRANGE key start end");
  await visitor.run("SET greeting 'hello world'");
  await visitor.sees("OK");
  await visitor.run("LRANGE queue 0 1");
  await visitor.sees('1) "job 0"');
  await visitor.picture("shell");
  await visitor.run("FLUSHDB");
  await visitor.sees("This command may do much harm");
  await visitor.picture("shell-asks");
  assert.notEqual(await redis.dbsize(), 0);
  await visitor.run("SUBSCRIBE news");
  await visitor.sees("is not for a command line");
  await visitor.run("FLUSHALL");
  await page.getByRole("button", { name: "Yes, run it" }).click();
  await visitor.sees("(error) NOPERM");
  await visitor.run("BLPOP nothing 30");
  await visitor.sees("no reply came in time");
  await visitor.run("GET greeting");
  await visitor.sees("hello world");
}

async function memory(visitor) {
  await visitor.open("Memory");
  await visitor.page.getByRole("button", { name: "Measure" }).click();
  await visitor.sees("The largest keys");
  await visitor.sees("64.0 MB");
  await visitor.picture("memory");
}

async function furtherPages(visitor) {
  const { page } = visitor;
  await redis.config("SET", "commandlog-execution-slower-than", 0);
  await redis.get("document");
  await redis.config("SET", "commandlog-execution-slower-than", 10000);
  const other = new Redis({ port: redis.options.port, connectionName: "victim", retryStrategy: null });
  await other.ping();
  const closed = new Promise((done) => other.once("end", done));
  for (const [name, text] of [
    ["Clients", "victim"], ["Slow and large", "get document"], ["Persistence", "Last save"], ["Replication", "Backlog"],
    ["Users", "user:*"], ["Configuration", "maxmemory-policy"],
  ]) {
    await visitor.open(name);
    if (name !== "Configuration") await visitor.sees(text);
    await visitor.picture(name.toLowerCase().replaceAll(" ", "-"));
  }
  await visitor.open("Clients");
  await page.getByLabel("Find").fill("name=victim");
  await page.getByRole("button", { name: "Find" }).click();
  await visitor.sees("1 match");
  await page.getByRole("button", { name: /^Close client/ }).click();
  await closed;
  await visitor.open("Configuration");
  await page.getByLabel("Name", { exact: true }).fill("timeout");
  await page.getByRole("button", { name: "Find" }).click();
  await page.getByLabel("timeout", { exact: true }).fill("1000");
  await page.locator("form", { has: page.locator("input[type=hidden][value=timeout]") }).getByRole("button", { name: "Set" }).click();
  await visitor.sees("set since the start");
  assert.deepEqual(await redis.config("GET", "timeout"), ["timeout", "1000"]);
  await visitor.open("Persistence");
  await page.getByRole("button", { name: "Save now" }).click();
  await visitor.sees("Last save");
}

async function readOnly(visitor) {
  const { page } = visitor;
  await redis.config("SET", "console-writable", "no");
  await key(visitor, "document");
  await visitor.sees("read only");
  assert.equal(await page.getByRole("button", { name: "Save" }).count(), 0);
  await visitor.open("Command line");
  await visitor.run("SET document x");
  await visitor.sees("Only commands that change nothing are run");
  await visitor.run("GET document");
  await visitor.sees("Ann");
  await redis.config("SET", "console-writable", "yes");
  await page.getByRole("button", { name: "Log out" }).click();
  await visitor.sees("Users are those of the server");
}

async function littleUser(visitor) {
  await visitor.logIn("bob", "secret");
  await visitor.sees("NOPERM");
  await visitor.open("Keys");
  await visitor.sees(":name");
  await key(visitor, "document");
  await visitor.sees("NOPERM");
  await visitor.picture("refused");
  await visitor.page.getByRole("button", { name: "Log out" }).click();
}

async function onPhone(browser, base) {
  const context = await browser.newContext({ viewport: { width: 390, height: 800 }, colorScheme: "dark", javaScriptEnabled: false });
  const visitor = new Visitor(await context.newPage(), base);
  await visitor.logIn("ann", "secret");
  await visitor.sees("Look-ups");
  for (const name of ["Overview", "Keys", "Clients", "Command line", "Configuration"]) {
    await visitor.open(name);
    await visitor.picture(`phone-${name.toLowerCase().replaceAll(" ", "-")}`);
  }
  await visitor.open("Command line");
  await visitor.run("GET document");
  await visitor.sees("Ann");
  await context.close();
  return visitor.faults;
}

async function byKeyboard(visitor) {
  const { page } = visitor;
  await visitor.logIn("ann", "secret");
  await page.waitForLoadState("load");
  await page.bringToFront();
  await page.keyboard.press("Tab");
  assert.equal(await page.evaluate(() => document.activeElement.textContent), "To the content");
  for (let presses = 0; presses < 30; presses += 1) {
    await page.keyboard.press("Tab");
    if ((await page.evaluate(() => document.activeElement.textContent)) === "Users") break;
  }
  await page.keyboard.press("Enter");
  await visitor.sees("You are ann");
}

async function fromElsewhere(base) {
  const post = (headers, body) => fetch(`${base}/console/login`, { method: "POST", headers, body, redirect: "manual" });
  const form = { "content-type": "application/x-www-form-urlencoded" };
  const answer = await post({ ...form, origin: "http://evil.example" }, "user=ann&password=secret");
  assert.equal(answer.status, 403);
  const good = await post(form, "user=ann&password=secret");
  assert.equal(good.status, 303);
  const cookie = good.headers.get("set-cookie").split(";")[0];
  const change = await fetch(`${base}/console/config`, { method: "POST", headers: { ...form, cookie }, body: "name=timeout&value=1", redirect: "manual" });
  assert.equal(change.status, 403, "a form without the token of the session");
  const api = (headers, body) => fetch(`${base}/api/v1/command`, { method: "POST", headers, body: JSON.stringify(body) });
  assert.equal((await api({ cookie, ...form }, { command: ["GET", "document"] })).status, 403);
  const json = { cookie, "content-type": "application/json" };
  const reply = await (await api(json, { command: ["HLEN", "profile"] })).json();
  assert.deepEqual(reply, { reply: 300 });
  const danger = await api(json, { command: ["FLUSHDB"] });
  assert.match((await danger.json()).error, /sure/);
  const basic = { authorization: `Basic ${btoa("ann:secret")}` };
  for (const place of ["overview", "metrics", "commands", "keys?pattern=user:2*", "key?key=scores", "clients", "logs", "users", "config", "jobs"]) {
    const response = await fetch(`${base}/api/v1/${place}`, { headers: basic });
    assert.equal(response.status, 200, place);
    await response.json();
  }
  assert.equal((await fetch(`${base}/api/v1/overview`)).status, 401);
  assert.equal(await statusAs("evil.example", basic), 403, "a name that another site may have given");
  assert.equal(await statusAs("localhost", basic), 200);
}

// The status of a request that calls the server by another name.
function statusAs(host, headers) {
  return new Promise((done, fail) => {
    const options = { host: "127.0.0.1", port: httpPort, path: "/api/v1/overview", headers: { ...headers, host } };
    get(options, (answer) => done(answer.resume().statusCode)).on("error", fail);
  });
}

mkdirSync(folder, { recursive: true });
const httpPort = await freePort();
const base = `http://127.0.0.1:${httpPort}`;
await redis.config("SET", "http-port", httpPort, "console-writable", "yes");
await fill();
const browser = await chromium.launch({ executablePath: browserPath, args: ["--no-sandbox"] });
try {
  const context = await browser.newContext({ viewport: { width: 1200, height: 800 } });
  const visitor = new Visitor(await context.newPage(), base);
  const steps = [
    wrongPassword, overview, keys, everyType, edit, deleteByPattern, commandLine, memory, furtherPages, readOnly, littleUser, byKeyboard,
  ];
  for (const step of steps) {
    try {
      if (process.env.VERBOSE) console.error(step.name, Math.round(performance.now()));
      await step(visitor);
    } catch (error) {
      await visitor.picture("failed");
      throw new Error(`${step.name}: ${error.stack}\n${await visitor.page.locator("body").innerText()}`);
    }
  }
  const faults = [...visitor.faults, ...(await onPhone(browser, base))];
  assert.deepEqual(faults, []);
  await fromElsewhere(base);
} finally {
  await browser.close();
}
await redis.config("SET", "http-port", 0, "console-writable", "no", "timeout", 0);
await redis.quit();
console.log("every page was clicked through");
