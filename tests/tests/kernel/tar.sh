# A tree with many files goes through tar, there and back. Four at once, as a flush of the server's disk serves all.
mkdir /mnt/a/tree
cd /mnt/a/tree
four() {
    local begun=$SECONDS pids=()
    for part in 0 1 2 3; do
        "${@//PART/$part}" &
        pids+=($!)
    done
    for pid in "${pids[@]}"; do wait "$pid"; done
    echo "$1 $2: $((SECONDS - begun)) s"
}
four tar --extract --file=/lab/PART.tar
cd /
umount /mnt/a
$MOUNT
cd /mnt/a/tree
# Content, size, owner, mode and times of each.
four tar --compare --file=/lab/PART.tar
test "$(find . -type f | wc -l)" = "$FILES"
four rm --recursive PART
rmdir ../tree
