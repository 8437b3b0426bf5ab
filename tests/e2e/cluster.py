"""redis-py's RedisCluster against three primaries with a replica each (E2E_CLUSTER has their ports), whose writes a replica
confirms: what programs do every day, and then writers whose nodes fail over, are killed and lose slots. Whoever is killed is
started again by `cargo xtask e2e`, which runs this."""

import asyncio
import faulthandler
import os
import signal
import threading
import time

import redis
import redis.asyncio
from redis.backoff import NoBackoff
from redis.cluster import ClusterNode, LoadBalancingStrategy, RedisCluster
from redis.exceptions import RedisClusterException, ResponseError, WatchError
from redis.retry import Retry

PORTS = [int(port) for port in os.environ["E2E_CLUSTER"].split(",")]
LISTS = 200
WRITERS = 3

faulthandler.dump_traceback_later(120, exit=True)


def cluster(**options):
    nodes = [ClusterNode("127.0.0.1", port) for port in PORTS]
    return RedisCluster(startup_nodes=nodes, decode_responses=True, **options)


def direct(port):
    return redis.Redis(port=port, decode_responses=True)


def until(what, step):
    end = time.monotonic() + 45
    while time.monotonic() < end:
        try:
            result = step()
            if result:
                return result
        except (redis.RedisError, RedisClusterException, OSError):
            pass
        time.sleep(0.02)
    raise AssertionError(f"it never came: {what}")


def keys_of_all_slots(r):
    names = [f"key:{number}" for number in range(600)]
    for name in names:
        assert r.set(name, name, ex=1000)
    primaries = {"target_nodes": RedisCluster.PRIMARIES}
    assert r.dbsize(**primaries) == 600 and sorted(r.keys("key:*", **primaries)) == sorted(names)
    assert sorted(set(r.scan_iter("key:*", count=50))) == sorted(names)
    assert r.mget_nonatomic(names) == names
    assert r.mset_nonatomic({name: "other" for name in names[:50]})
    assert r.get("key:7") == "other" and r.get("key:70") == "key:70"
    assert r.exists(*names[:100]) == 100 and r.delete(*names) == 600 and r.dbsize(**primaries) == 0
    try:
        r.execute_command("MGET", "a", "b", target_nodes=r.get_node_from_key("a"))
        raise AssertionError("keys of several slots were taken")
    except (ResponseError, RedisClusterException) as error:
        assert "slot" in str(error), error


def every_type(r):
    assert r.mset({"{t}a": 1, "{t}b": 2}) and r.mget("{t}a", "{t}b", "{t}c") == ["1", "2", None]
    assert r.hset("hash", mapping={"f": "v"}) == 1 and r.hgetall("hash") == {"f": "v"}
    assert r.sadd("{t}s", 1, 2) == 2 and r.sadd("{t}o", 2, 3) == 2
    assert r.sinterstore("{t}i", "{t}s", "{t}o") == 1 and r.smembers("{t}i") == {"2"}
    assert r.zadd("z", {"a": 1, "b": 2}) == 2 and r.zrange("z", 0, -1) == ["a", "b"]
    assert r.xadd("{t}x", {"f": "v"}, id="1-1") == "1-1" and r.xgroup_create("{t}x", "g", "0")
    assert r.xreadgroup("g", "c", {"{t}x": ">"}) and r.xack("{t}x", "g", "1-1") == 1
    assert r.rename("{t}a", "{t}z") and r.get("{t}z") == "1"
    got = []
    waiter = threading.Thread(target=lambda: got.append(cluster().blpop("queue", timeout=30)))
    waiter.start()
    until("somebody waits", lambda: any(it["blocked_clients"] for it in r.info("clients", target_nodes=RedisCluster.PRIMARIES).values()))
    assert r.rpush("queue", "job") == 1
    waiter.join()
    assert [list(it) for it in got] == [["queue", "job"]], got


