# Programs that go on while the server moves: writers that verify what they read back, somebody with a file that has no name any more, a
# database under load, and one that notes pauses. `moves_end.sh` looks at all of them.
cd /mnt/a
mkdir fio
(
    round=0
    until [ -e /tmp/stop ]; do
        fio --directory=fio --name=mixed --rw=randrw --bsrange=4k-64k --size=16M --fsync=16 --rate=2m,2m --randseed=$((++round)) \
            --verify=crc32c --do_verify=1 --verify_fatal=1 --verify_state_save=0 >/tmp/fio 2>&1 || { mv /tmp/fio /tmp/fio-failed; break; }
    done
    echo $round >/tmp/fio-rounds
) >/dev/null 2>&1 &

head -c 1000000 /dev/urandom >/tmp/unlinked
(
    exec 9<>unlinked
    cat /tmp/unlinked >&9
    rm unlinked
    : >/tmp/unlinked-ready
    until [ -e /tmp/stop ]; do
        echo 1 >/proc/sys/vm/drop_caches
        cmp /proc/self/fd/9 /tmp/unlinked >>/tmp/unlinked-differs 2>&1 || echo "status $?" >>/tmp/unlinked-differs
        sleep 0.5
    done
    : >/tmp/unlinked-done
) >/dev/null 2>&1 &
until [ -e /tmp/unlinked-ready ]; do sleep 0.1; done

bin=$(dirname "$(ls /usr/lib/postgresql/*/bin/pg_ctl | tail -1)")
data=/mnt/a/postgres
mkdir -m 700 $data
chown postgres $data
cat >/tmp/as.sh <<END
export PGHOST=/tmp PGUSER=postgres
bin=$bin data=$data
as() { setpriv --reuid=postgres --regid=postgres --init-groups -- env HOME=/tmp PATH="$bin:$PATH" "\$@"; }
END
. /tmp/as.sh
cd /tmp
as initdb --pgdata=$data --data-checksums --auth=trust >/tmp/initdb
cat >>$data/postgresql.conf <<END
listen_addresses = ''
unix_socket_directories = '/tmp'
shared_buffers = 32MB
max_wal_size = 64MB
checkpoint_timeout = 30s
END
as pg_ctl --pgdata=$data --log=/tmp/postgres.log --wait start >/dev/null </dev/null || { tail /tmp/postgres.log; exit 1; }
as pgbench --quiet --initialize --scale=1 postgres 2>/dev/null
(as pgbench --client=2 --time=7200 --rate=50 --no-vacuum postgres >/tmp/pgbench 2>&1 &)

perl /lab/prober.pl /mnt/a/probe >/tmp/pauses 2>&1 &
