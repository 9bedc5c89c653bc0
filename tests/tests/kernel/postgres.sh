# A database server whose data directory is on the mount: load, a crash of the server, and every check that it has.
bin=$(dirname "$(ls /usr/lib/postgresql/*/bin/pg_ctl | tail -1)")
data=/mnt/a/postgres
mkdir -m 700 $data
chown postgres $data
export PGHOST=/tmp PGUSER=postgres
as() { setpriv --reuid=postgres --regid=postgres --init-groups -- env HOME=/tmp PATH="$bin:$PATH" "$@"; }
cd /tmp
as initdb --pgdata=$data --data-checksums --auth=trust >/tmp/initdb
cat >>$data/postgresql.conf <<END
listen_addresses = ''
unix_socket_directories = '/tmp'
shared_buffers = 32MB
max_wal_size = 64MB
checkpoint_timeout = 30s
END
start() { as pg_ctl --pgdata=$data --log=/tmp/postgres.log --wait start >/dev/null </dev/null || { tail /tmp/postgres.log; exit 1; }; }
start
as pgbench --quiet --initialize --scale="$ROWS_100000" postgres 2>/dev/null
as pgbench --client=4 --time="$SECONDS_OF_LOAD" --no-vacuum postgres 2>/dev/null | grep -E 'processed|tps|failed'
(as pgbench --client=4 --time=60 --no-vacuum postgres >/dev/null 2>&1 &)
sleep 5
as pg_ctl --pgdata=$data --mode=immediate stop >/dev/null
sleep 1
start
balanced=$(as psql --quiet --tuples-only --no-align --command "
    SELECT (SELECT sum(abalance) FROM pgbench_accounts) = (SELECT sum(delta) FROM pgbench_history)
        AND (SELECT sum(bbalance) FROM pgbench_branches) = (SELECT sum(tbalance) FROM pgbench_tellers)
        AND (SELECT sum(bbalance) FROM pgbench_branches) = (SELECT sum(delta) FROM pgbench_history)")
test "$balanced" = t
as psql --quiet --command 'VACUUM FULL' --command 'REINDEX DATABASE postgres' --command CHECKPOINT
as pg_amcheck --all --install-missing --heapallindexed --rootdescend
as pg_ctl --pgdata=$data --mode=fast stop >/dev/null
as pg_checksums --check --pgdata=$data | grep -E 'scanned|Bad'
if grep -E 'PANIC|corrupt|invalid page|could not (read|write|fsync|open)' /tmp/postgres.log; then exit 1; fi
rm -r $data
