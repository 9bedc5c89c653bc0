# Random operations on one file, mapped into memory and not, each read compared with what must be there.
run() {
    cat >/tmp/fsx.toml <<END
flen = $1
nomsyncafterwrite = $3
[opsize]
max = $2
[weights]
close_open = 0.3
invalidate = 1
truncate = 2
fsync = 0.3
fdatasync = 0.3
sendfile = 3
posix_fadvise = 0.3
copy_file_range = 1
END
    # Where a file's pages in memory may be older than what was written past them.
    if test "${NO_MAPS:-}"; then printf 'mapread = 0\nmapwrite = 0\n' >>/tmp/fsx.toml; fi
    fsx -f /tmp/fsx.toml -N "$4" -S "$SEED" -P /tmp /mnt/a/fsx >>/tmp/fsx.log 2>&1 || { cat /tmp/fsx.log; echo "SEED=$SEED"; exit 1; }
    rm /mnt/a/fsx
}
# Many short runs: a guest slows down in a long one. Most operations are small, as page faults are slow there, and most leave
# it to the kernel when to write.
count=$((OPERATIONS / 1000 + (OPERATIONS < 1000)))
for ((number = 0; number < count; number++)); do
    SEED=$((FIRST_SEED + number))
    case $((number % 20)) in
    7) run 4194304 65536 false 1000 ;;
    13) run 262144 16384 false 1000 ;;
    *) run 131072 4096 true 1000 ;;
    esac
done
grep -c A-OK /tmp/fsx.log
