"""redis-py with Sentinels: it finds the master and the replicas, and goes on with the new master after a failover."""

import os
import time

import redis
from redis.sentinel import Sentinel

places = [("127.0.0.1", int(port)) for port in os.environ["E2E_SENTINELS"].split(",")]


def until(what, step):
    end = time.monotonic() + 60
    while time.monotonic() < end:
        try:
            result = step()
            if result:
                return result
        except (redis.RedisError, OSError):
            pass
        time.sleep(0.02)
    raise AssertionError(f"it never came: {what}")


for protocol in (2, 3):
    sentinel = Sentinel(places, sentinel_kwargs={"protocol": protocol}, socket_timeout=5, protocol=protocol)
    before = until("a master", lambda: sentinel.discover_master("mymaster"))
    until("two replicas", lambda: len(sentinel.discover_slaves("mymaster")) == 2)
    for one in sentinel.sentinels:
        until("all have met", lambda: one.sentinel_master("mymaster")["num-other-sentinels"] == 2)
    state = sentinel.sentinels[0].sentinel_master("mymaster")
    assert state["name"] == "mymaster" and state["is_master"], state
    assert len(sentinel.sentinels[0].sentinel_sentinels("mymaster")) == 2
    master = sentinel.master_for("mymaster")
    replica = sentinel.slave_for("mymaster")
    assert master.set("key", f"value {protocol}")
    until("the replica has it", lambda: replica.get("key") == f"value {protocol}".encode())

    listener = sentinel.sentinels[1].pubsub()
    listener.subscribe("+switch-master")
    until("a failover begins", lambda: sentinel.sentinels[0].execute_command("SENTINEL", "FAILOVER", "mymaster"))
    told = until("the news", lambda: (m := listener.get_message(timeout=1)) and m["type"] == "message" and m)
    assert told["data"].decode().startswith(f"mymaster {before[0]} {before[1]} "), told
    until("another master", lambda: sentinel.discover_master("mymaster") != before)
    until("writes are taken", lambda: master.set("key", "after"))
    assert master.get("key") == b"after"
    until("the old master is a replica", lambda: before in sentinel.discover_slaves("mymaster"))
    # The next failover may begin when this one is over for all.
    time.sleep(2)

print("the master was found, and found again after failovers, with RESP2 and RESP3")
