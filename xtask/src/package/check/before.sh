# A server of Debian's as people have them: a password, users in a file, both kinds of files on disk, data of every type.
set -eu
sed -i 's/^appendonly no/appendonly yes/' /etc/redis/redis.conf
cat >> /etc/redis/redis.conf <<END
aclfile /etc/redis/users.acl
maxmemory 256mb
maxmemory-policy volatile-lru
rename-command DEBUG ""
END
cat > /etc/redis/users.acl <<END
user default on nopass ~* &* +@all
user app on >app-password ~app:* +@read +@write
END
chown redis:redis /etc/redis/users.acl
chmod 640 /etc/redis/users.acl
systemctl start redis-server
redis-cli -x set app:text < /etc/os-release
redis-cli set expiring soon ex 100000
redis-cli rpush list a b c
redis-cli sadd set x y 1 2
redis-cli zadd zset 1 one 2.5 two
redis-cli hset hash field value other 5
redis-cli xadd stream '1-1' name value
redis-cli xgroup create stream group 0
redis-cli pfadd hll a b c
redis-cli setbit bits 1000 1
redis-cli -n 3 set there too
redis-cli function load "#!lua name=lib
redis.register_function('hi', function() return 'hi' end)"
for i in $(seq 500); do echo "SET key:$i value-$i"; done | redis-cli --pipe
redis-cli bgrewriteaof
while [ "$(redis-cli info persistence | grep -c 'aof_rewrite_in_progress:1')" != 0 ]; do sleep 0.1; done
redis-cli incr counter
dump() { redis-cli --no-raw "$@"; }
{
    redis-cli dbsize
    redis-cli -n 3 dbsize
    dump get app:text; dump lrange list 0 -1; redis-cli smembers set | sort; dump zrange zset 0 -1 withscores
    redis-cli hgetall hash | sort; dump xrange stream - +; dump pfcount hll; dump getbit bits 1000
    dump -n 3 get there; dump get key:321; dump get counter; dump fcall hi 0
    [ "$(redis-cli ttl expiring)" -gt 99000 ] && echo expiring
} > /tmp/before.txt
# Beside the old server, as the guide says.
dpkg -i /tmp/rubine.deb > /dev/null
wc -l < /tmp/before.txt
