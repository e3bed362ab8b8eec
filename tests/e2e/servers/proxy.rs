//! A network between a process and a server, which can be cut and slowed down.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// What becomes of bytes on their way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Open,
    /// They arrive so much later.
    Slow(Duration),
    /// Connections stay and nothing arrives; what was sent arrives when the way is open again.
    Silent,
    /// Connections break, and no new one lasts.
    Broken,
}

pub struct Proxy {
    pub port: u16,
    way: watch::Sender<Way>,
    target: watch::Sender<u16>,
}

impl Proxy {
    /// Takes connections from now on; they lead somewhere once [`Proxy::leads_to`] has said where.
    pub async fn new() -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (way, on) = watch::channel(Way::Open);
        let (target, mut to) = watch::channel(0);
        tokio::spawn(async move {
            while let Ok((from, _)) = listener.accept().await {
                let Ok(port) = to.wait_for(|port| *port > 0).await.map(|port| *port) else { return };
                if *on.borrow() != Way::Broken
                    && let Ok(to) = TcpStream::connect(("127.0.0.1", port)).await
                {
                    join(from, to, &on);
                }
            }
        });
        Proxy { port, way, target }
    }

    pub fn leads_to(&self, port: u16) {
        self.target.send_replace(port);
    }

    pub fn set(&self, way: Way) {
        self.way.send_replace(way);
    }
}

fn join(from: TcpStream, to: TcpStream, way: &watch::Receiver<Way>) {
    for stream in [&from, &to] {
        stream.set_nodelay(true).unwrap();
    }
    let ((from_read, from_write), (to_read, to_write)) = (from.into_split(), to.into_split());
    tokio::spawn(carry(from_read, to_write, way.clone()));
    tokio::spawn(carry(to_read, from_write, way.clone()));
}

/// Until either side is gone or the way breaks, which both directions notice.
async fn carry(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut way: watch::Receiver<Way>) {
    let mut breaks = way.clone();
    let carrying = async {
        let mut bytes = vec![0; 64 << 10];
        while let Ok(count @ 1..) = from.read(&mut bytes).await {
            let Ok(now) = way.wait_for(|way| *way != Way::Silent).await.map(|way| *way) else { return };
            if let Way::Slow(by) = now {
                // Not a wait for anything: it is how long the way is.
                tokio::time::sleep(by).await;
            }
            if to.write_all(&bytes[..count]).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = carrying => {}
        _broken = breaks.wait_for(|way| *way == Way::Broken) => {}
    }
    // The other direction may go on for a while; whoever reads here is told that it is over.
    let _gone = to.shutdown().await;
}
