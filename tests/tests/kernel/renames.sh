# Takes tokens by renaming them, as another client does; after each, replaces a file that both replace, and reads it.
cd /mnt/a/race
perl -MTime::HiRes=time,sleep -MErrno -e '
    my ($count, $guest, $start) = @ARGV;
    # Both begin together: they have one clock.
    sleep $start - time if $start > time;
    my $won = 0;
    my $line = "$guest" x 999 . "\n";
    for my $turn (0 .. $count - 1) {
        # One goes through each ten of them backwards, so that whoever comes later finds some.
        my $n = $guest == 1 ? $turn + 1 : $turn - $turn % 10 + 10 - $turn % 10;
        if (rename "token$n", "won$guest-$n") {
            $won++;
        } elsif (!$!{ENOENT}) {
            die "rename: $!";
        }
        next if $n % 5;
        open my $new, ">", "new$guest" or die "open: $!";
        print $new $line;
        close $new or die "close: $!";
        rename "new$guest", "shared" or die "rename: $!";
        # Replaced by the other client between LOOKUP and the rest of the open, twice: then Linux gives up.
        open my $shared, "<", "shared" or do { next if $!{ESTALE}; die "no shared file: $!" };
        my $content = do { local $/; <$shared> };
        # Replaced by the other client after it was opened: NFSv3 servers know of no open files.
        next if !defined $content && $!{ESTALE};
        die "read: $!" unless defined $content;
        die "torn: " . length $content unless $content =~ /^([12])\1{998}\n\z/;
    }
    print "$won\n"' "$COUNT" "$GUEST" "$START"
