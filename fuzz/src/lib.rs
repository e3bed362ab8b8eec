//! Fuzz targets for everything that parses what strangers send; they are in `tests/`, as nothing else needs them.
//!
//! `cargo test -p largesse-fuzz` gives each a few seconds of random input, `BOLERO_RANDOM_TEST_TIME_MS` more. With
//! `cargo bolero` the same targets run under a fuzzer that follows coverage.
