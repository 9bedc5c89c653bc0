# Makes files that another client makes too, in an order of its own; says how many it was the first to make.
mkdir -p /mnt/a/exclusive
cd /mnt/a/exclusive
perl -MTime::HiRes=time,sleep -MErrno -MFcntl -e '
    my ($count, $guest, $start) = @ARGV;
    # Both begin together: they have one clock.
    sleep $start - time if $start > time;
    my $won = 0;
    srand $guest;
    # The same order but for small steps aside, so that both are at the same place most of the time.
    for my $n (1 .. $count) {
        my $name = int(($n - 1) / 8) * 8 + (($n - 1) * $guest + int rand 8) % 8 + 1;
        for my $n ($name, $n) {
            next if $n > $count;
            if (sysopen my $file, $n, O_CREAT | O_EXCL | O_WRONLY, 0644) {
                print $file "by $guest\n";
                close $file or die "close: $!";
                $won++;
            } elsif (!$!{EEXIST}) {
                die "open: $!";
            }
        }
    }
    print "$won\n"' "$COUNT" "$GUEST" "$START"
