#!/bin/sh
# Makes the secrets of docker-compose.yml at the first start, in a volume; each file is readable by those that need it.
# A later start makes those that a newer version has added, and keeps all others. It writes the rules of Redis anew, with the
# same passwords, as a newer version may send other commands.
# With the argument "new" it replaces them; Redis and workers must be restarted then. Grafana stores its own password
# when it first starts, so that one stays.
set -eu

# All that workers send, by themselves and in scripts; nothing else is allowed to them. Tests compare these lists with the
# code, and run workers with them. First the commands for any Redis. Then those that also go to one Redis, or to a master
# with replicas; the last three are of workers of the version before. Then those that also go to the nodes of a cluster,
# which may be unknown to older servers.
COMMANDS="del evalsha exists getrange hdel hexists hget hgetall hincrby hlen hscan hset hvals incrby info \
lindex llen lpop lrange lset ltrim pexpire pttl rpush sadd scard script|load set srem sscan time unlink wait \
xadd xdel xlen xrange xtrim zadd zcard zlexcount zmscore zrange zrangebylex zrangebyscore zrank zrem zremrangebyrank zscore \
client|setname ping"
COMMANDS_OF_ONE="publish subscribe unsubscribe select get hrandfield smembers"
COMMANDS_OF_CLUSTER="asking cluster|info cluster|shards spublish ssubscribe sunsubscribe"

REDIS=10002 RELAY=10001 GRAFANA=472 TURN=10003
cd /run/relay
# In variants with several Redis, the folders of the others are at /data-2, /data-3 and so on.
chown "$REDIS:$RELAY" /data*
[ "${1:-}" = new ] && rm -f redis.acl cluster.acl redis_password operator_password replica_password sentinel_password cluster_password admin_token fleet_secret turn_secret

random() { head -c 32 /dev/urandom | od -An -v -tx1 | tr -d ' \n'; }
hash() { printf %s "$1" | sha256sum | cut -d ' ' -f 1; }
keep() { # NAME MODE OWNER < content
    umask 077
    cat > "$1.new"
    chmod "$2" "$1.new"
    chown "$3" "$1.new"
    # Last: a file of that name is always complete.
    mv "$1.new" "$1"
}

[ -e fleet_secret ] || random | keep fleet_secret 0400 "$RELAY:$RELAY"
[ -e grafana_password ] || random | keep grafana_password 0400 "$GRAFANA:$GRAFANA"
[ -e admin_token ] || random | keep admin_token 0400 "$RELAY:$RELAY"
[ -e turn_secret ] || random | keep turn_secret 0440 "$TURN:$RELAY"

# For deploy/sentinel and deploy/cluster: the passwords of replicas, of sentinels, and of the script that makes a cluster.
for name in replica sentinel cluster; do
    [ -e ${name}_password ] || random | keep ${name}_password 0400 "$REDIS:$REDIS"
done
hash_in() { # FILE: this script takes it to read it.
    chown 0:0 "$1"
    hash "$(cat "$1")"
    chown "$REDIS:$REDIS" "$1"
}

# The file with the rules also keeps the hashes of the passwords. It belongs to Redis, so this script takes it to read it.
hash_of() { # USER
    sed -n "s/^user $1 on #\([0-9a-f]*\) .*/\1/p" redis.acl
}
if [ -e redis.acl ]; then
    chown 0:0 redis.acl
    relay=$(hash_of relay) operator=$(hash_of operator)
    [ "$relay" ] && [ "$operator" ] || { echo "secrets: redis.acl has no user relay or operator; run with: new" >&2; exit 1; }
else
    password=$(random)
    printf %s "$password" | keep redis_password 0440 "$REDIS:$RELAY"
    relay=$(hash "$password") password=$(random)
    printf %s "$password" | keep operator_password 0400 "$REDIS:$REDIS"
    operator=$(hash "$password")
fi
# The user relay is limited to the relay's keys, channels and commands. The user operator may do everything. The default user
# is off, so no client can log in as it; but Redis itself acts as that user when it loads its file, and would skip transactions
# if that user had no rights.
users() { # COMMANDS
    cat <<END
user default off resetpass ~* &* +@all
user relay on #$relay ~relay:* resetchannels &relay:* -@all$(printf ' +%s' $1)
user operator on #$operator ~* &* +@all
user replica on #$(hash_in replica_password) -@all +psync +replconf +ping
user sentinel on #$(hash_in sentinel_password) &* -@all +multi +slaveof +ping +exec +subscribe +config|rewrite +role +publish +info +client|setname +client|kill +script|kill
user cluster on #$(hash_in cluster_password) -@all +cluster|addslotsrange +cluster|info +cluster|meet +cluster|myid +cluster|nodes +cluster|replicate
END
}
# For the nodes of a cluster, in place of the file below.
users "$COMMANDS $COMMANDS_OF_CLUSTER" | keep cluster.acl 0400 "$REDIS:$REDIS"
# Last: this file marks that the passwords of Redis exist.
users "$COMMANDS $COMMANDS_OF_ONE" | keep redis.acl 0400 "$REDIS:$REDIS"
