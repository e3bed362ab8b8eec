//! The session with the database: which nodes, how long, how often, and how sure.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use scylla::client::execution_profile::{ExecutionProfile, ExecutionProfileHandle};
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use scylla::policies::load_balancing::DefaultPolicy;
use scylla::policies::retry::DefaultRetryPolicy;
use scylla::policies::speculative_execution::SimpleSpeculativeExecutionPolicy;
use scylla::statement::Consistency;

use super::CqlOptions;
use super::error::OpenError;

/// Of the majority of the near datacenter, for reads and writes: what was acknowledged is seen by every later read. No
/// policy here ever asks for less.
const CONSISTENCY: Consistency = Consistency::LocalQuorum;
/// A second replica is asked when the first has not answered for this part of a read's patience.
const SPECULATE_AFTER: u32 = 10;
/// Changes of tables wait for all nodes to agree.
const SCHEMA_PATIENCE: Duration = Duration::from_secs(60);
const KEEPALIVE_EVERY: Duration = Duration::from_secs(5);

/// A connected session with what its statements run under.
pub struct Connected {
    pub session: Session,
    pub reads: ExecutionProfileHandle,
    pub writes: ExecutionProfileHandle,
    /// For tables and for what is written about them.
    pub schema: ExecutionProfileHandle,
}

impl Connected {
    pub async fn open(options: &CqlOptions) -> Result<Connected, OpenError> {
        let reads = profile(options, options.read_timeout).speculative_execution_policy(Some(Arc::new(
            SimpleSpeculativeExecutionPolicy {
                max_retry_count: 1,
                retry_interval: options.read_timeout / SPECULATE_AFTER,
            },
        )));
        let writes = profile(options, options.write_timeout);
        let schema = profile(options, SCHEMA_PATIENCE);
        let schema = schema.build().into_handle();
        let mut builder = SessionBuilder::new()
            .known_nodes(&options.nodes)
            .connection_timeout(options.connect_timeout)
            .default_execution_profile_handle(schema.clone())
            .schema_agreement_timeout(SCHEMA_PATIENCE)
            .tcp_nodelay(true)
            .keepalive_interval(KEEPALIVE_EVERY)
            .keepalive_timeout(KEEPALIVE_EVERY)
            .fetch_full_schema_metadata(false)
            .keyspaces_to_fetch([&options.keyspace]);
        if let Some(credentials) = &options.credentials {
            builder = builder.user(&credentials.user, &credentials.password);
        }
        let building = tokio::time::timeout(options.connect_timeout * 2, builder.build());
        let session = building.await.map_err(|_| OpenError::Unreachable {
            nodes: options.nodes.join(", "),
            why: format!("no answer within {} s", (options.connect_timeout * 2).as_secs_f32()),
        })?;
        let session = session.map_err(|error| OpenError::of_session(&options.nodes, &error))?;
        check_datacenter(&session, options.datacenter.as_deref())?;
        Ok(Connected { session, reads: reads.build().into_handle(), writes: writes.build().into_handle(), schema })
    }
}

fn profile(options: &CqlOptions, timeout: Duration) -> scylla::client::execution_profile::ExecutionProfileBuilder {
    let mut balancing = DefaultPolicy::builder().token_aware(true).permit_dc_failover(false);
    if let Some(datacenter) = &options.datacenter {
        balancing = balancing.prefer_datacenter(datacenter.clone());
    }
    ExecutionProfile::builder()
        .consistency(CONSISTENCY)
        .serial_consistency(None)
        .request_timeout(Some(timeout))
        // Tries another node where that can help and cannot hurt; asks for the same consistency each time.
        .retry_policy(Arc::new(DefaultRetryPolicy::new()))
        .load_balancing_policy(balancing.build())
}

/// A majority of one datacenter says nothing about another's, so all of us must mean the same one.
fn check_datacenter(session: &Session, wanted: Option<&str>) -> Result<(), OpenError> {
    let state = session.get_cluster_state();
    let found: BTreeSet<&str> = state.get_nodes_info().iter().filter_map(|node| node.datacenter.as_deref()).collect();
    let list = || found.iter().copied().collect::<Vec<_>>().join(", ");
    match wanted {
        Some(wanted) if !found.contains(wanted) => {
            Err(OpenError::DatacenterUnknown { asked: wanted.into(), found: list() })
        }
        None if found.len() > 1 => Err(OpenError::DatacenterNeeded { found: list() }),
        Some(_) | None => Ok(()),
    }
}