def pipelines(r):
    with r.pipeline() as pipe:
        for number in range(1000):
            pipe.incrby(f"count:{number}", number).get(f"count:{number}")
        replies = pipe.execute()
    assert [int(it) for it in replies] == [number for number in range(1000) for _ in range(2)]


def transactions(r):
    with r.pipeline(transaction=True) as pipe:
        pipe.watch("{a}n")
        pipe.multi()
        pipe.incr("{a}n").rpush("{a}l", "x").lrange("{a}l", 0, -1)
        assert pipe.execute() == [1, 1, ["x"]]
        pipe.watch("{a}n")
        r.set("{a}n", 5)
        pipe.multi()
        pipe.incr("{a}n")
        try:
            pipe.execute()
            raise AssertionError("a watch did not break")
        except WatchError:
            pass
    assert r.get("{a}n") == "5"


def scripts(r):
    script = r.register_script("redis.call('SET', KEYS[1], ARGV[1]) return redis.call('GET', KEYS[2])")
    for tag in "abcdef":
        assert script(keys=[f"{{{tag}}}one", f"{{{tag}}}one"], args=[tag]) == tag
    try:
        r.eval("return 1", 2, "a", "b")
        raise AssertionError("a script with keys of several slots ran")
    except (ResponseError, RedisClusterException) as error:
        assert "slot" in str(error), error
    code = "#!lua name=lib\nserver.register_function('own', function(keys, args) return redis.call('INCR', keys[1]) end)"
    r.function_load(code, replace=True)
    assert [r.fcall("own", 1, f"own:{number}") for number in range(20)] == [1] * 20


def messages(r):
    listener = cluster().pubsub()
    listener.subscribe("news")
    until("the subscription", lambda: listener.get_message(timeout=1))
    # A node other than that of the listener.
    others = [it for it in r.get_nodes() if it.port != listener.get_pubsub_node().port]
    for number, node in enumerate(others):
        r.execute_command("PUBLISH", "news", number, target_nodes=node)
    got = {until("a message", lambda: listener.get_message(timeout=1))["data"] for _ in others}
    assert got == {str(number) for number in range(len(others))}, got
    listener.close()
    shard = cluster().pubsub()
    channels = ["one", "two", "three", "four"]
    shard.ssubscribe(*channels)
    for _ in channels:
        until("the subscription", lambda: (m := shard.get_sharded_message(timeout=1)) and m["type"] == "ssubscribe")
    for channel in channels:
        r.spublish(channel, f"to {channel}")
    got = {until("a message", lambda: shard.get_sharded_message(timeout=1))["data"] for _ in channels}
    assert got == {f"to {channel}" for channel in channels}, got
    shard.close()


def reads_from_replicas(r):
    for number in range(60):
        r.set(f"read:{number}", number)
    # A replica has confirmed each, and there is one of each primary.
    reader = cluster(load_balancing_strategy=LoadBalancingStrategy.RANDOM_REPLICA)
    for number in range(60):
        assert reader.get(f"read:{number}") == str(number)
    stats = r.info("commandstats", target_nodes=RedisCluster.REPLICAS)
    assert all(0 < it["cmdstat_get"]["calls"] for it in stats.values()), stats
    reader.close()


def asynchronous(_):
    async def run():
        nodes = [redis.asyncio.cluster.ClusterNode("127.0.0.1", port) for port in PORTS]
        async with redis.asyncio.RedisCluster(startup_nodes=nodes, decode_responses=True) as r:
            await asyncio.gather(*(r.set(f"async:{number}", number) for number in range(200)))
            async with r.pipeline() as pipe:
                for number in range(200):
                    pipe.get(f"async:{number}")
                assert await pipe.execute() == [str(number) for number in range(200)]

    asyncio.run(run())


def write(number, confirmed, is_over):
    """Appends to lists, each element once: a client that tries again by itself would write some of them twice."""
    r = cluster(retry=Retry(NoBackoff(), 0))
    attempt = 0
    while not is_over.is_set():
        attempt += 1
        name, element = f"list:{attempt % LISTS}", f"{number}:{attempt}"
        try:
            r.rpush(name, element)
            confirmed.append((name, element))
        except (redis.RedisError, RedisClusterException, OSError):
            time.sleep(0.02)


