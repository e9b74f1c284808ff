//! A TCP line to a server that can be cut and mended.
//!
//! ```text
//! client ── 127.0.0.1:<port> ──▶ wire ──▶ server
//!                                  └ cut: running connections break, new ones are closed as soon as they are made
//! ```
//!
//! Bytes are passed on as they are. Two threads a connection, which end with it; all end when the [`Wire`] is dropped.

use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

/// A line from a port of this machine to a server.
#[derive(Debug)]
pub struct Wire {
    /// Where clients connect to.
    pub address: SocketAddr,
    line: Arc<Line>,
}

#[derive(Debug)]
struct Line {
    server: SocketAddr,
    is_cut: AtomicBool,
    is_over: AtomicBool,
    turned_away: AtomicU64,
    /// Both ends of every connection that was passed on and may still run.
    ends: Mutex<Vec<[TcpStream; 2]>>,
}

impl Wire {
    /// A line to `server`, whole at first.
    ///
    /// # Errors
    /// When no port is free.
    pub fn to(server: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let address = listener.local_addr()?;
        let line = Arc::new(Line {
            server,
            is_cut: AtomicBool::new(false),
            is_over: AtomicBool::new(false),
            turned_away: AtomicU64::new(0),
            ends: Mutex::default(),
        });
        let listening = Arc::clone(&line);
        thread::spawn(move || listening.listen(&listener));
        Ok(Self { address, line })
    }

    /// Breaks what runs; what is begun from now on breaks at once.
    pub fn cut(&self) {
        self.line.is_cut.store(true, Ordering::SeqCst);
        self.line.break_all();
    }

    /// Lets connections through again.
    pub fn mend(&self) {
        self.line.is_cut.store(false, Ordering::SeqCst);
    }

    /// Connections that were begun while the line was cut.
    pub fn turned_away(&self) -> u64 {
        self.line.turned_away.load(Ordering::SeqCst)
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.line.is_over.store(true, Ordering::SeqCst);
        self.line.break_all();
        // wakes the listener; when that fails nobody listens any more
        let _ = TcpStream::connect(self.address);
    }
}

impl Line {
    fn listen(self: &Arc<Self>, listener: &TcpListener) {
        for client in listener.incoming().map_while(Result::ok) {
            if self.is_over.load(Ordering::SeqCst) {
                return;
            }
            // a server that is gone is for the client to notice
            let _ = self.carry(client);
        }
    }

    fn carry(self: &Arc<Self>, client: TcpStream) -> io::Result<()> {
        if self.is_cut.load(Ordering::SeqCst) {
            self.turned_away.fetch_add(1, Ordering::SeqCst);
            return Ok(());
        }
        let server = TcpStream::connect(self.server)?;
        client.set_nodelay(true)?;
        server.set_nodelay(true)?;
        let mut ends = self.ends();
        ends.retain(|[client, _]| client.peer_addr().is_ok());
        ends.push([client.try_clone()?, server.try_clone()?]);
        // a cut that came in between does not know of this connection
        if self.is_cut.load(Ordering::SeqCst) {
            break_off(&ends.pop().into_iter().collect::<Vec<_>>());
            return Ok(());
        }
        drop(ends);
        let (from, to) = (client.try_clone()?, server.try_clone()?);
        thread::spawn(move || pass_on(&from, &to));
        thread::spawn(move || pass_on(&server, &client));
        Ok(())
    }

    fn break_all(&self) {
        break_off(&std::mem::take(&mut *self.ends()));
    }

    fn ends(&self) -> std::sync::MutexGuard<'_, Vec<[TcpStream; 2]>> {
        self.ends.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Passes bytes on until either side ends; then both do.
fn pass_on(mut from: &TcpStream, mut to: &TcpStream) {
    let _ = io::copy(&mut from, &mut to);
    // one that has ended already says so, and that is all there is to say
    let _ = to.shutdown(Shutdown::Both);
    let _ = from.shutdown(Shutdown::Both);
}

fn break_off(connections: &[[TcpStream; 2]]) {
    for end in connections.iter().flatten() {
        let _ = end.shutdown(Shutdown::Both);
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;

    /// A server that sends back what it gets.
    fn echo() -> SocketAddr {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            for socket in listener.incoming().map_while(Result::ok) {
                thread::spawn(move || io::copy(&mut &socket, &mut &socket));
            }
        });
        address
    }

    fn ask(mut socket: &TcpStream) -> io::Result<[u8; 4]> {
        let mut answer = [0; 4];
        socket.write_all(b"ping")?;
        socket.read_exact(&mut answer)?;
        Ok(answer)
    }

    #[test]
    fn a_line_carries_until_it_is_cut_and_again_when_it_is_mended() {
        let wire = Wire::to(echo()).unwrap();
        let first = TcpStream::connect(wire.address).unwrap();
        assert_eq!(&ask(&first).unwrap(), b"ping");
        wire.cut();
        ask(&first).unwrap_err();
        ask(&TcpStream::connect(wire.address).unwrap()).unwrap_err();
        assert_eq!(wire.turned_away(), 1);
        wire.mend();
        ask(&first).unwrap_err();
        assert_eq!(&ask(&TcpStream::connect(wire.address).unwrap()).unwrap(), b"ping");
    }
}
