//! How Redis is reached, one server or a cluster: what the mirror and the frames have in common.

use redis::aio::MultiplexedConnection;
use redis::cluster::ClusterClientBuilder;
use redis::cluster_async::ClusterConnection;
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, ConnectionInfo, ErrorKind, FromRedisValue, IntoConnectionInfo,
    ProtocolVersion, PushInfo, RedisConnectionInfo, RedisError, RedisResult,
};

use std::time::Duration;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Topology {
    /// `host:port` and the number of the database.
    Single { node: String, database: u16 },
    /// Some nodes, `host:port`; the others are learnt from them.
    Cluster { nodes: Vec<String> },
}

#[derive(Clone)]
pub struct Credentials {
    /// `None` is the user `default`.
    pub user: Option<String>,
    pub password: String,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials").field("user", &self.user).finish_non_exhaustive()
    }
}

impl std::fmt::Display for Topology {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Topology::Single { node, .. } => f.write_str(node),
            Topology::Cluster { nodes } => f.write_str(&nodes.join(", ")),
        }
    }
}

/// Where to connect to, as whom, and how long that and every answer may take.
pub(crate) struct Way<'a> {
    pub topology: &'a Topology,
    pub credentials: Option<&'a Credentials>,
    pub connect_timeout: Duration,
    pub response_timeout: Duration,
}

#[derive(Clone)]
pub(crate) enum Link {
    Single(MultiplexedConnection),
    Cluster(ClusterConnection),
}

impl Link {
    pub async fn ask<T: FromRedisValue>(&mut self, command: &Cmd) -> RedisResult<T> {
        match self {
            Link::Single(connection) => command.query_async(connection).await,
            Link::Cluster(connection) => command.query_async(connection).await,
        }
    }
}

impl Way<'_> {
    pub async fn open(&self) -> RedisResult<Link> {
        self.connect(None::<fn(PushInfo)>).await
    }

    /// A connection on which the server also says things by itself.
    pub async fn open_to_hear(&self, hear: impl Fn(PushInfo) + Send + Sync + 'static) -> RedisResult<Link> {
        self.connect(Some(hear)).await
    }

    async fn connect(&self, hear: Option<impl Fn(PushInfo) + Send + Sync + 'static>) -> RedisResult<Link> {
        let (connect, respond) = (self.connect_timeout, self.response_timeout);
        let protocol = if hear.is_some() { ProtocolVersion::RESP3 } else { ProtocolVersion::default() };
        let hear = hear.map(|hear| {
            move |push: PushInfo| {
                hear(push);
                Ok::<(), RedisError>(())
            }
        });
        match self.topology {
            Topology::Single { node, database } => {
                let client = Client::open(self.info(node, i64::from(*database), protocol)?)?;
                let mut config = AsyncConnectionConfig::new()
                    .set_connection_timeout(Some(connect))
                    .set_response_timeout(Some(respond));
                if let Some(hear) = hear {
                    config = config.set_push_sender(hear);
                }
                Ok(Link::Single(client.get_multiplexed_async_connection_with_config(&config).await?))
            }
            Topology::Cluster { nodes } => {
                let infos = nodes.iter().map(|node| self.info(node, 0, protocol)).collect::<RedisResult<Vec<_>>>()?;
                let mut builder = ClusterClientBuilder::new(infos)
                    .connection_timeout(connect)
                    .response_timeout(respond)
                    // Whatever takes longer is tried again by whoever asked, with all that came meanwhile.
                    .overall_response_timeout(Some(respond * 3))
                    .retries(2)
                    .use_protocol(protocol);
                if let Some(hear) = hear {
                    builder = builder.push_sender(hear);
                }
                let client = builder.build()?;
                let opened = tokio::time::timeout(connect * 3, client.get_async_connection()).await;
                Ok(Link::Cluster(opened.map_err(|_late| std::io::Error::from(std::io::ErrorKind::TimedOut))??))
            }
        }
    }

    fn info(&self, node: &str, database: i64, protocol: ProtocolVersion) -> RedisResult<ConnectionInfo> {
        let wrong = || RedisError::from((ErrorKind::InvalidClientConfig, "a node is not host:port", node.to_owned()));
        let (host, port) = node.rsplit_once(':').ok_or_else(wrong)?;
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let mut settings = RedisConnectionInfo::default().set_db(database).set_protocol(protocol);
        if let Some(credentials) = self.credentials {
            settings = settings.set_password(&credentials.password);
            if let Some(user) = &credentials.user {
                settings = settings.set_username(user);
            }
        }
        let address = ConnectionAddr::Tcp(host, port.parse().map_err(|_| wrong())?);
        Ok(address.into_connection_info()?.set_redis_settings(settings))
    }
}
