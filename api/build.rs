//! New icons and effects are part of the binary as soon as they lie in the folder.

fn main() {
    println!("cargo::rerun-if-changed=../web/assets");
}
