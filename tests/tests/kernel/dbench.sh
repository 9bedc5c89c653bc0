# The file operations of an office day, from several processes.
cd /mnt/a
mkdir dbench
dbench --directory=dbench --timelimit="$SECONDS_OF_LOAD" --skip-cleanup 4 >/tmp/dbench 2>&1 || { tail -30 /tmp/dbench; exit 1; }
grep Throughput /tmp/dbench
# Guests have no semaphores for its barrier; it goes on without.
if grep -i -E 'error|failed' /tmp/dbench | grep -v barrier; then exit 1; fi
rm -r dbench
