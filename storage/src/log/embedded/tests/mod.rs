//! The embedded log against real files.

mod damage;
mod disk;
mod harness;
mod model;
mod space;
mod writing;

use self::harness::Embedded;

crate::log_conformance!(Embedded::new(super::EmbeddedLogOptions::test_min()));

mod with_large_segments {
    use super::harness::Embedded;
    use crate::log::embedded::EmbeddedLogOptions;

    crate::log_conformance!(Embedded::new(EmbeddedLogOptions {
        segment_bytes: 2 << 20,
        reserve_bytes: 1 << 20,
        ..EmbeddedLogOptions::default()
    }));
}
