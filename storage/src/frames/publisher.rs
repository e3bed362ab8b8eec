//! Sends the news of all rooms. It never holds anybody up: what it cannot send in time is lost, and counted.

use std::sync::Arc;

use futures::stream::{FuturesUnordered, StreamExt};
use largesse_engine::node::backoff::{Backoff, Ladder};
use largesse_engine::room::command::RoomNews;
use metrics::{Counter, counter, describe_counter};
use redis::{RedisResult, cmd};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::watch;

use super::FramesOptions;
use super::frame::{channel, encode};
use crate::redis_link::Link;

/// Frames on their way at once. Further news wait where they come from, which has a bound of its own.
const IN_FLIGHT_MAX: usize = 256;

/// Frames on their way out, for as long as it lives.
pub struct Publisher {
    stop: watch::Sender<bool>,
}

struct Worker {
    options: FramesOptions,
    news: Receiver<Arc<RoomNews>>,
    published: Counter,
    lost: Counter,
}

/// Why a connection is left.
enum Over {
    /// Nothing will come any more.
    Ended,
    Failed(redis::RedisError),
}

impl Publisher {
    /// Begins to send. Whether Redis can be reached makes no difference to this.
    pub fn start(options: FramesOptions, news: Receiver<Arc<RoomNews>>) -> std::io::Result<Publisher> {
        describe_counter!("largesse_frames_published_total", "Frames of rooms that Redis took");
        describe_counter!("largesse_frames_lost_total", "Frames of rooms that were not published");
        let (stop, mut stopping) = watch::channel(false);
        let worker = Worker {
            options,
            news,
            published: counter!("largesse_frames_published_total"),
            lost: counter!("largesse_frames_lost_total"),
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        std::thread::Builder::new().name("frames-out".into()).spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    () = worker.run() => (),
                    _over = stopping.wait_for(|is_stopping| *is_stopping) => (),
                }
            });
        })?;
        Ok(Publisher { stop })
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        self.stop.send_replace(true);
    }
}

impl Worker {
    async fn run(mut self) {
        let mut backoff = Backoff::new(Ladder::ENDLESS);
        loop {
            let over = match self.options.way().open().await {
                Ok(link) => self.publish(link, &mut backoff).await,
                Err(error) => Over::Failed(error),
            };
            match over {
                Over::Ended => return,
                Over::Failed(error) => {
                    tracing::warn!(at = %self.options.topology, %error, "frames cannot be published; gateways read the feed");
                    tokio::time::sleep(backoff.wait()).await;
                }
            }
        }
    }

    async fn publish(&mut self, link: Link, backoff: &mut Backoff) -> Over {
        let mut under_way = FuturesUnordered::new();
        loop {
            tokio::select! {
                biased;
                Some(sent) = under_way.next(), if !under_way.is_empty() => match sent {
                    Ok(()) => {
                        self.published.increment(1);
                        backoff.reset();
                    }
                    Err(error) => {
                        self.lost.increment(1 + under_way.len() as u64);
                        return Over::Failed(error);
                    }
                },
                one = self.news.recv(), if under_way.len() < IN_FLIGHT_MAX => match one {
                    Ok(news) => under_way.push(send(link.clone(), self.options.prefix.clone(), news)),
                    Err(RecvError::Lagged(count)) => self.lost.increment(count),
                    Err(RecvError::Closed) => return Over::Ended,
                },
            }
        }
    }
}

async fn send(mut link: Link, prefix: String, news: Arc<RoomNews>) -> RedisResult<()> {
    let mut command = cmd("SPUBLISH");
    command.arg(channel(&prefix, news.room)).arg(encode(&news));
    link.ask(&command).await
}
