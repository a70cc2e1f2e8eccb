"""A scratch MariaDB for the scripts in this folder. Never touches a server that it did not start."""

import os
import secrets
import signal
import subprocess
import time

import stage  # tests/suites, put on the path by who imports this

# Also without a package's own settings: what /etc says of the machine's server is not asked.
ALONE = "--no-defaults"


class Server:
    """A server of its own with the fixtures' settings, gone at `stop`."""

    def __init__(self, folder):
        self.folder, self.user, self.port = folder, stage.server_user(), stage.free_port()
        self.password = secrets.token_urlsafe(18)
        folder.mkdir(mode=0o711)
        self.data = folder / "data"
        self.data.mkdir(mode=0o700)
        if self.user:
            os.chown(self.data, self.user["user"], self.user["group"])
        stage.run([
            "mariadb-install-db", ALONE, f"--datadir={self.data}", "--auth-root-authentication-method=normal",
            "--skip-test-db",
        ], env={**stage.CLEAN, "PATH": "/usr/sbin:/usr/bin:/bin:/sbin", "TMPDIR": str(self.data)}, cwd="/", **self.user)
        first = folder / "first.sql"
        first.write_text(
            f"CREATE OR REPLACE USER 'root'@'127.0.0.1' IDENTIFIED BY '{self.password}';\n"
            "GRANT ALL ON *.* TO 'root'@'127.0.0.1' WITH GRANT OPTION;\n"
        )
        first.chmod(0o644)
        self.log = folder / "server.log"
        with self.log.open("w") as log:
            self.process = subprocess.Popen([
                "/usr/sbin/mariadbd", ALONE, f"--datadir={self.data}", f"--port={self.port}",
                "--bind-address=127.0.0.1", "--skip-name-resolve", f"--socket={self.data}/socket", f"--pid-file={self.data}/pid",
                f"--init-file={first}", "--log-bin=binlog", "--server-id=1", "--event-scheduler=ON", "--local-infile=1",
                "--secure-file-priv=", "--innodb-flush-log-at-trx-commit=0",
            ], env={**stage.CLEAN, "TMPDIR": str(self.data)}, cwd="/", stdout=log, stderr=log, **self.user)
        self.wait()

    def client(self, database=""):
        return [
            "mariadb", ALONE, "--protocol=tcp", "--host=127.0.0.1", f"--port={self.port}", "--user=root",
            "--default-character-set=utf8mb4", *([database] if database else []),
        ]

    def environment(self):
        return {**stage.CLEAN, "MYSQL_PWD": self.password}

    def wait(self):
        for _ in range(600):
            if self.process.poll() is not None:
                break
            ready = subprocess.run([*self.client(), "-e", "SELECT 1"], env=self.environment(), capture_output=True)
            if ready.returncode == 0:
                return
            time.sleep(0.1)
        stage.fail(f"MariaDB did not start: {self.log.read_text()[-2000:]}", "read its words above")

    def fixtures(self, file):
        stage.run(self.client(), env=self.environment(), input=file.read_text())

    def url(self, database):
        return f"mysql://root:{self.password}@127.0.0.1:{self.port}/{database}"

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)  # nobody needs this server any more
            self.process.wait()
