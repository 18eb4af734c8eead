#!/bin/sh
# Starts one Redis of a set, with redis.conf: at its first start as the master or as a replica of it, later in the part that the
# sentinels have given it. NODE is its name, MASTER that of the first master.
set -eu

DATA=${DATA:-/data} SECRETS=${SECRETS:-/run/relay} BASE=${BASE:-/etc/redis.conf} PORT=${PORT:-6379}
umask 077

password=$(cat "$SECRETS/replica_password")

# Redis writes all its settings into this file when the sentinels change its part. Only the part is kept; the rest is written anew
# at each start, as passwords and redis.conf may have changed. A master that has lost its replicas refuses writes, so that one
# which the others have replaced takes none; all masters refuse them until a replica follows. So a replica that needs all data
# gets them at once, and not after the five seconds in which Redis waits for further replicas.
part=
if [ -e "$DATA/node.conf" ]; then
    part=$(grep '^replicaof ' "$DATA/node.conf") || part=
elif [ "$NODE" != "$MASTER" ]; then
    part="replicaof $MASTER $PORT"
fi
cat > "$DATA/node.conf.new" <<END
include $BASE
replica-announce-ip $NODE
masteruser replica
masterauth $password
min-replicas-to-write 1
min-replicas-max-lag 10
repl-diskless-sync-delay 0
$part
END
mv "$DATA/node.conf.new" "$DATA/node.conf"
exec redis-server "$DATA/node.conf" "$@"
