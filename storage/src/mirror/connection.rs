//! A connection to one server or to a cluster: all the mirror asks of Redis.

use std::future::Future;

use futures::stream::{self, StreamExt, TryStreamExt};
use largesse_engine::units::{Seq, Time};
use redis::aio::MultiplexedConnection;
use redis::cluster::ClusterClientBuilder;
use redis::cluster_async::ClusterConnection;
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, ConnectionInfo, ErrorKind, FromRedisValue, IntoConnectionInfo,
    RedisConnectionInfo, RedisError, RedisResult, ServerErrorKind, cmd,
};

use super::entry::{AsOf, Entry, PUT};
use super::{MirrorError, MirrorOptions, Topology};

/// Commands on their way at once. They share a connection, and so its packets.
const COMMANDS_IN_FLIGHT: usize = 256;

pub(super) struct Connection {
    link: Link,
    at: String,
    /// The digest of [`PUT`] by which servers know it.
    script: String,
}

#[derive(Clone)]
enum Link {
    Single(MultiplexedConnection),
    Cluster(ClusterConnection),
}

impl Link {
    async fn ask<T: FromRedisValue>(&mut self, command: &Cmd) -> RedisResult<T> {
        match self {
            Link::Single(connection) => command.query_async(connection).await,
            Link::Cluster(connection) => command.query_async(connection).await,
        }
    }
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
            let mut link = connect(options).await?;
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

async fn connect(options: &MirrorOptions) -> RedisResult<Link> {
    let (connect, respond) = (options.connect_timeout, options.response_timeout);
    match &options.topology {
        Topology::Single { node, database } => {
            let client = Client::open(info(options, node, i64::from(*database))?)?;
            let config =
                AsyncConnectionConfig::new().set_connection_timeout(Some(connect)).set_response_timeout(Some(respond));
            Ok(Link::Single(client.get_multiplexed_async_connection_with_config(&config).await?))
        }
        Topology::Cluster { nodes } => {
            let infos = nodes.iter().map(|node| info(options, node, 0)).collect::<RedisResult<Vec<_>>>()?;
            let client = ClusterClientBuilder::new(infos)
                .connection_timeout(connect)
                .response_timeout(respond)
                // Whatever takes longer is tried again by whoever asked, with all that came meanwhile.
                .overall_response_timeout(Some(respond * 3))
                .retries(2)
                .build()?;
            let opened = tokio::time::timeout(connect * 3, client.get_async_connection()).await;
            Ok(Link::Cluster(opened.map_err(|_late| std::io::Error::from(std::io::ErrorKind::TimedOut))??))
        }
    }
}

fn info(options: &MirrorOptions, node: &str, database: i64) -> RedisResult<ConnectionInfo> {
    let wrong = || RedisError::from((ErrorKind::InvalidClientConfig, "a node is not host:port", node.to_owned()));
    let (host, port) = node.rsplit_once(':').ok_or_else(wrong)?;
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let mut settings = RedisConnectionInfo::default().set_db(database);
    if let Some(credentials) = &options.credentials {
        settings = settings.set_password(&credentials.password);
        if let Some(user) = &credentials.user {
            settings = settings.set_username(user);
        }
    }
    let address = ConnectionAddr::Tcp(host, port.parse().map_err(|_| wrong())?);
    Ok(address.into_connection_info()?.set_redis_settings(settings))
}

impl std::fmt::Display for Topology {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Topology::Single { node, .. } => f.write_str(node),
            Topology::Cluster { nodes } => f.write_str(&nodes.join(", ")),
        }
    }
}
