#!/bin/sh
# Makes the passwords of docker-compose.yml, once, so that nobody has to: into a volume, and readable by those who need them.
# "new" replaces them; everything has to be restarted then. Grafana keeps the one it began with, so that stays.
set -eu

REDIS=10002 RELAY=10001 GRAFANA=472
cd /run/relay
chown "$REDIS:$RELAY" /data
[ "${1:-}" = new ] && rm -f redis.acl redis_password operator_password admin_token
[ -e redis.acl ] && exit

random() { head -c 32 /dev/urandom | od -An -v -tx1 | tr -d ' \n'; }
hash() { printf %s "$1" | sha256sum | cut -d ' ' -f 1; }
keep() { # NAME MODE OWNER < content
    umask 077
    cat > "$1"
    chmod "$2" "$1"
    chown "$3" "$1"
}

password=$(random) operator=$(random)
printf %s "$password" | keep redis_password 0440 "$REDIS:$RELAY"
printf %s "$operator" | keep operator_password 0400 "$REDIS:$REDIS"
random | keep admin_token 0400 "$RELAY:$RELAY"
[ -e grafana_password ] || random | keep grafana_password 0400 "$GRAFANA:$GRAFANA"
# Workers may do what workers do, with their own keys. Who looks after Redis may do everything. Nobody can be the default
# user, but that is who Redis takes itself for when it reads its file: without rights, it would leave transactions out.
keep acl 0400 "$REDIS:$REDIS" <<END
user default off resetpass ~* &* +@all
user relay on #$(hash "$password") ~relay:* &relay:* +@all -@dangerous -@admin
user operator on #$(hash "$operator") ~* &* +@all
END
# Last, as it says that all are there.
mv acl redis.acl
