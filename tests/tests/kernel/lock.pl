# Locks as a program of a client takes them: perl lock.pl KIND COMMAND FILE [START LEN]
#   KIND is fcntl (a range of bytes, or all) or flock. COMMAND is
#   hold     waits for the lock, says "locked", keeps it until the file /tmp/release-START is there
#   try      says "granted" or "denied"; a lock that was granted ends with the program
#   count N  adds one to the number in FILE, N times, each under a lock
use strict;
use Fcntl qw(:DEFAULT :flock SEEK_SET);
use Errno qw(EAGAIN EACCES);

my ($kind, $command, $name, @rest) = @ARGV;
$| = 1;
sysopen my $file, $name, O_RDWR | O_CREAT or die "open: $!";

sub lock_it {
    my ($type, $wait, $start, $len) = @_;
    return flock $file, ($type == F_UNLCK ? LOCK_UN : LOCK_EX) | ($wait ? 0 : LOCK_NB) if $kind eq 'flock';
    # struct flock on 64-bit Linux.
    return fcntl $file, $wait ? F_SETLKW : F_SETLK, pack 's s x4 q q l x4', $type, SEEK_SET, $start, $len, 0;
}

if ($command eq 'hold') {
    my ($start, $len) = @rest;
    lock_it(F_WRLCK, 1, $start, $len) or die "lock: $!";
    print "locked\n";
    select undef, undef, undef, 0.05 until -e "/tmp/release-$start";
    lock_it(F_UNLCK, 1, $start, $len) or die "unlock: $!";
    print "released\n";
} elsif ($command eq 'try') {
    if (lock_it(F_WRLCK, 0, @rest)) {
        print "granted\n";
    } elsif ($!{EAGAIN} || $!{EACCES}) {
        print "denied\n";
    } else {
        die "lock: $!";
    }
} else {
    my ($times) = @rest;
    for (1 .. $times) {
        lock_it(F_WRLCK, 1, 0, 0) or die "lock: $!";
        sysseek $file, 0, SEEK_SET;
        sysread $file, my $number, 20;
        $number = ($number || 0) + 1;
        sysseek $file, 0, SEEK_SET;
        syswrite $file, $number or die "write: $!";
        lock_it(F_UNLCK, 1, 0, 0) or die "unlock: $!";
    }
    print "counted\n";
}
