#!/bin/sh
# Starts a sentinel: it watches the master MASTER under the name "relay", and remembers in its folder which one has taken its
# part. NODE is its own name.
set -eu

DATA=${DATA:-/data} SECRETS=${SECRETS:-/run/relay} MASTER_PORT=${MASTER_PORT:-6379}
umask 077
hash() { sha256sum < "$1" | cut -d ' ' -f 1; }

if [ ! -e "$DATA/sentinel.conf" ]; then
    password=$(cat "$SECRETS/sentinel_password")
    # Workers need no password here: they may ask for the master, and nothing else.
    cat > "$DATA/sentinel.conf.new" <<END
dir $DATA
user default off
user sentinel on #$(hash "$SECRETS/sentinel_password") ~* &* +@all
user relay on nopass resetchannels -@all +sentinel|master +client|setname +ping
sentinel sentinel-user sentinel
sentinel sentinel-pass $password
sentinel resolve-hostnames yes
sentinel announce-hostnames yes
sentinel announce-ip $NODE
sentinel monitor relay $MASTER $MASTER_PORT 2
sentinel auth-user relay sentinel
sentinel auth-pass relay $password
sentinel down-after-milliseconds relay 5000
sentinel failover-timeout relay 30000
END
    mv "$DATA/sentinel.conf.new" "$DATA/sentinel.conf"
fi
exec redis-server "$DATA/sentinel.conf" --sentinel "$@"
