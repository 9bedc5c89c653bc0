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
    fsx -f /tmp/fsx.toml -N "$4" -S "$SEED" -P /tmp /mnt/a/fsx
    rm /mnt/a/fsx
}
# A guest's page faults are slow, so most operations are small and leave it to the kernel when to write.
run 131072 4096 true "$OPERATIONS"
run 131072 8192 false $((OPERATIONS / 20))
run 4194304 65536 false $((OPERATIONS / 50))
