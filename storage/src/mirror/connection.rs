//! A connection to one server or to a cluster: all the mirror asks of Redis.

use std::future::Future;

use futures::stream::{self, StreamExt, TryStreamExt};
use largesse_engine::units::{Seq, Time};
use redis::{Cmd, ErrorKind, FromRedisValue, RedisError, RedisResult, ServerErrorKind, cmd};

use super::entry::{AsOf, Entry, PUT};
use super::{MirrorError, MirrorOptions};
use crate::redis_link::{Link, Way};

/// Commands on their way at once. They share a connection, and so its packets.
const COMMANDS_IN_FLIGHT: usize = 256;

pub(super) struct Connection {
    link: Link,
    at: String,
    /// The digest of [`PUT`] by which servers know it.
    script: String,
}

/// What came of a number of writes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Written {
    pub entries: usize,
    /// Redis had something newer.
    pub older: usize,
    /// Something that is no hash lies under the key: it is somebody else's, and stays.
    pub foreign: usize,
}

impl Connection {
    pub async fn open(options: &MirrorOptions) -> Result<Connection, MirrorError> {
        let at = options.topology.to_string();
        let opened = async {
            let way = Way {
                topology: &options.topology,
                credentials: options.credentials.as_ref(),
                connect_timeout: options.connect_timeout,
                response_timeout: options.response_timeout,
            };
            let mut link = way.open().await?;
            let script: String = link.ask(cmd("SCRIPT").arg("LOAD").arg(PUT)).await?;
            Ok::<_, RedisError>((link, script))
        };
        match opened.await {
            Ok((link, script)) => Ok(Connection { link, at, script }),
            Err(why) => Err(MirrorError::Redis { at, why }),
        }
    }

    fn failed(&self, why: RedisError) -> MirrorError {
        MirrorError::Redis { at: self.at.clone(), why }
    }

    /// Answers in the order of the questions.
    async fn ask_all<T: FromRedisValue>(&self, commands: Vec<Cmd>) -> Result<Vec<T>, MirrorError> {
        let asked = stream::iter(commands).map(|command| self.ask(command));
        asked.buffered(COMMANDS_IN_FLIGHT).try_collect().await.map_err(|why| self.failed(why))
    }

    fn ask<T: FromRedisValue>(&self, command: Cmd) -> impl Future<Output = RedisResult<T>> {
        let mut link = self.link.clone();
        async move { link.ask(&command).await }
    }

    /// Writes each entry that is as new as what is there.
    pub async fn put(&self, entries: &[Entry]) -> Result<Written, MirrorError> {
        let puts = stream::iter(entries).map(|entry| self.put_one(entry)).buffer_unordered(COMMANDS_IN_FLIGHT);
        let counted = puts.try_fold(Written::default(), |mut written, one| async move {
            match one {
                Put::Done => written.entries += 1,
                Put::Older => written.older += 1,
                Put::Foreign => written.foreign += 1,
            }
            Ok(written)
        });
        counted.await.map_err(|why| self.failed(why))
    }

    async fn put_one(&self, entry: &Entry) -> RedisResult<Put> {
        let by_digest = self.ask::<bool>(put_command("EVALSHA", &self.script, entry)).await;
        let answer = match by_digest {
            // A server that was restarted, or has taken over, does not know the script yet; told in full it does.
            Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
                self.ask::<bool>(put_command("EVAL", PUT, entry)).await
            }
            answered => answered,
        };
        match answer {
            Ok(is_written) => Ok(if is_written { Put::Done } else { Put::Older }),
            Err(error) if error.code() == Some("WRONGTYPE") => Ok(Put::Foreign),
            Err(error) => Err(error),
        }
    }

    /// Fields of hashes, in the order asked for; `None` where there is none.
    pub async fn fields(&self, keys: &[String], fields: &[&str]) -> Result<Vec<Vec<Option<String>>>, MirrorError> {
        let command = |key: &String| {
            let mut command = cmd("HMGET");
            command.arg(key).arg(fields);
            command
        };
        self.ask_all(keys.iter().map(command).collect()).await
    }

    /// As of when each of these hashes is.
    pub async fn standings(&self, keys: &[String]) -> Result<Vec<Option<AsOf>>, MirrorError> {
        let told = self.fields(keys, &["at", "seq"]).await?;
        Ok(told.iter().map(|fields| as_of(fields)).collect())
    }

    /// Sets each key, and tells what it held before.
    pub async fn swap(&self, keys: &[String], value: u64, seconds: u64) -> Result<Vec<Option<u64>>, MirrorError> {
        let command = |key: &String| {
            let mut command = cmd("SET");
            command.arg(key).arg(value).arg("EX").arg(seconds).arg("GET");
            command
        };
        self.ask_all(keys.iter().map(command).collect()).await
    }
}

/// Of `at` and `seq`, in this order.
pub(super) fn as_of(fields: &[Option<String>]) -> Option<AsOf> {
    let number = |place: usize| fields.get(place)?.as_ref()?.parse::<u64>().ok();
    Some(AsOf { at: Time(number(0)?), seq: Seq(number(1)?) })
}

enum Put {
    Done,
    Older,
    Foreign,
}

fn put_command(verb: &str, script: &str, entry: &Entry) -> Cmd {
    let mut command = cmd(verb);
    command.arg(script).arg(1).arg(&entry.key);
    command.arg(entry.as_of.at.get()).arg(entry.as_of.seq.get());
    command.arg(u64::try_from(entry.ttl.as_millis()).unwrap_or(u64::MAX));
    for (name, value) in &entry.fields {
        command.arg(name).arg(value);
    }
    command
}
