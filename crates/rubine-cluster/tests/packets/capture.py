#!/usr/bin/env python3
"""Writes down what real nodes say to each other: one packet of each kind, as `packets.rs` reads them.

    capture.py FOLDER_OF_PROGRAMS valkey|redis NODES_CONF > PACKETS

Starts four nodes on loopback that believe their buses to be at proxies of ours, lets them meet, publish, fail over and die,
and prints the first packets of each kind in hexadecimal digits, runs of zeros as `*COUNT`. What the first of them has
written to its nodes.conf in the end is kept, too. Stops what it has started.
"""

import os
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time

PROGRAMS, FAMILY = sys.argv[1], sys.argv[2]
NODES = 4
KINDS = "ping pong meet fail publish auth-req auth-ack update mfstart module publishshard".split()
seen, lock = {}, threading.Lock()


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for it in sockets:
        it.bind(("127.0.0.1", 0))
    ports = [it.getsockname()[1] for it in sockets]
    for it in sockets:
        it.close()
    return ports


def note(packet):
    field = int.from_bytes(packet[12:14], "big")
    kind, light = field & 0x7FFF, field & 0x8000
    gossip = int.from_bytes(packet[14:16], "big")
    extensions = 0 if light else int.from_bytes(packet[2214:2216], "big")
    key = (kind, bool(light), min(gossip, 1), min(extensions, 1)) if kind < 3 else (kind, bool(light))
    with lock:
        seen.setdefault(key, packet)


def read_exactly(stream, size):
    data = b""
    while len(data) < size:
        more = stream.recv(size - len(data))
        if not more:
            raise OSError("closed")
        data += more
    return data


def pump(source, target):
    try:
        while True:
            start = read_exactly(source, 16)
            packet = start + read_exactly(source, int.from_bytes(start[4:8], "big") - 16)
            note(packet)
            target.sendall(packet)
    except OSError:
        for it in (source, target):
            try:
                it.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass


def proxy(port, bus):
    listener = socket.create_server(("127.0.0.1", port))

    def accept():
        while True:
            inbound, _ = listener.accept()
            try:
                outbound = socket.create_connection(("127.0.0.1", bus))
            except OSError:
                inbound.close()
                continue
            for pair in ((inbound, outbound), (outbound, inbound)):
                threading.Thread(target=pump, args=pair, daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()


def cli(port, *words):
    command = [f"{PROGRAMS}/{FAMILY}-cli", "-p", str(port), *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=20).stdout.strip()


def wait(what, test):
    for _ in range(600):
        if test():
            return
        time.sleep(0.1)
    sys.exit(f"this never came to be: {what}")


def start(folder, port, bus, announced):
    words = ["--port", port, "--cluster-port", bus, "--cluster-announce-bus-port", announced, "--bind", "127.0.0.1"]
    words += ["--cluster-enabled", "yes", "--cluster-node-timeout", 1000, "--dir", folder, "--save", ""]
    words += ["--cluster-announce-hostname", f"host-{port}.example", "--cluster-announce-human-nodename", f"node-{port}"]
    if FAMILY == "valkey":
        words += ["--availability-zone", "zone-a", "--cluster-announce-client-ipv4", "10.1.2.3"]
        words += ["--cluster-announce-client-ipv6", "fd00::1", "--cluster-announce-client-port", 7001]
        words += ["--cluster-announce-client-tls-port", 7002]
    with open(os.path.join(folder, "log"), "a") as log:
        return subprocess.Popen([f"{PROGRAMS}/{FAMILY}-server", *map(str, words)], stdout=log, stderr=log)


def main():
    numbers = free_ports(3 * NODES)
    ports, buses, announced = numbers[:NODES], numbers[NODES : 2 * NODES], numbers[2 * NODES :]
    with tempfile.TemporaryDirectory() as base:
        processes = []
        try:
            folders = [os.path.join(base, str(it)) for it in range(NODES)]
            for index in range(NODES):
                os.mkdir(folders[index])
                proxy(announced[index], buses[index])
                processes.append(start(folders[index], ports[index], buses[index], announced[index]))
            live(folders[0], ports, announced, lambda index: start(folders[index], ports[index], buses[index], announced[index]), processes)
        finally:
            for process in processes:
                process.kill()
                process.wait()


def live(folder, ports, announced, restart, processes):
    for port in ports:
        wait("a node answers", lambda: cli(port, "ping") == "PONG")
    # The third votes, so that somebody is the majority when the first is gone.
    cli(ports[0], "cluster", "addslotsrange", 0, 5000)
    cli(ports[1], "cluster", "addslotsrange", 5001, 10000)
    cli(ports[2], "cluster", "addslotsrange", 10001, 16383)
    for index in (1, 2, 3):
        cli(ports[0], "cluster", "meet", "127.0.0.1", ports[index], announced[index])
    for port in ports:
        wait("all know each other", lambda: len(cli(port, "cluster", "nodes").splitlines()) == NODES)
        wait("the cluster is well", lambda: "cluster_state:ok" in cli(port, "cluster", "info"))
    first = cli(ports[0], "cluster", "myid")
    cli(ports[3], "cluster", "replicate", first)
    wait("the replica is in sync", lambda: "master_link_status:up" in cli(ports[3], "info", "replication"))
    wait("a replica hears it", lambda: re.search(rf"slave {first}", cli(ports[1], "cluster", "nodes")))
    for _ in range(3):
        cli(ports[0], "publish", "news", "hello")
        # Its slot is 3300, of the first node, whose replica hears it.
        cli(ports[0], "spublish", "b", "sharded")
    # By hand, which pauses the primary first.
    cli(ports[3], "cluster", "failover")
    wait("the replica is the primary", lambda: "role:master" in cli(ports[3], "info", "replication"))
    wait("the old one follows", lambda: "master_link_status:up" in cli(ports[0], "info", "replication"))
    # By death, after which the old one comes back with claims of the past.
    processes[3].kill()
    processes[3].wait()
    wait("the other has taken over", lambda: "role:master" in cli(ports[0], "info", "replication"))
    processes[3] = restart(3)
    wait("it is back", lambda: cli(ports[3], "ping") == "PONG")
    wait("it follows", lambda: "role:slave" in cli(ports[3], "info", "replication"))
    wait("the others know", lambda: "fail" not in cli(ports[0], "cluster", "nodes"))
    second = cli(ports[1], "cluster", "myid")
    cli(ports[0], "cluster", "setslot", 4000, "migrating", second)
    cli(ports[0], "cluster", "setslot", 6000, "importing", second)
    cli(ports[0], "cluster", "delslots", 7, 9)
    cli(ports[0], "cluster", "saveconfig")
    with open(os.path.join(folder, "nodes.conf")) as source, open(sys.argv[3], "w") as target:
        target.write(source.read())


main()
version = subprocess.run([f"{PROGRAMS}/{FAMILY}-server", "--version"], capture_output=True, text=True).stdout
print(f"# {version.split(' sha')[0]}: one packet of each kind, by capture.py.")
for key in sorted(seen):
    packet = seen[key]
    parts, at = [], 0
    for it in re.finditer(b"\0{8,}", packet):
        parts += [packet[at : it.start()].hex(), f"*{it.end() - it.start()}"]
        at = it.end()
    parts.append(packet[at:].hex())
    print(KINDS[key[0]], "light" if key[1] else "full", *filter(None, parts))
