# Makes the pauses that a program sees visible: perl prober.pl FILE writes 4 KiB to FILE and syncs them, again and again, and
# says of each time that took longer than 20 ms when it ended (seconds) and how long it took (ms). Ends when /tmp/stop is there.
use strict;
use Fcntl;
use IO::Handle;
use Time::HiRes qw(time sleep);

my ($name) = @ARGV;
$| = 1;
sysopen my $file, $name, O_RDWR | O_CREAT or die "open: $!";
my $number = 0;
until (-e '/tmp/stop') {
    my $record = pack 'Q', ++$number;
    my $begun = time;
    sysseek $file, 0, 0;
    syswrite $file, $record x 512 or die "write: $!";
    $file->sync or die "fsync: $!";
    my $end = time;
    printf "%.3f %.0f\n", $end, ($end - $begun) * 1000 if $end - $begun > 0.02;
    sleep 0.01;
}
print "done $number\n";
