//! What can go wrong with a database behind the network, and what to do about it.

#![expect(clippy::wildcard_enum_match_arm, reason = "these enums belong to others and grow")]

use std::time::Duration;

use largesse_engine::store::StoreError;
use scylla::errors::{DbError, ExecutionError, NewSessionError, PrepareError, RequestAttemptError};

use crate::ledger_id::LedgerId;

/// Why the store cannot be opened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    #[error("no database answers at {nodes} ({why}); check that it runs and that `store.cql.nodes` is right")]
    Unreachable { nodes: String, why: String },
    #[error("the database refuses this user ({why}); check store.cql.user and its password")]
    Refused { why: String },
    #[error(
        "the database has several datacenters ({found}): name the one near this process as `store.cql.datacenter`, \
         since rows are written to the majority of one"
    )]
    DatacenterNeeded { found: String },
    #[error("the database has no datacenter `{asked}`, only {found}; correct `store.cql.datacenter`")]
    DatacenterUnknown { asked: String, found: String },
    #[error("keyspace `{keyspace}` has no tables of ledger `{ledger}` yet; run `largesse store migrate`")]
    Missing { keyspace: String, ledger: String },
    #[error(
        "the tables of ledger `{ledger}` in keyspace `{keyspace}` have schema {found}, this program needs {needed}; \
         run `largesse store migrate`"
    )]
    Older { keyspace: String, ledger: String, found: u32, needed: u32 },
    #[error(
        "the tables of ledger `{ledger}` in keyspace `{keyspace}` have schema {found}, this program knows up to \
         {known}; use the newer program"
    )]
    Newer { keyspace: String, ledger: String, found: u32, known: u32 },
    #[error(
        "the tables in keyspace `{keyspace}` belong to {found}, but the configuration says {wanted}; correct the \
         configuration, or use another keyspace"
    )]
    OtherLedger { keyspace: String, found: String, wanted: String },
    #[error(
        "the rows of ledger `{ledger}` in keyspace `{keyspace}` are of the log with the id {found}, and the log that is \
         configured has {wanted}: correct where the log is, or give this ledger another keyspace or name"
    )]
    OtherLog { keyspace: String, ledger: String, found: LedgerId, wanted: LedgerId },
    #[error("the store's table `{table}` is damaged: {why}; restore the keyspace from a backup")]
    Damaged { table: String, why: String },
    #[error("the database did not carry out `{statement}`: {why}")]
    Failed { statement: String, why: String },
}

impl OpenError {
    pub(super) fn of_session(nodes: &[String], error: &NewSessionError) -> OpenError {
        let why = error.to_string();
        // The driver hands on what the server said only as text.
        if ["Authentication", "credentials", "username"].iter().any(|word| why.contains(word)) {
            return OpenError::Refused { why };
        }
        OpenError::Unreachable { nodes: nodes.join(", "), why }
    }

    pub(super) fn of_statement(statement: &str, error: &impl ToString) -> OpenError {
        OpenError::Failed { statement: statement.into(), why: error.to_string() }
    }
}

/// What a request that failed means for whoever asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failed {
    pub error: StoreError,
    /// Nobody answered at all, as opposed to an answer that says no.
    pub is_silence: bool,
}

impl Failed {
    fn answered(why: impl ToString) -> Failed {
        Failed { error: StoreError::Unavailable(why.to_string()), is_silence: false }
    }

    fn silence(why: impl ToString) -> Failed {
        Failed { error: StoreError::Unavailable(why.to_string()), is_silence: true }
    }

    pub fn no_answer(after: Duration) -> Failed {
        Failed::silence(format_args!("the database did not answer within {} ms", after.as_millis()))
    }

    pub fn damaged(why: impl ToString) -> Failed {
        Failed { error: StoreError::Damaged(why.to_string()), is_silence: false }
    }
}

impl From<StoreError> for Failed {
    fn from(error: StoreError) -> Failed {
        Failed { error, is_silence: false }
    }
}

impl From<ExecutionError> for Failed {
    fn from(error: ExecutionError) -> Failed {
        match error {
            ExecutionError::RequestTimeout(after) => Failed::no_answer(after),
            ExecutionError::EmptyPlan | ExecutionError::ConnectionPoolError(_) => Failed::silence(error),
            ExecutionError::PrepareError(PrepareError::ConnectionPoolError(_)) => Failed::silence(error),
            ExecutionError::LastAttemptError(attempt) => of_attempt(attempt),
            other => Failed::answered(other),
        }
    }
}

fn of_attempt(attempt: RequestAttemptError) -> Failed {
    match attempt {
        RequestAttemptError::BrokenConnectionError(_) | RequestAttemptError::UnableToAllocStreamId => {
            Failed::silence(attempt)
        }
        RequestAttemptError::DbError(DbError::Unavailable { required, alive, .. }, _) => {
            Failed::answered(format_args!("only {alive} of the {required} replicas that are needed are up"))
        }
        RequestAttemptError::CqlResultParseError(_) | RequestAttemptError::CqlErrorParseError(_) => {
            Failed::damaged(attempt)
        }
        other => Failed::answered(other),
    }
}
