"""redis-py against a server on E2E_PORT, in the ways that programs use it. `cargo xtask e2e` runs it."""

import asyncio
import os
import threading
import time

import redis
import redis.asyncio
import redis.cache

PORT = int(os.environ["E2E_PORT"])


def client(**options):
    return redis.Redis(port=PORT, decode_responses=True, **options)


def strings_and_expiry(r):
    assert r.set("name", "value", ex=100) is True
    assert r.get("name") == "value" and 0 < r.ttl("name") <= 100
    assert r.set("name", "other", nx=True) is None
    assert r.set("name", "new", get=True) == "value"
    assert r.getex("name", persist=True) == "new" and r.ttl("name") == -1
    assert r.incrby("count", 5) == 5 and r.incrbyfloat("float", 1.5) == 1.5
    assert r.mset({"a": 1, "b": 2}) and r.mget("a", "none", "b") == ["1", None, "2"]
    assert r.setrange("text", 3, "x") == 4 and r.getrange("text", 3, -1) == "x"
    assert r.expire("a", 100, nx=True) and not r.expire("a", 200, nx=True)
    assert r.delete("a", "b", "none") == 2
    raw = redis.Redis(port=PORT)
    every_byte = bytes(range(256))
    raw.set("binary", every_byte)
    assert raw.get("binary") == every_byte
    raw.close()


def hashes_with_field_expiry(r):
    r.hset("hash", mapping={f"f{i}": i for i in range(1000)})
    assert r.hlen("hash") == 1000 and r.hgetall("hash")["f7"] == "7"
    assert r.hmget("hash", "f1", "none") == ["1", None]
    assert r.hexpire("hash", 100, "f1", "none") == [1, -2]
    assert 0 < r.httl("hash", "f1")[0] <= 100 and r.hpersist("hash", "f1") == [1]
    assert r.hpexpire("hash", 20, "f2") == [1]
    deadline = time.monotonic() + 30
    while r.hexists("hash", "f2"):
        assert time.monotonic() < deadline, "a field never expired"
        time.sleep(0.01)
    assert len(dict(r.hscan_iter("hash", count=100))) == 999
    assert len(r.hrandfield("hash", -5, withvalues=True)) in (5, 10)


def lists_and_blocking_pops(r):
    assert r.rpush("list", *range(10)) == 10 and r.lrange("list", -2, -1) == ["8", "9"]
    assert r.lpos("list", "3") == 3 and r.lmove("list", "other", "LEFT", "RIGHT") == "0"
    assert r.blpop(["none", "list"], timeout=1) == ("list", "1") or r.lindex("list", 0) == "2"
    assert r.blpop("none", timeout=0.05) is None
    assert r.lmpop(2, "none", "list", direction="LEFT", count=2)[0] == "list"
    got = []
    waiter = threading.Thread(target=lambda: got.append(client().blpop("queue", timeout=30)))
    waiter.start()
    deadline = time.monotonic() + 30
    while r.info("clients")["blocked_clients"] == 0:
        assert time.monotonic() < deadline, "nobody waits"
        time.sleep(0.005)
    r.rpush("queue", "job")
    waiter.join()
    assert list(got[0]) == ["queue", "job"], got


