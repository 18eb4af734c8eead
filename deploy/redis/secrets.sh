#!/bin/sh
# Makes the secrets of docker-compose.yml at the first start, in a volume; each file is readable by those that need it.
# A later start makes those that a newer version has added, and keeps all others.
# With the argument "new" it replaces them; Redis and workers must be restarted then. Grafana stores its own password
# when it first starts, so that one stays.
set -eu

REDIS=10002 RELAY=10001 GRAFANA=472
cd /run/relay
chown "$REDIS:$RELAY" /data
[ "${1:-}" = new ] && rm -f redis.acl redis_password operator_password admin_token fleet_secret

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
[ -e redis.acl ] && exit

password=$(random) operator=$(random)
printf %s "$password" | keep redis_password 0440 "$REDIS:$RELAY"
printf %s "$operator" | keep operator_password 0400 "$REDIS:$REDIS"
random | keep admin_token 0400 "$RELAY:$RELAY"
[ -e grafana_password ] || random | keep grafana_password 0400 "$GRAFANA:$GRAFANA"
# The user relay is limited to the relay's keys and channels, and has no administrative commands. The user operator may do
# everything. The default user is off, so no client can log in as it; but Redis itself acts as that user when it loads its file,
# and would skip transactions if that user had no rights.
# Last: this file marks that the passwords of Redis exist.
keep redis.acl 0400 "$REDIS:$REDIS" <<END
user default off resetpass ~* &* +@all
user relay on #$(hash "$password") ~relay:* &relay:* +@all -@dangerous -@admin +info
user operator on #$(hash "$operator") ~* &* +@all
END
