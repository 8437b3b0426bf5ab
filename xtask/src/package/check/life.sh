# Installed, started, changed, upgraded, removed, purged.
set -eu
fail() { echo "FAILED: $*" >&2; exit 1; }
is() { [ "$1" = "$2" ] || fail "$3: '$1', not '$2'"; }

dpkg -i /tmp/rubine.deb >/dev/null
is "$(stat -c '%U:%G %a' /var/lib/rubine)" 'rubine:rubine 750' 'the folder of data'
is "$(stat -c '%U:%G %a' /etc/rubine)" 'rubine:rubine 2770' 'the folder of the configuration'
is "$(stat -c '%U:%G %a' /etc/rubine/rubine.conf)" 'rubine:rubine 640' 'the configuration'
is "$(getent passwd rubine | cut -d: -f6,7)" '/var/lib/rubine:/usr/sbin/nologin' 'the user'
rubine-server --version
[ -x /usr/bin/rubine-sentinel ] || fail 'there is no Sentinel'
is "$(dpkg --verify rubine)" '' 'files that are otherwise than packed'
zcat /usr/share/man/man5/rubine.conf.5.gz | grep -q 'maxmemory' || fail 'the manual has no directives'
grep -q -- '--maxmemory' /usr/share/bash-completion/completions/rubine-server || fail 'no completion'
bash -n /usr/share/bash-completion/completions/rubine-server

systemctl start rubine-server
is "$(redis-cli set greeting hello)" OK 'SET'
is "$(redis-cli config set maxmemory 100mb)" OK 'CONFIG SET'
is "$(redis-cli config rewrite)" OK 'CONFIG REWRITE'
is "$(redis-cli config get dir | tail -1)" /var/lib/rubine 'dir'
is "$(redis-cli save)" OK 'SAVE'
grep -q '^maxmemory 100mb$' /etc/rubine/rubine.conf || fail 'CONFIG REWRITE wrote nothing'
echo 'started, and wrote its configuration'

# The configuration that somebody has changed stays, and the data with it.
systemctl stop rubine-server
dpkg -i --force-confold /tmp/rubine-next.deb >/dev/null
grep -q '^maxmemory 100mb$' /etc/rubine/rubine.conf || fail 'the upgrade took the configuration away'
systemctl start rubine-server
is "$(redis-cli get greeting)" hello 'data after the upgrade'
echo "upgraded to $(dpkg-query -W -f '${Version}' rubine)"

systemctl stop rubine-server
dpkg -r rubine >/dev/null
[ ! -e /usr/bin/rubine-server ] || fail 'the program stays'
[ -e /etc/rubine/rubine.conf ] || fail 'removing takes the configuration away'
[ -e /var/lib/rubine/dump.rdb ] || fail 'removing takes the data away'
dpkg -i /tmp/rubine-next.deb >/dev/null
systemctl start rubine-server
is "$(redis-cli get greeting)" hello 'data after it came back'
systemctl stop rubine-server
echo 'removed, and back with its data'

dpkg -P rubine >/dev/null
for path in /etc/rubine /var/lib/rubine /var/log/rubine /lib/systemd/system/rubine-server.service; do
    [ ! -e "$path" ] || fail "purging leaves $path"
done
echo 'purged'
