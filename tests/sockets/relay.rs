//! What stands between the proxy and its server: passes every byte on, with the faults that a run asks for.
//!
//! Never looks behind the start-up packet, in which it finds the run's number. Read `session.rs` next.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::faulty::{Fault, FaultySocket, end};
use super::session::RunNumber;

/// Faults of one run's server connection.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    pub to_server: Fault,
    pub to_proxy: Fault,
}

/// Bytes that passed on one run's server connection.
#[derive(Clone, Copy, Debug, Default)]
pub struct Passed {
    pub to_server: usize,
    pub to_proxy: usize,
}

#[derive(Default)]
struct Runs {
    faults: HashMap<RunNumber, Faults>,
    passed: HashMap<RunNumber, Passed>,
}

/// A relay in front of a server, for as long as the test lives.
#[derive(Clone)]
pub struct Relay {
    pub address: SocketAddr,
    runs: Arc<Mutex<Runs>>,
}

impl Relay {
    pub fn in_front_of(server: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let relay = Self {
            address: listener.local_addr()?,
            runs: Arc::default(),
        };
        let runs = Arc::clone(&relay.runs);
        thread::spawn(move || {
            for accepted in listener.incoming().map_while(Result::ok) {
                let runs = Arc::clone(&runs);
                // An error is one side's hanging up, which is what the test does.
                thread::spawn(move || relay_one(accepted, server, &runs));
            }
        });
        Ok(relay)
    }

    /// What is to happen to the server connection of this run.
    pub fn expect(&self, run: RunNumber, faults: Faults) {
        lock(&self.runs).faults.insert(run, faults);
    }

    /// What passed in a run, once its server connection has ended.
    pub fn passed_in_all(&self, run: RunNumber) -> Passed {
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            if let Some(passed) = lock(&self.runs).passed.get(&run) {
                return *passed;
            }
            assert!(
                Instant::now() < deadline,
                "the server connection of {run} does not end"
            );
            thread::sleep(Duration::from_millis(5));
        }
    }
}

fn lock(runs: &Mutex<Runs>) -> std::sync::MutexGuard<'_, Runs> {
    runs.lock().unwrap_or_else(PoisonError::into_inner)
}

fn relay_one(mut proxy: TcpStream, server: SocketAddr, runs: &Mutex<Runs>) -> io::Result<()> {
    let server = TcpStream::connect(server)?;
    proxy.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let first = first_packet(&mut proxy)?;
    let run = RunNumber::find_in(&first);
    let faults = run.and_then(|run| lock(runs).faults.get(&run).copied());
    let faults = faults.unwrap_or_default();
    let mut to_server = FaultySocket::new(server.try_clone()?, faults.to_server, Fault::None);
    let mut to_proxy = FaultySocket::new(proxy.try_clone()?, faults.to_proxy, Fault::None);
    thread::scope(|scope| {
        scope.spawn(|| {
            pass(&server, &mut to_proxy, &[]);
            end_both(&proxy, &server, &to_proxy);
        });
        pass(&proxy, &mut to_server, &first);
        end_both(&proxy, &server, &to_server);
    });
    if let Some(run) = run {
        let passed = Passed {
            to_server: to_server.written,
            to_proxy: to_proxy.written,
        };
        lock(runs).passed.insert(run, passed);
    }
    Ok(())
}

fn end_both(proxy: &TcpStream, server: &TcpStream, faulty: &FaultySocket) {
    let ending = faulty.ending();
    end(proxy, ending);
    end(server, ending);
}

/// Passes bytes on until one side ends.
fn pass(mut from: &TcpStream, to: &mut FaultySocket, first: &[u8]) {
    if to.write_all(first).is_err() {
        return;
    }
    let mut chunk = [0; 16 << 10];
    while let Ok(count @ 1..) = from.read(&mut chunk) {
        if to.write_all(&chunk[..count]).is_err() {
            return;
        }
    }
}

/// The whole start-up packet, or cancel request.
fn first_packet(proxy: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut packet = vec![0; 4];
    proxy.read_exact(&mut packet)?;
    let length = u32::from_be_bytes([packet[0], packet[1], packet[2], packet[3]]);
    packet.resize(length as usize, 0);
    proxy.read_exact(&mut packet[4..])?;
    Ok(packet)
}
