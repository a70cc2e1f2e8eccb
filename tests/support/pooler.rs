//! PgBouncer between the proxy and a scratch server, in session mode, with its own defaults otherwise.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use countersign::cli::demo::postgres::{SUPERUSER, ScratchServer};

use super::wire::Url;

/// A running PgBouncer. Ended when dropped, and by the kernel when the test is killed.
pub struct Pooler {
    child: Child,
    port: u16,
}

impl Pooler {
    /// Lets in whom the server knows, by PgBouncer's own query for verifiers.
    pub fn start(server: &ScratchServer) -> Self {
        let (folder, server_port) = (server.folder(), server.port());
        let port = free_port();
        let settings = folder.join("pgbouncer.ini");
        let users_file = folder.join("pgbouncer.users");
        let superuser = Url::parse(&server.superuser_url(SUPERUSER));
        write(
            &users_file,
            &format!("\"{SUPERUSER}\" \"{}\"\n", superuser.password),
        );
        // It refuses start-up parameters that it does not follow, unless it is told to drop them; and each session of an
        // agent needs a connection of its own, of which it makes 20 by default.
        let text = format!(
            "[databases]\n* = host=127.0.0.1 port={server_port}\n[pgbouncer]\nlisten_addr = 127.0.0.1\n\
             listen_port = {port}\nunix_socket_dir =\nauth_type = scram-sha-256\nauth_file = {}\n\
             auth_user = {SUPERUSER}\n\
             pool_mode = session\ndefault_pool_size = 100\nignore_startup_parameters = extra_float_digits,options\n",
            users_file.display()
        );
        write(&settings, &text);
        let mut command = Command::new("setpriv");
        command.arg("--pdeathsig=KILL");
        if rustix::process::geteuid().is_root() {
            // It refuses to run as root.
            command.args(["--reuid=nobody", "--regid=nogroup", "--clear-groups"]);
        }
        command.args(["pgbouncer", "--quiet"]).arg(&settings);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let log = std::fs::File::create(folder.join("pgbouncer.log")).expect("a log");
        let child = command
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| panic!("cannot run pgbouncer by setpriv: {error}"));
        let mut pooler = Pooler { child, port };
        pooler.wait_until_it_listens(folder);
        pooler
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    fn wait_until_it_listens(&mut self, folder: &Path) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while std::net::TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            let ended = self.child.try_wait().expect("the child can be asked");
            if ended.is_some() || Instant::now() > deadline {
                let log = std::fs::read_to_string(folder.join("pgbouncer.log")).unwrap_or_default();
                panic!("pgbouncer does not listen: {log}");
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    listener.local_addr().expect("it is bound").port()
}

/// Readable by the user that PgBouncer runs as; the folder around it can be listed by nobody.
fn write(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap_or_else(|error| panic!("cannot write {}: {error}", path.display()));
}
