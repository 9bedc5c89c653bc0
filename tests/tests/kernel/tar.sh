# A tree with many files goes through tar, there and back.
mkdir /tmp/tree
cd /tmp/tree
perl -e '
    my ($files) = @ARGV;
    for my $n (0 .. $files - 1) {
        my $dir = sprintf "%03d", $n / 250;
        mkdir $dir if $n % 250 == 0;
        open my $file, ">", "$dir/" . ("name-" x ($n % 7)) . $n or die;
        print $file chr(65 + $n % 26) x ($n * 37 % 4000);
    }' "$FILES"
find . | wc -l
tar --create --file=/tmp/tree.tar .
cd /mnt/a
mkdir tree
time tar --extract --file=/tmp/tree.tar --directory=tree
cd /
umount /mnt/a
mount -t nfs -o vers=3,nolock "$SERVER:/data" /mnt/a
cd /mnt/a
# Content, size, owner, mode and times of each.
time tar --compare --file=/tmp/tree.tar --directory=tree
test "$(find tree | wc -l)" = "$(find /tmp/tree | wc -l)"
time rm -r tree
