# Ends what `moves_begin.sh` began, and says what each of them found.
touch /tmp/stop
. /tmp/as.sh
until [ -e /tmp/fio-rounds ] && [ -e /tmp/unlinked-done ] && grep -q done /tmp/pauses; do sleep 0.2; done
pkill -INT pgbench
while pgrep pgbench >/dev/null; do sleep 0.1; done
[ ! -e /tmp/fio-failed ] || { cat /tmp/fio-failed; exit 1; }
[ ! -s /tmp/unlinked-differs ] || { head /tmp/unlinked-differs; exit 1; }
if grep -iE 'error|abort|fatal' /tmp/pgbench; then exit 1; fi
cd /tmp
balanced=$(as psql --quiet --tuples-only --no-align --command "
    SELECT (SELECT sum(abalance) FROM pgbench_accounts) = (SELECT sum(delta) FROM pgbench_history)
        AND (SELECT sum(bbalance) FROM pgbench_branches) = (SELECT sum(tbalance) FROM pgbench_tellers)
        AND (SELECT count(*) > 100 FROM pgbench_history)")
test "$balanced" = t
as psql --quiet --tuples-only --no-align --command 'SELECT count(*) FROM pgbench_history'
as pg_amcheck --all --install-missing --heapallindexed
as pg_ctl --pgdata=$data --mode=fast stop >/dev/null
as pg_checksums --check --pgdata=$data | grep -E 'Bad'
if grep -E 'PANIC|corrupt|invalid page|could not (read|write|fsync|open)' /tmp/postgres.log; then exit 1; fi
cat /tmp/fio-rounds
tail -1 /tmp/pauses
