# stress-ng's stressors of file systems, one after the other, each checking what it reads.
mkdir /mnt/a/stress
cd /mnt/a/stress
stress-ng --class filesystem --sequential 1 --timeout "$SECONDS_EACH" --verify --temp-path . --metrics-brief --times 2>&1 || exit 1
rm -r /mnt/a/stress
