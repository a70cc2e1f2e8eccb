-- Verifiers for mysql_native_password were kept of every secret, though nobody had asked for them and SHA-1 is all that
-- stands behind them. From now on they are kept where `--mysql-native` asks for it; an agent that needs one is rotated.
UPDATE agents SET verifiers = json_remove(verifiers, '$.mysql_native_password');
