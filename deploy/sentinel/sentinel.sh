#!/bin/sh
# Starts a sentinel: it watches the master MASTER under the name "relay", and remembers in its folder which one has taken its
# part. NODE is its own name.
set -eu

DATA=${DATA:-/data} SECRETS=${SECRETS:-/run/relay} MASTER_PORT=${MASTER_PORT:-6379}
umask 077
hash() { sha256sum < "$1" | cut -d ' ' -f 1; }

# Written anew at each start, as passwords may have changed; the sentinel keeps its findings in the same file. Workers need no
# password here: they may ask for the master, and nothing else.
password=$(cat "$SECRETS/sentinel_password")
known=$DATA/sentinel.conf
[ -e "$known" ] || known=/dev/null
{
    cat <<END
user default off
user sentinel on #$(hash "$SECRETS/sentinel_password") ~* &* +@all
user relay on nopass resetchannels -@all +sentinel|master +client|setname +ping
sentinel sentinel-pass $password
END
    grep -vE '^(user|sentinel (sentinel-pass|auth-pass)) ' "$known" || cat <<END
dir $DATA
sentinel sentinel-user sentinel
sentinel resolve-hostnames yes
sentinel announce-hostnames yes
sentinel announce-ip $NODE
sentinel monitor relay $MASTER $MASTER_PORT 2
sentinel auth-user relay sentinel
sentinel down-after-milliseconds relay 5000
sentinel failover-timeout relay 10000
END
    echo "sentinel auth-pass relay $password"
} > "$DATA/sentinel.conf.new"
mv "$DATA/sentinel.conf.new" "$DATA/sentinel.conf"
exec redis-server "$DATA/sentinel.conf" --sentinel "$@"
