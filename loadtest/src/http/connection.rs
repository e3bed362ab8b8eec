//! One connection of a client that does as little as it can, so that what is measured is the server: bytes of a request that
//! was written beforehand go out, and of the answer no more is read than its status, its length and its body.

use std::io;
use std::net::SocketAddr;
use std::str;

use memchr::memmem;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Larger answers are refused: none of a bench comes near.
const ANSWER_BYTES_MAX: usize = 1 << 20;

#[derive(Debug, thiserror::Error)]
pub enum WireError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("the server closed the connection in the middle of an answer")]
    Closed,
    #[error("an answer cannot be read: {0}")]
    Garbled(&'static str),
}

pub struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
    filled: usize,
}

/// One answer, valid until the next question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer<'a> {
    pub status: u16,
    pub body: &'a [u8],
}

impl Connection {
    pub async fn open(address: SocketAddr) -> Result<Connection, WireError> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Connection { stream, buffer: vec![0; 4_096], filled: 0 })
    }

    /// Sends a request and waits for all of its answer. After an error the connection is of no use.
    pub async fn ask(&mut self, request: &[u8]) -> Result<Answer<'_>, WireError> {
        self.stream.write_all(request).await?;
        self.filled = 0;
        loop {
            if let Some(head) = Head::find(&self.buffer[..self.filled])? {
                let end = head.bytes + head.body_bytes;
                if end > ANSWER_BYTES_MAX {
                    return Err(WireError::Garbled("it is longer than a mebibyte"));
                }
                while self.filled < end {
                    self.read(end).await?;
                }
                if self.filled > end {
                    return Err(WireError::Garbled("something follows it that nobody asked for"));
                }
                return Ok(Answer { status: head.status, body: &self.buffer[head.bytes..end] });
            }
            self.read(self.filled + 1).await?;
        }
    }

    /// Reads what is there, with room for `end` bytes in all.
    async fn read(&mut self, end: usize) -> Result<(), WireError> {
        if end > ANSWER_BYTES_MAX {
            return Err(WireError::Garbled("its head has no end"));
        }
        if end > self.buffer.len() {
            self.buffer.resize(end.next_power_of_two(), 0);
        }
        match self.stream.read(&mut self.buffer[self.filled..]).await? {
            0 => Err(WireError::Closed),
            read => {
                self.filled += read;
                Ok(())
            }
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Head {
    status: u16,
    /// Up to and with the empty line.
    bytes: usize,
    body_bytes: usize,
}

impl Head {
    /// None while its end has not come.
    fn find(bytes: &[u8]) -> Result<Option<Head>, WireError> {
        let Some(end) = memmem::find(bytes, b"\r\n\r\n") else { return Ok(None) };
        let head = str::from_utf8(&bytes[..end]).map_err(|_| WireError::Garbled("its head is not text"))?;
        let mut lines = head.split("\r\n");
        let status = lines.next().and_then(|line| line.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok());
        let status = status.ok_or(WireError::Garbled("it has no status"))?;
        let length = lines.filter_map(|line| line.split_once(':'));
        let length = length.filter(|(name, _)| name.eq_ignore_ascii_case("content-length"));
        let length = length.map(|(_, value)| value.trim().parse().ok()).next().flatten();
        let body_bytes = length.ok_or(WireError::Garbled("it has no length"))?;
        Ok(Some(Head { status, bytes: end + 4, body_bytes }))
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    /// What a client makes of a server that writes these pieces and hangs up.
    async fn asked(pieces: &'static [&'static str]) -> Result<(u16, String), String> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 4];
            stream.read_exact(&mut request).await.unwrap();
            for piece in pieces {
                stream.write_all(piece.as_bytes()).await.unwrap();
                stream.flush().await.unwrap();
                tokio::task::yield_now().await;
            }
        };
        let client = async {
            let mut connection = Connection::open(address).await.unwrap();
            let answer = connection.ask(b"GET ").await.map_err(|error| error.to_string())?;
            Ok((answer.status, String::from_utf8(answer.body.into()).unwrap()))
        };
        let (_served, answer) = tokio::join!(server, client);
        answer
    }

    #[tokio::test]
    async fn an_answer_is_read_to_its_end_and_no_further() {
        let whole = ["HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"];
        assert_eq!(asked(whole.as_slice().to_vec().leak()).await, Ok((200, "{}".into())));
        let pieces = &["HTTP/1.1 402 Payment", " Required\r\nContent-Length:", " 5\r\n", "\r\nab", "cde"];
        assert_eq!(asked(pieces).await, Ok((402, "abcde".into())));
    }

    #[tokio::test]
    async fn what_is_no_answer_is_told() {
        let told = async |pieces| asked(pieces).await.unwrap_err();
        assert!(told(&["HTTP/1.1 200 OK\r\n"]).await.contains("middle of an answer"));
        assert!(told(&["HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc"]).await.contains("middle of an answer"));
        assert!(told(&["HTTP/1.1 200 OK\r\n\r\n"]).await.contains("no length"));
        assert!(told(&["SSH-2.0\r\ncontent-length: 0\r\n\r\n"]).await.contains("no status"));
        assert!(told(&["HTTP/1.1 200 OK\r\ncontent-length: 9999999\r\n\r\n"]).await.contains("mebibyte"));
        assert!(told(&["HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nab"]).await.contains("nobody asked"));
    }
}
