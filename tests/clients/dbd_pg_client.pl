# DBD::Pg with its defaults but AutoCommit's, which DBI wants named: simple protocol without parameters, else named.
use strict;
use warnings;
use DBI;
use JSON::PP;

$| = 1;
my ($url, $mode, $argument) = @ARGV;
my ($user, $password, $host, $port, $database) = $url =~ m{^postgresql://(.+):(.+)\@(.+):(\d+)/(.+)$};
my $connection = DBI->connect("dbi:Pg:dbname=$database;host=$host;port=$port", $user, $password,
    { AutoCommit => 1, RaiseError => 1, PrintError => 0 });
eval {
    if ($mode eq 'delete') {
        my $rows = $connection->selectall_arrayref("DELETE FROM $argument WHERE n > ? RETURNING n", undef, 3);
        print "rows ", scalar(@$rows), "\n";
    } else {
        $connection->do($argument);
        print "ok\n";
    }
    1;
} or do {
    my ($first) = split /\n/, $connection->errstr;
    print "error ", $connection->state, " $first\n";
    print "shown ", JSON::PP->new->allow_nonref->encode("$@"), "\n";
};
print "after ", $connection->selectrow_array('SELECT 1'), "\n";
