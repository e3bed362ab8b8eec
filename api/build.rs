//! New icons, effects and modules of the client are part of the binary as soon as they lie in their folders.

fn main() {
    println!("cargo::rerun-if-changed=../web/assets");
    println!("cargo::rerun-if-changed=../web/client");
}
