# Every way to write a file, read back from the server: what fio wrote carries checksums.
cd /mnt/a
mkdir fio
common="--directory=fio --fallocate=none --verify_fatal=1 --verify_state_save=0 --randseed=7 --output-format=terse"
jobs() {
    fio $common "$@" \
        --name=stream --rw=write --bs=1M --size=${MIB}M --end_fsync=1 --verify=crc32c \
        --name=direct --rw=write --bs=256k --direct=1 --ioengine=libaio --iodepth=8 --size=${MIB}M --verify=crc32c \
        --name=scattered --rw=randwrite --bsrange=512-64k --bs_unaligned --size=$((MIB / 4))M --verify=crc32c \
        --name=synchronous --rw=randwrite --bs=4k --sync=1 --size=$((MIB / 32))M --verify=md5 \
        --name=mapped --rw=randwrite --bs=4k --ioengine=mmap --size=$((MIB / 8))M --verify=crc32c \
        --name=mixed --rw=randrw --bs=16k --fdatasync=32 --size=$((MIB / 8))M --verify=crc32c \
        --name=files --rw=write --nrfiles=200 --filesize=20k --bs=4k --create_on_open=1 --verify=crc32c
}
jobs --do_verify=1 >/tmp/written || { cat /tmp/written; exit 1; }
cd /
umount /mnt/a
mount -t nfs -o vers=3,nolock "$SERVER:/data" /mnt/a
cd /mnt/a
jobs --verify_only=1 >/tmp/verified || { cat /tmp/verified; exit 1; }
# A terse line has the job's name third, its error fifth, and what it read in KiB sixth.
awk -F';' '{ print $3, "error", $5, "read", $6, "KiB, wrote", $47 } $5 { bad = 1 } END { exit bad }' /tmp/written /tmp/verified
rm -r fio
