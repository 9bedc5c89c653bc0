# Every way to write a file, read back from the server: what fio wrote carries checksums.
cd /mnt/a
mkdir fio
fio --directory=fio --fallocate=none --do_verify=1 --verify_fatal=1 --verify_state_save=0 --randseed=7 --output-format=terse \
    --name=stream --rw=write --bs=1M --size="${MIB}M" --end_fsync=1 --verify=crc32c \
    --name=direct --rw=write --bs=256k --direct=1 --ioengine=libaio --iodepth=8 --size="${MIB}M" --verify=crc32c \
    --name=scattered --rw=randwrite --bsrange=512-64k --bs_unaligned --size=$((MIB / 4))M --verify=crc32c \
    --name=synchronous --rw=randwrite --bs=4k --sync=1 --size=$((MIB / 32))M --verify=md5 \
    --name=mapped --rw=randwrite --bs=4k --ioengine=mmap --size=$((MIB / 8))M --verify=crc32c \
    --name=mixed --rw=randrw --bs=16k --fdatasync=32 --size=$((MIB / 8))M --verify=crc32c \
    --name=files --rw=write --nrfiles=200 --filesize=20k --bs=4k --create_on_open=1 --verify=crc32c >/tmp/fio 2>&1 ||
    { cat /tmp/fio; exit 1; }
# A terse line has the job's name third, its error fifth, and what it read and wrote in KiB sixth and 47th.
awk -F';' '{ print $3 ": error " $5 ", " $47 " KiB written, " $6 " read"; bad += $5 + ($6 == 0) } END { exit bad > 0 || NR != 7 }' /tmp/fio
# And once more without the client's cache.
sha256sum fio/* >/tmp/sums
cd /
umount /mnt/a
$MOUNT
cd /mnt/a
sha256sum --check --quiet /tmp/sums
rm -r fio