def role(port):
    return direct(port).info("replication")["role"]


def owner(slot):
    for port in PORTS:
        try:
            for first, last, primary, *_ in direct(port).execute_command("CLUSTER", "SLOTS"):
                if first <= slot <= last:
                    return primary[1]
        except (redis.RedisError, OSError):
            pass
    return None


def is_well():
    for port in PORTS:
        node = direct(port)
        if "cluster_state:ok" not in node.execute_command("CLUSTER", "INFO"):
            return False
        state = node.info("replication")
        if state["role"] == "slave" and state["master_link_status"] != "up":
            return False
        if state["role"] == "master" and state["connected_slaves"] != 1:
            return False
    return True


def fail_over(slot):
    before = owner(slot)
    replica = next(p for p in PORTS if role(p) == "slave" and direct(p).info("replication")["master_port"] == before)
    until("a failover begins", lambda: direct(replica).execute_command("CLUSTER FAILOVER"))
    until("the replica is the primary", lambda: owner(slot) == replica)


def kill(slot):
    before = owner(slot)
    os.kill(direct(before).info("server")["process_id"], signal.SIGKILL)
    until("a replica takes its place", lambda: owner(slot) not in (before, None))


def move(slot):
    """As operators do it by hand."""
    source = owner(slot)
    target = next(port for port in PORTS if role(port) == "master" and port != source)
    here, there = direct(source), direct(target)
    ids = [it.execute_command("CLUSTER MYID") for it in (here, there)]
    assert there.execute_command("CLUSTER SETSLOT", slot, "IMPORTING", ids[0])
    assert here.execute_command("CLUSTER SETSLOT", slot, "MIGRATING", ids[1])
    while keys := here.execute_command("CLUSTER GETKEYSINSLOT", slot, 10):
        here.execute_command("MIGRATE", "127.0.0.1", target, "", 0, 5000, "KEYS", *keys)
    assert there.execute_command("CLUSTER SETSLOT", slot, "NODE", ids[1])
    assert here.execute_command("CLUSTER SETSLOT", slot, "NODE", ids[1])
    until("all know the owner", lambda: owner(slot) == target)


def writes_under_trouble(r):
    is_over, confirmed = threading.Event(), [[] for _ in range(WRITERS)]
    threads = [threading.Thread(target=write, args=(n, confirmed[n], is_over)) for n in range(WRITERS)]
    for thread in threads:
        thread.start()
    slot = r.keyslot("list:7")
    try:
        for trouble in (move, fail_over, kill, move):
            until("all is well", is_well)
            before = [len(it) for it in confirmed]
            trouble(slot)
            until("all writers go on", lambda: all(old + 20 < len(now) for old, now in zip(before, confirmed)))
        until("all is well", is_well)
    finally:
        is_over.set()
        for thread in threads:
            thread.join()
    lists = {f"list:{n}": r.lrange(f"list:{n}", 0, -1) for n in range(LISTS)}
    for name, elements in lists.items():
        assert len(set(elements)) == len(elements), f"{name} has elements twice"
    lost = [it for one in confirmed for it in one if it[1] not in lists[it[0]]]
    assert not lost, f"lost: {lost[:5]}"
    return sum(len(it) for it in confirmed)


parts = [
    keys_of_all_slots,
    every_type,
    pipelines,
    transactions,
    scripts,
    messages,
    reads_from_replicas,
    asynchronous,
]
for protocol in (2, 3):
    client = cluster(protocol=protocol)
    for part in parts:
        client.flushall()
        part(client)
client = cluster()
client.flushall()
count = writes_under_trouble(client)
print(f"{len(parts)} parts hold in a cluster with RESP2 and RESP3; {count} confirmed writes are there once after a failover, a kill and slots that moved")
