<?php
// PHP's PDO with its defaults: named statements for whatever has parameters, simple protocol for the rest.
[, $url, $mode, $argument] = $argv;
$place = parse_url($url);
$name = ltrim($place['path'], '/');
$connection = new PDO("pgsql:host={$place['host']};port={$place['port']};dbname=$name", $place['user'], $place['pass']);
try {
    if ($mode === 'delete') {
        $statement = $connection->prepare("DELETE FROM $argument WHERE n > ? RETURNING n");
        $statement->execute([3]);
        echo 'rows ', count($statement->fetchAll()), "\n";
    } else {
        $connection->exec($argument);
        echo "ok\n";
    }
} catch (PDOException $error) {
    echo 'error ', $error->errorInfo[0], ' ', strtok($error->errorInfo[2], "\n"), "\n";
    echo 'shown ', json_encode(get_class($error) . ': ' . $error->getMessage()), "\n";
}
echo 'after ', $connection->query('SELECT 1')->fetchColumn(), "\n";
