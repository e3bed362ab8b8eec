//! TLS for what this process asks of others: `rustls` with `ring`, which need no system library.

/// To be called before an HTTP client is made.
pub fn ready() {
    // One provider of ciphers for the process; whoever comes second finds it there.
    let _there_already = rustls::crypto::ring::default_provider().install_default();
}
