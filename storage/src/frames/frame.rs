//! What one frame is called and made of.

use std::sync::Arc;

use largesse_engine::codec::{self, Undecodable};
use largesse_engine::room::command::{Chunk, RoomNews};
use largesse_engine::room::event::{FeedItem, RoomHead};
use largesse_engine::units::{RoomId, RoomSeq};

/// How the bytes behind it are to be read. Another number is another format.
const VERSION: u8 = 1;

#[derive(Debug, thiserror::Error)]
pub enum BadFrame {
    #[error("a frame is empty")]
    Empty,
    #[error("a frame has version {0}, and this program knows {VERSION}")]
    Version(u8),
    #[error(transparent)]
    Undecodable(#[from] Undecodable),
}

/// The channel of a room. The braces put each room of a cluster on the server that its number says.
pub fn channel(prefix: &str, room: RoomId) -> String {
    format!("{prefix}frames.{{{room}}}")
}

/// When something is to happen next is the owner's business, so it does not travel.
pub fn encode(news: &RoomNews) -> Vec<u8> {
    let mut out = vec![VERSION];
    codec::encode_into(&news.room, &mut out);
    codec::encode_into(&news.chunk.first, &mut out);
    codec::encode_into(&&*news.chunk.items, &mut out);
    codec::encode_into(&*news.head, &mut out);
    out
}

pub fn decode(bytes: &[u8]) -> Result<RoomNews, BadFrame> {
    let (&version, bytes) = bytes.split_first().ok_or(BadFrame::Empty)?;
    if version != VERSION {
        return Err(BadFrame::Version(version));
    }
    let (room, first, items, head): (RoomId, RoomSeq, Vec<FeedItem>, RoomHead) = codec::decode(bytes)?;
    Ok(RoomNews { room, chunk: Chunk { first, items: items.into() }, head: Arc::new(head), due: None })
}

#[cfg(test)]
mod tests {
    use largesse_engine::room::event::FeedWhat;
    use largesse_engine::units::Time;

    use super::*;

    fn news(items: u32) -> RoomNews {
        let item = |live| FeedItem { at: Time(5), what: FeedWhat::LiveStarted { live } };
        let chunk = Chunk { first: RoomSeq(7), items: (0..items).map(item).collect() };
        let head = RoomHead { next: chunk.next(), ..RoomHead::new(Time(3)) };
        RoomNews { room: RoomId(1001), chunk, head: Arc::new(head), due: Some(Time(9)) }
    }

    #[test]
    fn a_frame_comes_out_as_it_went_in() {
        for items in [0, 1, 100] {
            let (sent, got) = (news(items), decode(&encode(&news(items))).unwrap());
            assert_eq!((got.room, got.chunk, got.head, got.due), (sent.room, sent.chunk, sent.head, None));
        }
    }

    #[test]
    fn what_is_no_frame_is_refused() {
        let good = encode(&news(3));
        assert!(matches!(decode(&[]), Err(BadFrame::Empty)));
        assert!(matches!(decode(&[2, 0, 0]), Err(BadFrame::Version(2))));
        for end in 1..good.len() {
            assert!(matches!(decode(&good[..end]), Err(BadFrame::Undecodable(_))), "cut at {end}");
        }
        let longer = [good.as_slice(), &[0]].concat();
        assert!(matches!(decode(&longer), Err(BadFrame::Undecodable(_))));
    }

    #[test]
    fn each_room_has_a_channel() {
        assert_eq!(channel("main:", RoomId(1001)), "main:frames.{1001}");
    }
}
