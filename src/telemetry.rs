//! What the process says about itself: text for people or JSON for machines, on stderr.

use largesse_config::{LogOutputConfig, OutputFormat};
use tracing_subscriber::EnvFilter;

use crate::exit::Failure;

pub fn start(config: &LogOutputConfig) -> Result<(), Failure> {
    let filter = EnvFilter::try_new(&config.level).map_err(|error| {
        Failure::new(format_args!("log-output.level: `{}` is not a filter: {error}", config.level))
            .help("write a level such as `info`, or levels per module such as `info,largesse_storage=debug`")
    })?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let started = match config.format {
        OutputFormat::Text => builder.try_init(),
        OutputFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    started.map_err(|error| Failure::new(format_args!("cannot start the log output: {error}")))
}
