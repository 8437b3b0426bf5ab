#!/bin/bash
# Stands in for systemctl where there is no systemd: starts and stops the servers that it knows, as their units say.
set -eu

action=$1
shift
while [ "${1-}" = "--now" ]; do now=yes; shift; done

start() {
    case $1 in
        redis-server*)
            setpriv --reuid=redis --regid=redis --clear-groups \
                /usr/bin/redis-server /etc/redis/redis.conf --daemonize no --supervised no >/dev/null 2>&1 &
            ;;
        rubine-server*)
            install -d -o rubine -g rubine -m 0755 /run/rubine
            command=$(sed -n 's/^ExecStart=//p' /lib/systemd/system/rubine-server.service)
            # shellcheck disable=SC2086
            (cd /var/lib/rubine && umask 0077 && exec setpriv --reuid=rubine --regid=rubine --clear-groups \
                --no-new-privs --bounding-set=-all $command --supervised no >/tmp/rubine.out 2>&1) &
            ;;
        *) echo "no such unit: $1" >&2; exit 5 ;;
    esac
    echo $! > "/run/${1%.service}.unit"
    # A unit of Type=notify is started when its data is loaded.
    for _ in $(seq 600); do
        answer=$(redis-cli ping 2>&1 || true)
        case $answer in PONG|*NOAUTH*) return 0 ;; esac
        sleep 0.1
    done
    echo "$1 does not answer: $answer" >&2
    cat /tmp/rubine.out >&2 || true
    exit 1
}

stop() {
    file="/run/${1%.service}.unit"
    [ -f "$file" ] || return 0
    pid=$(cat "$file")
    kill "$pid" 2>/dev/null || true
    for _ in $(seq 600); do
        kill -0 "$pid" 2>/dev/null || { rm -f "$file"; return 0; }
        sleep 0.1
    done
    echo "$1 does not end" >&2
    exit 1
}

for unit in "$@"; do
    case $action in
        start) start "$unit" ;;
        stop) stop "$unit" ;;
        restart) stop "$unit"; start "$unit" ;;
        disable) if [ -n "${now-}" ]; then stop "$unit"; fi ;;
        enable) if [ -n "${now-}" ]; then start "$unit"; fi ;;
        daemon-reload) ;;
        status|is-active) [ -f "/run/${unit%.service}.unit" ] ;;
        *) echo "systemctl $action is not known here" >&2; exit 1 ;;
    esac
done
