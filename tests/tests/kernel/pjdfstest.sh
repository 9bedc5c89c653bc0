# The POSIX test suite on the mount, and on a local ext4 in the same kernel.
modprobe loop
truncate --size=512M /run/ext4
mkfs.ext4 -q /run/ext4
mount -o loop /run/ext4 /mnt/b
useradd --no-create-home --user-group tests
configure() {
    cat <<END
[features]
secondary_fs = "/dev/shm"
posix_fallocate = {}
rename_ctime = {}
stat_st_birthtime = {}
utime_now = {}
utimensat = {}
[settings]
naptime = 0.05
allow_remount = $1
[dummy_auth]
entries = [["nobody", "nogroup"], ["tests", "tests"]]
END
}
configure false >/tmp/all.toml
configure true >/tmp/remount.toml
for place in b a; do
    echo "on $place"
    pjdfstest --configuration-file=/tmp/all.toml --path=/mnt/$place || true
    # A test of the others leaves a file open for writing, which nothing can be remounted read-only under.
    pjdfstest --configuration-file=/tmp/remount.toml --path=/mnt/$place erofs || true
done
