# All that was in Debian's server is in ours, under its users and settings.
set -eu
fail() { echo "FAILED: $*" >&2; exit 1; }
dump() { redis-cli --no-raw "$@"; }
{
    redis-cli dbsize
    redis-cli -n 3 dbsize
    dump get app:text; dump lrange list 0 -1; redis-cli smembers set | sort; dump zrange zset 0 -1 withscores
    redis-cli hgetall hash | sort; dump xrange stream - +; dump pfcount hll; dump getbit bits 1000
    dump -n 3 get there; dump get key:321; dump get counter; dump fcall hi 0
    [ "$(redis-cli ttl expiring)" -gt 99000 ] && echo expiring
} > /tmp/after.txt
diff /tmp/before.txt /tmp/after.txt || fail 'the data is not the same'
redis-cli info server | grep -q '^rubine_version:' || fail 'this is no Rubine'
[ "$(redis-cli --user app --pass app-password --no-auth-warning get app:text | head -c 11)" = 'PRETTY_NAME' ] || fail 'the user app cannot read'
redis-cli --user app --pass app-password --no-auth-warning get other 2>&1 | grep -q NOPERM || fail 'the user app may read anything'
[ "$(redis-cli config get maxmemory | tail -1)" = 268435456 ] || fail 'maxmemory is another'
[ "$(redis-cli config get maxmemory-policy | tail -1)" = volatile-lru ] || fail 'the policy is another'
redis-cli debug sleep 0 2>&1 | grep -q 'unknown command' || fail 'DEBUG is there'
redis-cli set more after > /dev/null
systemctl restart rubine-server
[ "$(redis-cli get more)" = after ] || fail 'what was written after is lost'
[ "$(redis-cli get counter)" = 1 ] || fail 'what was there is lost'
echo "$(wc -l < /tmp/after.txt) lines of replies are the same"
