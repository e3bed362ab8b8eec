//! One connection, as those see it who write to it from any thread.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::{Buf, Bytes};
use rustix::io::Errno;
use rustix::net::{SendFlags, Shutdown};
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::sync::Notify;

use crate::ws::options::{QUEUED_BYTES_MAX, SEND_BUFFER_BYTES};

pub struct Socket {
    tcp: TcpStream,
    out: Mutex<Out>,
    /// Tells the reading task that something is queued, or that it fell behind.
    pub wake: Notify,
}

#[derive(Default)]
struct Out {
    queue: VecDeque<Bytes>,
    bytes: usize,
    is_broken: bool,
}

/// What became of a frame that was offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offered {
    Taken,
    /// Earlier frames are not out yet, so this one was not taken.
    Behind,
    Gone,
}

impl Socket {
    pub fn new(tcp: TcpStream) -> Socket {
        // What the kernel holds for a reader that is slow is old by the time it is read.
        let _as_it_is = rustix::net::sockopt::set_socket_send_buffer_size(&tcp, SEND_BUFFER_BYTES);
        Socket { tcp, out: Mutex::default(), wake: Notify::new() }
    }

    fn out(&self) -> MutexGuard<'_, Out> {
        self.out.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// For frames that everybody gets: straight to the kernel, and not at all while older ones wait.
    pub fn offer(&self, frame: &Bytes) -> Offered {
        self.offer_to(&mut self.out(), frame)
    }

    /// For frames of this client's own: kept until they can go. False when too much waits already.
    pub fn push(&self, frame: Bytes) -> bool {
        let mut out = self.out();
        if self.offer_to(&mut out, &frame) == Offered::Behind {
            if out.bytes + frame.len() > QUEUED_BYTES_MAX {
                return false;
            }
            out.keep(frame);
        }
        true
    }

    fn offer_to(&self, out: &mut Out, frame: &Bytes) -> Offered {
        if out.is_broken {
            return Offered::Gone;
        }
        if !out.queue.is_empty() {
            return Offered::Behind;
        }
        match rustix::net::send(&self.tcp, frame, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
            Ok(sent) if sent == frame.len() => return Offered::Taken,
            Ok(sent) => out.keep(frame.slice(sent..)),
            Err(Errno::AGAIN | Errno::INTR) => out.keep(frame.clone()),
            Err(_) => {
                out.is_broken = true;
                self.wake.notify_one();
                return Offered::Gone;
            }
        }
        self.wake.notify_one();
        Offered::Taken
    }

    pub fn has_queued(&self) -> bool {
        !self.out().queue.is_empty()
    }

    pub fn is_broken(&self) -> bool {
        self.out().is_broken
    }

    /// Writes what waits, as far as the kernel takes it.
    pub fn drain(&self) -> io::Result<()> {
        let mut out = self.out();
        while let Some(mut front) = out.queue.pop_front() {
            match self.tcp.try_write(&front) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(sent) => {
                    out.bytes -= sent;
                    front.advance(sent);
                    if !front.is_empty() {
                        out.queue.push_front(front);
                    }
                }
                Err(error) => {
                    out.queue.push_front(front);
                    return if error.kind() == io::ErrorKind::WouldBlock { Ok(()) } else { Err(error) };
                }
            }
        }
        Ok(())
    }

    /// Resolves when there is something to read, or room to write for what waits.
    pub async fn ready(&self) -> io::Result<()> {
        let interest = if self.has_queued() { Interest::READABLE | Interest::WRITABLE } else { Interest::READABLE };
        self.tcp.ready(interest).await.map(drop)
    }

    /// Nothing more is written; the other side reads what was, and then the end.
    pub fn shut_writing(&self) {
        let _gone = rustix::net::shutdown(&self.tcp, Shutdown::Write);
    }

    /// Reads and forgets whatever still comes.
    pub async fn read_to_end(&self) {
        let mut buffer = [0; 1 << 10];
        while self.tcp.ready(Interest::READABLE).await.is_ok() {
            match self.tcp.try_read(&mut buffer) {
                Ok(0) => return,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return,
            }
        }
    }

    /// Ends it in both directions; what waits is lost.
    pub fn shut(&self) {
        let _gone = rustix::net::shutdown(&self.tcp, Shutdown::Both);
    }
}

impl Out {
    fn keep(&mut self, frame: Bytes) {
        self.bytes += frame.len();
        self.queue.push_back(frame);
    }
}

/// The socket as the protocol's own code reads it, and answers pings on it.
pub struct Stream<'a> {
    pub socket: &'a Socket,
    /// Bytes that may still be read before it is somebody else's turn.
    pub left: &'a mut usize,
}

impl Read for Stream<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let size = buffer.len().min(*self.left);
        if size == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let read = self.socket.tcp.try_read(&mut buffer[..size])?;
        *self.left -= read;
        Ok(read)
    }
}

impl Write for Stream<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.socket.push(Bytes::copy_from_slice(bytes)) {
            Ok(bytes.len())
        } else {
            Err(io::ErrorKind::OutOfMemory.into())
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
