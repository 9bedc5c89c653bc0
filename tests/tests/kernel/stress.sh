# stress-ng's stressors of file systems, one after the other, each checking what it reads.
mkdir /mnt/a/stress
cd /mnt/a/stress
# Left out: what has a file system of its own, and what no NFSv3 client offers. `fsize` needs fallocate too: it writes zeros instead,
# but none once its time is over, and then wonders that no limit was hit.
stress-ng --class filesystem --exclude binderfs,fiemap,fsize,verity,xattr --sequential 1 --timeout "$SECONDS_EACH" \
    --verify --temp-path . --metrics-brief >/tmp/stress 2>&1 || { cat /tmp/stress; exit 1; }
if grep -E 'fail:|error:' /tmp/stress; then exit 1; fi
grep -E 'dispatching|completed' /tmp/stress
cd ..
rm -r stress
