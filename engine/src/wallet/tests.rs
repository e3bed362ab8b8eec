//! Tests of the wallet shard from outside: scripts that are told what comes of them, and a model.

mod disk;
mod script;
mod world;

mod ids;
mod model;
mod money;
mod relay;
mod replaced;
mod waiting;
mod window;