def pipelines_and_transactions(r):
    with r.pipeline(transaction=False) as pipe:
        for number in range(2000):
            pipe.set(f"key:{number}", number)
            pipe.get(f"key:{number}")
        replies = pipe.execute()
    assert replies[1::2] == [str(number) for number in range(2000)]
    with r.pipeline() as pipe:
        assert pipe.incr("n").incr("n").execute() == [1, 2]
        pipe.set("n", "text").incr("n").set("after", 1)
        replies = pipe.execute(raise_on_error=False)
        assert isinstance(replies[1], redis.ResponseError) and replies[2] is True

    def increment(pipe):
        current = int(pipe.get("watched") or 0)
        pipe.multi()
        pipe.set("watched", current + 1)

    def many(own):
        for _ in range(50):
            own.transaction(increment, "watched")

    threads = [threading.Thread(target=many, args=(r,)) for _ in range(4)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert r.get("watched") == "200"
    with r.pipeline() as pipe:
        pipe.watch("watched")
        r.set("watched", "changed")
        pipe.multi()
        pipe.get("watched")
        try:
            pipe.execute()
            raise AssertionError("the watched key was changed")
        except redis.WatchError:
            pass


def scans(r):
    r.flushdb()
    with r.pipeline(transaction=False) as pipe:
        [pipe.set(f"scan:{number}", number) for number in range(3000)]
        pipe.rpush("scanned list", 1)
        pipe.execute()
    assert len(set(r.scan_iter("scan:*", count=50))) == 3000
    assert list(r.scan_iter(_type="list")) == ["scanned list"]
    assert len(r.keys("*")) == r.dbsize() == 3001


def connections(r):
    pool = redis.ConnectionPool(port=PORT, max_connections=8, client_name="pooled", db=3)
    pooled = redis.Redis(connection_pool=pool)
    workers = [threading.Thread(target=lambda: [pooled.incr("n") for _ in range(100)]) for _ in range(8)]
    [worker.start() for worker in workers]
    [worker.join() for worker in workers]
    assert pooled.get("n") == b"800" and r.get("n") is None
    named = [it for it in r.client_list() if it["name"] == "pooled"]
    assert named and all(it["db"] == "3" for it in named)
    assert r.client_kill_filter(_id=named[0]["id"]) == 1
    pooled.ping()
    pool.disconnect()
    assert r.config_set("maxmemory-samples", 7) and r.config_get("maxmemory-s*") == {"maxmemory-samples": "7"}
    assert r.info()["redis_version"] and "GET" in r.execute_command("COMMAND DOCS GET").__str__().upper()
    assert r.lock("mutex", timeout=5).__class__.__name__ == "Lock"
    try:
        r.lpush("scanned", 1)
        r.get("scanned")
        raise AssertionError("a list is no string")
    except redis.ResponseError as error:
        assert "WRONGTYPE" in str(error)


def named_users(r):
    rights = dict(enabled=True, passwords=["+secret"], keys=["app:*"], channels=["news:*"],
                  categories=["+@all"], commands=["-flushall"], reset=True)
    assert r.acl_setuser("app", **rights)
    shown = r.acl_getuser("app")
    assert "on" in shown["flags"] and "-flushall" in shown["commands"], shown
    assert set(r.acl_users()) == {"app", "default"} and len(r.acl_genpass()) == 64
    user = client(username="app", password="secret", protocol=r.get_connection_kwargs().get("protocol", 2))
    assert user.acl_whoami() == "app" and user.set("app:1", 1) and user.publish("news:1", "x") == 0
    refused = [lambda: user.get("other"), lambda: user.flushall(), lambda: user.publish("x", "y"),
               lambda: user.eval("return redis.call('GET', 'other')", 0)]
    for attempt in refused:
        try:
            attempt()
            raise AssertionError("it may not")
        except redis.exceptions.NoPermissionError:
            pass
        except redis.ResponseError as error:
            assert "ACL failure in script" in str(error), error
    assert {entry["reason"] for entry in r.acl_log()} >= {"key", "command", "channel"} and r.acl_log_reset()
    try:
        client(username="app", password="wrong").ping()
        raise AssertionError("the password is wrong")
    except redis.exceptions.AuthenticationError:
        pass
    assert r.acl_deluser("app") == 1
    user.close()


def encrypted(r):
    """Over TLS, with a certificate that the server asks for, from threads and with pipelines."""
    options = {"port": int(os.environ["E2E_TLS_PORT"]), "ssl": True, "decode_responses": True,
               "ssl_ca_certs": os.environ["E2E_CA_CRT"]}
    known = {"ssl_certfile": os.environ["E2E_CLIENT_CRT"], "ssl_keyfile": os.environ["E2E_CLIENT_KEY"]}
    tls = redis.Redis(**options, **known)
    assert tls.set("large", "x" * 5_000_000) and len(tls.get("large")) == 5_000_000
    with tls.pipeline(transaction=False) as pipe:
        for number in range(5000):
            pipe.incr("n")
        assert pipe.execute()[-1] == 5000
    workers = [threading.Thread(target=lambda: [tls.incr("n") for _ in range(50)]) for _ in range(8)]
    [worker.start() for worker in workers], [worker.join() for worker in workers]
    assert r.get("n") == "5400"
    pubsub = tls.pubsub(ignore_subscribe_messages=True)
    pubsub.subscribe("channel")
    deadline = time.monotonic() + 30
    while r.publish("channel", "message") == 0:
        assert time.monotonic() < deadline, "nobody ever subscribed"
    message = None
    while message is None and time.monotonic() < deadline:
        message = pubsub.get_message(timeout=1)
    assert message["data"] == "message"
    pubsub.close(), tls.close()
    try:
        redis.Redis(**options).ping()
        raise AssertionError("a client without a certificate was let in")
    except redis.ConnectionError:
        pass


def client_side_caching():
    """redis-py's own cache: a second look asks nobody, and a change is noticed."""
    writer = client()
    reader = client(protocol=3, cache_config=redis.cache.CacheConfig(max_size=100))
    writer.mset({"cached": "one", "other": "1"})
    assert reader.get("cached") == "one" and reader.mget("cached", "other") == ["one", "1"]
    calls = lambda: writer.info("commandstats")["cmdstat_get"]["calls"]
    before = calls()
    assert all(reader.get("cached") == "one" for _ in range(10))
    assert calls() == before and reader.get_cache().size == 2
    for value in ("two", "three"):
        writer.set("cached", value)
        until(lambda: reader.get("cached") == value)
        assert reader.mget("cached", "other") == [value, "1"]
    writer.flushall()
    until(lambda: reader.get("cached") is None)
    reader.close()


def until(holds):
    """What is told by another connection may take a moment."""
    for _ in range(1000):
        if holds():
            return
        time.sleep(0.005)
    raise AssertionError("it never came")


async def asynchronous():
    r = redis.asyncio.Redis(port=PORT, decode_responses=True, protocol=3)
    replies = await asyncio.gather(*(r.incr("async") for _ in range(100)))
    assert sorted(replies) == list(range(1, 101))
    waiting = asyncio.create_task(r.blpop("async queue", timeout=30))
    await asyncio.sleep(0.01)
    await r.rpush("async queue", "job")
    assert list(await waiting) == ["async queue", "job"]
    await r.aclose()


def main():
    parts = [strings_and_expiry, hashes_with_field_expiry, lists_and_blocking_pops,
             pipelines_and_transactions, scans, connections, named_users, encrypted]
    for protocol in (2, 3):
        for part in parts:
            r = client(protocol=protocol)
            r.flushall()
            part(r)
            r.close()
    client().flushall()
    client_side_caching()
    asyncio.run(asynchronous())
    print(f"{2 * len(parts) + 2} parts hold with redis-py {redis.__version__}")


if __name__ == "__main__":
    main()
