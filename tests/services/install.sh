#!/bin/sh
# Installs the programs that tests start, and starts none of them. Where that cannot be done it says
# what is missing, and the tests that need it are skipped.
set -eu

missing=
[ -n "$(command -v postgres || ls /usr/lib/postgresql/*/bin/postgres 2>/dev/null)" ] || missing="$missing postgresql"
[ -n "$(command -v mariadbd || ls /usr/sbin/mariadbd 2>/dev/null)" ] || missing="$missing mariadb-server"
[ -n "$(command -v redis-server)" ] || missing="$missing redis-server"
[ -n "$(command -v cc)" ] || missing="$missing gcc libc6-dev"
[ -n "$(command -v chromium)" ] || missing="$missing chromium fonts-dejavu-core fonts-liberation"
[ -n "$missing" ] || exit 0

if [ "$(id -u)" != 0 ] || [ -z "$(command -v apt-get)" ]; then
    echo "Tests that need these packages of Debian will be skipped:$missing" >&2
    exit 0
fi

# Debian would make a database at its default port, and start that and Redis.
mkdir -p /etc/postgresql-common/createcluster.d
echo 'create_main_cluster = false' > /etc/postgresql-common/createcluster.d/tests.conf
policy=/usr/sbin/policy-rc.d
if [ ! -e $policy ]; then
    trap 'rm -f $policy' EXIT
    printf '#!/bin/sh\nexit 101\n' > $policy
    chmod +x $policy
fi

export DEBIAN_FRONTEND=noninteractive
# shellcheck disable=SC2086
install() { apt-get install --quiet=2 --yes --no-install-recommends $missing; }
# The lists of packages may be missing, or too old for what there is.
install || { apt-get update --quiet=2 && install; }
